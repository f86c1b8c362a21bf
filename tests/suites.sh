#!/bin/sh
# Runs test suites, each named with its budget in minutes: `sh tests/suites.sh unit:3 e2e:3`.
set -u
failed=""
for suite in "$@"; do
  name=${suite%:*} minutes=${suite#*:}
  echo "== $name (at most $minutes minutes)"
  began=$(date +%s)
  timeout --signal=INT --kill-after=30 "${minutes}m" "$PYTHON" -m pytest -q "tests/$name"
  code=$?
  echo "== $name: $(($(date +%s) - began)) s of $((minutes * 60)) s, exit code $code"
  [ "$code" = 0 ] || failed="$failed $name"
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
