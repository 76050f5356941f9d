#!/usr/bin/env bash
# Runs each fuzz target of a build folder for some seconds: run_fuzzers.sh BUILD SECONDS
# Starts from what earlier runs found (BUILD/corpus/NAME) and from tests/corpus/NAME where it is there. An input that
# crashes, leaks, takes over 5 s (a second without sanitizers) or over 2 GiB ends the run and stays in BUILD/crashes/.
set -euo pipefail

build=$1
seconds=$2
mkdir -p "$build/crashes"
for fuzzer in "$build"/bin/*_fuzz; do
  name=$(basename "$fuzzer")
  corpus=$build/corpus/$name
  seeds=tests/corpus/$name
  mkdir -p "$corpus"
  echo "fuzz: $name for $seconds s"
  "$fuzzer" "$corpus" $([[ -d $seeds ]] && echo "$seeds") -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 \
    -artifact_prefix="$build/crashes/$name-" -print_final_stats=1 >"$build/$name.log" 2>&1 ||
    { tail -40 "$build/$name.log"; echo "fuzz: $name failed; the input is in $build/crashes/" >&2; exit 1; }
  grep -E "number_of_executed_units|peak_rss_mb" "$build/$name.log"
done
