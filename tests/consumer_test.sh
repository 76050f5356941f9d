#!/usr/bin/env bash
# Installs Ingot into a fresh prefix and builds and runs tests/consumer/ against it: consumer_test.sh BUILD CXX
set -euo pipefail
build=$1
compiler=$2
source_dir=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >"$work/install.log" || { cat "$work/install.log"; exit 1; }
# A copy elsewhere, so that nothing of the source tree is found by accident.
cp -r "$source_dir/tests/consumer" "$work/consumer"
cmake -S "$work/consumer" -B "$work/build" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$work/prefix"
ninja -C "$work/build"
"$work/build/consumer" "$source_dir/build/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
