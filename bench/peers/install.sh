#!/usr/bin/env bash
# Installs an engine that Ingot is compared with, in an environment of its own, once: bench/peers/install.sh NAME [DIR]
#   llama.cpp  the sources in PyPI's llama-cpp-python, built for this machine by clang-19 without OpenMP (with it, tile
#              instructions of AMX end in threads that have no tile configuration)
#   openvino   PyPI's OpenVINO GenAI, which reads GGUF files itself
# DIR: build/peers. The last line of stderr says why it failed.
set -euo pipefail
cd "$(dirname "$0")/../.."

LLAMA_CPP_PYTHON=0.3.36
OPENVINO_GENAI=2026.4.1.0
LLAMA_TARGETS="llama-batched-bench llama-server llama-quantize llama-perplexity llama-imatrix"

name=${1:-}
folder=${2:-build/peers}/$name
case $name in
  llama.cpp) version="llama-cpp-python $LLAMA_CPP_PYTHON" ;;
  openvino) version="openvino-genai $OPENVINO_GENAI" ;;
  *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
if [[ -f $folder/version && $(head -n 1 "$folder/version") == "$version" ]]; then exit 0; fi

fail() {
  tail -n 5 "$folder/log" >&2
  echo "$*; details in $folder/log" >&2
  exit 1
}

quietly() { "$@" >>"$folder/log" 2>&1; }

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
: >"$folder/log"
python=/usr/bin/python3
[[ -x $python ]] || python=python3
echo "peers: installing $version in $folder (details in its log)" >&2
quietly "$python" -m venv "$folder/venv" || fail "no Python environment could be made"

if [[ $name == openvino ]]; then
  quietly "$folder/venv/bin/pip" install --disable-pip-version-check "openvino-genai==$OPENVINO_GENAI" ||
    fail "pip could not install openvino-genai $OPENVINO_GENAI"
else
  command -v clang++-19 >/dev/null || { echo "there is no clang-19" >"$folder/log"; fail "it is built by clang-19, which is missing"; }
  sdist=$folder/llama_cpp_python-$LLAMA_CPP_PYTHON.tar.gz
  [[ -f $sdist ]] || quietly "$folder/venv/bin/pip" download --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
    --dest "$folder" "llama-cpp-python==$LLAMA_CPP_PYTHON" || fail "pip could not download llama-cpp-python $LLAMA_CPP_PYTHON"
  quietly tar xzf "$sdist" -C "$folder" --strip-components=1 || fail "the sources could not be unpacked"
  quietly cmake -S "$folder/vendor/llama.cpp" -B "$folder/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19 -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=ON \
    -DGGML_OPENMP=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF || fail "CMake failed"
  # shellcheck disable=SC2086
  quietly nice -n 10 ninja -C "$folder/build" -j "$(nproc)" $LLAMA_TARGETS || fail "the build failed"
fi
echo "$version" >"$folder/version"
