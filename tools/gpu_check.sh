#!/usr/bin/env bash
# Everything that is to be checked on a machine with an NVIDIA GPU, in one archive of less than 64 MiB:
#   tools/gpu_check.sh pack          builds the tests (with nvcc) and packs them: build/gpu_check.tar.gz
#   tools/gpu_check.sh run [OUT]     on that machine, in the unpacked folder: writes OUT/gpu_check.json (default: .)
# In order: does each primitive do what the PTX manual says, then kernels, models and the engine, each also under
# compute-sanitizer where that is installed. Primitives that fail end the run: no other result would mean anything.
set -euo pipefail

TESTS=(cuda_test cuda_attention_test cuda_sampling_test cuda_models_test cuda_engine_test)
MAX_BYTES=$((64 << 20))

pack() {
  cd "$(dirname "$0")/.."
  local bin=build/release/bin into=build/gpu_check
  cmake --preset release -DINGOT_TESTS=ON -DINGOT_CUDA=ON >build/cmake.log
  grep -q 'INGOT_NVCC:FILEPATH=.*NOTFOUND' build/release/CMakeCache.txt && { echo "nvcc was not found" >&2; exit 1; }
  ninja -C build/release "${TESTS[@]}"
  rm -rf "$into" && mkdir -p "$into/lib" "$into/tests"
  cp "$0" "$into/gpu_check.sh"
  local test
  for test in "${TESTS[@]}"; do
    objcopy --strip-debug "$bin/$test" "$into/$test"
    # What they link to but for the C library.
    ldd "$bin/$test" | awk '$3 ~ /^\// { print $3 }' | grep -vE '/(libc|libm|libdl|libpthread|librt|ld-linux[^/]*)\.so' |
      xargs -r -I{} cp -nL {} "$into/lib/"
  done
  cp -r tests/goldens tests/quantized_goldens "$into/tests/"
  tar -C build -czf build/gpu_check.tar.gz gpu_check
  local bytes
  bytes=$(stat -c %s build/gpu_check.tar.gz)
  echo "build/gpu_check.tar.gz: $((bytes >> 20)) MiB"
  ((bytes < MAX_BYTES)) || { echo "more than 64 MiB" >&2; exit 1; }
}

# run_one NAME SECONDS COMMAND…: appends a JSON member with its exit status, time and the last lines of its output.
results=""
run_one() {
  local name=$1 seconds=$2 begin=$SECONDS status=0
  shift 2
  echo "== $name" >&2
  timeout "$seconds" "$@" >"$out/$name.log" 2>&1 || status=$?
  tail -n 3 "$out/$name.log" >&2
  local tail_json
  tail_json=$(tail -n 20 "$out/$name.log" | tr -d '\000-\011\013-\037' | sed 's/\\/\\\\/g; s/"/\\"/g' | awk '{printf "%s\\n", $0}')
  results+="${results:+,}\"$name\":{\"status\":$status,\"seconds\":$((SECONDS - begin)),\"tail\":\"$tail_json\"}"
  return $status
}

finish() {
  local gpu
  gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1 || true)
  echo "{\"gpu\":\"$gpu\",\"ok\":$1,\"results\":{$results}}" >"$out/gpu_check.json"
  echo "$out/gpu_check.json: ok $1" >&2
  [[ $1 == true ]]
}

run() {
  out=$(realpath "${1:-.}")
  cd "$(dirname "$0")"
  export INGOT_TEST_CUDA=gpu INGOT_SOURCE_DIR=$PWD LD_LIBRARY_PATH=$PWD/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  run_one conformance 60 ./cuda_test --gtest_filter='Conformance.*' || { finish false; return 1; }
  local ok=true test
  for test in "${TESTS[@]}"; do run_one "$test" 120 "./$test" || ok=false; done
  if command -v compute-sanitizer >/dev/null; then
    for test in cuda_test cuda_attention_test cuda_sampling_test; do
      run_one "memcheck_$test" 120 compute-sanitizer --error-exitcode 9 "./$test" || ok=false
    done
    run_one racecheck 120 compute-sanitizer --tool racecheck --error-exitcode 9 ./cuda_attention_test || ok=false
  fi
  finish $ok
}

case ${1:-} in
  pack) pack ;;
  run) run "${2:-}" ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
