#!/usr/bin/env bash
# Makes the tables of docs/quality.md anew, step by step.
#
#   quality.sh ranklens|games|beauty import|train|evaluate|cold|ablate|all
#
# A step first makes the steps it needs. What a step printed is kept in .cache/quality/SET/results/STEP.txt, and a step
# whose file is there is only printed again: remove the file to run it again, or the folder to start from nothing. An
# interrupted step starts over; an import takes the events it has already for duplicates.
#
# SHARED is where the sets are (../shared/data), ABLATE what the step ablate leaves out.
set -euo pipefail
cd "$(dirname "$0")/../.."

set=${1:-} step=${2:-all}
shared=${SHARED:-../shared/data}
dir=.cache/quality/$set
data=$dir/data
results=$dir/results

case $set in
  # The newest tenth of the lists is held out, and ranked as a live server would have.
  ranklens) train=(--holdout 0.1) part=(--last 0.1 --prequential) ablate=text,taste,content,cooccurrence,factors ;;
  # All purchases are trained on. The lists come after them, and the state stands still.
  games | beauty) train=() part=(--last 1) ablate=text,content,cooccurrence,factors ;;
  *) echo "SET is ranklens, games or beauty" >&2; exit 2 ;;
esac

take() { bin/relish import --data "$data" --format "$1" -; }

import() {
  case $set in
    ranklens) # texts first: each list is ranked with what was known before it
      zcat "$shared/ranklens/items.jsonl.gz" | python3 examples/overviews.py | take native
      take metarank <"$shared/ranklens/events.jsonl.gz" ;;
    games | beauty)
      local options=()
      [ "$set" = games ] || options=(--leave-last 6000)
      python3 examples/sequences.py "$set" "$shared/$set" events "${options[@]}" | take native
      date +%s%3N >"$dir/until" # so that training can be repeated when the lists are there
      python3 examples/sequences.py "$set" "$shared/$set" lists "${options[@]}" | take native ;;
  esac
}

train() {
  local start=$SECONDS
  [ ! -f "$dir/until" ] || train+=(--until "$(cat "$dir/until")")
  bin/relish train --data "$data" "${train[@]}"
  echo "seconds: $((SECONDS - start))"
}

# evaluate measures the bundle, whether or not the gate activated it, and the prior.
evaluate() {
  local version
  version=$(grep -o '"version":"[^"]*"' "$results/train.txt" | cut -d'"' -f4)
  bin/relish evaluate --data "$data" "${part[@]}" --bundle "$version"
  bin/relish evaluate --data "$data" "${part[@]}" --bundle prior
}
cold() { bin/relish evaluate --data "$data" "${part[@]}" --hide-items 0.2; }
ablate() { bin/relish evaluate --data "$data" "${part[@]}" --ablate "${ABLATE:-$ablate}"; }

# once STEP: runs it, or prints what it printed before
once() {
  local file=$results/$1.txt
  if [ ! -f "$file" ]; then
    echo "== $set: $1" >&2
    mkdir -p "$results"
    "$1" >"$file.new"
    mv "$file.new" "$file"
  fi
  cat "$file"
}

need() { once "$1" >/dev/null; }

case $step in
  import) once import ;;
  train | cold | ablate) need import; once "$step" ;;
  evaluate) need import; need train; once evaluate ;;
  all) for s in import train evaluate cold ablate; do once "$s"; done ;;
  *) echo "STEP is import, train, evaluate, cold, ablate or all" >&2; exit 2 ;;
esac
