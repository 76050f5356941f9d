#!/usr/bin/env bash
# log_output.sh LOG COMMAND…: runs the command with its output in LOG, which is shown if it fails.
log=$1
shift
"$@" >"$log" 2>&1 || { status=$?; cat "$log" >&2; exit $status; }
