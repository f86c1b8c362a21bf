#!/bin/sh
# Runs test suites, each named with its budget in minutes: `sh tests/suites.sh unit:3 e2e:3`. A suite that
# mostly waits is named with a number of workers besides, each with a Kafka and a PostgreSQL of its own:
# `integration:14:2`.
set -u
failed=""
for suite in "$@"; do
  name=${suite%%:*} rest=${suite#*:}
  minutes=${rest%%:*} workers=${rest#*:}
  [ "$workers" = "$rest" ] && workers=0
  echo "== $name (at most $minutes minutes)"
  began=$(date +%s)
  timeout --signal=INT --kill-after=30 "${minutes}m" "$PYTHON" -m pytest -q -n "$workers" --dist loadfile \
    "tests/$name"
  code=$?
  echo "== $name: $(($(date +%s) - began)) s of $((minutes * 60)) s, exit code $code"
  [ "$code" = 0 ] || failed="$failed $name"
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
