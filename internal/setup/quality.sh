#!/usr/bin/env bash
# quality.sh measures the tables of docs/quality.md. Each table needs several steps, and some take
# many minutes.
#
#   quality.sh ranklens|games|beauty import|train|evaluate|cold|ablate|all
#
# A step first runs the steps that it needs. Its output is stored in
# .cache/quality/SET/results/STEP.txt. If that file exists, the step only prints it. To run a step
# again, remove its file; to start from the beginning, remove the folder .cache/quality/SET. An
# interrupted step starts over. An interrupted import skips the events that it already has, because
# they are duplicates.
#
# Environment:
#   SHARED  folder of the data sets (default: ../shared/data)
#   ABLATE  signals, features or groups that the step ablate trains without, one at a time,
#           separated by commas (default: depends on SET, see below)
set -euo pipefail
cd "$(dirname "$0")/../.."

set=${1:-} step=${2:-all}
shared=${SHARED:-../shared/data}
dir=.cache/quality/$set
data=$dir/data
results=$dir/results

# train has the flags of relish train, scored those of relish evaluate.
case $set in
  ranklens) # hold out the newest tenth of the lists, and rank it like a live service
    train=(--holdout 0.1) scored=(--last 0.1 --prequential)
    ablate=text,residual,content_prior,cooccurrence,factorization ;;
  games | beauty) # train on all purchases; the scored lists come after them and do not change the state
    train=() scored=(--last 1)
    ablate=text,content_prior,cooccurrence,factorization ;;
  *) echo "quality.sh: data set '$set' is unknown; use ranklens, games or beauty" >&2; exit 2 ;;
esac

# import_events imports events of the given format from standard input.
import_events() { bin/relish import --data "$data" --format "$1" -; }

import() {
  case $set in
    ranklens) # texts first, so that they are known at every list
      zcat "$shared/ranklens/items.jsonl.gz" | python3 examples/overviews.py | import_events native
      import_events metarank <"$shared/ranklens/events.jsonl.gz" ;;
    games | beauty)
      local options=()
      [ "$set" = games ] || options=(--leave-last 6000)
      python3 examples/sequences.py "$set" "$shared/$set" events "${options[@]}" | import_events native
      date +%s%3N >"$dir/until" # a repeated training stops here and does not read the lists
      python3 examples/sequences.py "$set" "$shared/$set" lists "${options[@]}" | import_events native ;;
  esac
}

train() {
  local start=$SECONDS
  [ ! -f "$dir/until" ] || train+=(--until "$(cat "$dir/until")")
  bin/relish train --data "$data" "${train[@]}"
  echo "seconds: $((SECONDS - start))"
}

# evaluate measures the prior and the bundle. It names the bundle, because the gate may not have
# activated it.
evaluate() {
  local version
  version=$(grep -o '"version":"[^"]*"' "$results/train.txt" | cut -d'"' -f4)
  bin/relish evaluate --data "$data" "${scored[@]}" --bundle "$version"
  bin/relish evaluate --data "$data" "${scored[@]}" --bundle prior
}

cold() { bin/relish evaluate --data "$data" "${scored[@]}" --hide-items 0.2; }

ablate() { bin/relish evaluate --data "$data" "${scored[@]}" --ablate "${ABLATE:-$ablate}"; }

# once runs a step, or prints the output of its earlier run.
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

# need runs a step if it has not run, and prints nothing.
need() { once "$1" >/dev/null; }

case $step in
  import) once import ;;
  train | cold | ablate) need import; once "$step" ;;
  evaluate) need import; need train; once evaluate ;;
  all) for s in import train evaluate cold ablate; do once "$s"; done ;;
  *)
    echo "quality.sh: step '$step' is unknown; use import, train, evaluate, cold, ablate or all" >&2
    exit 2 ;;
esac
