#!/bin/sh
# Runs test suites, each named with its budget in minutes: `sh tests/suites.sh unit:3 e2e:3`. A suite that
# mostly waits is named with a number of workers besides, each with a Kafka and a PostgreSQL of its own:
# `integration:14:2`.
set -u
# Each test has a database of its own, whose files are made in memory in a tenth of the time that a disk takes:
# what is written goes there where so much is free, unless whoever runs this has said where.
MEMORY=/dev/shm
ENOUGH_KIB=4194304
free_kib=$(df -Pk "$MEMORY" 2>/dev/null | awk 'NR == 2 { print $4 }')
if [ -z "${TMPDIR:-}" ] && [ "${free_kib:-0}" -ge "$ENOUGH_KIB" ] && made=$(mktemp -d "$MEMORY/ibuurt-XXXXXX"); then
  # PostgreSQL of a test that runs as root runs as somebody else, who must come through.
  chmod 711 "$made"
  export TMPDIR="$made"
  trap 'rm -rf "$made"' EXIT
  trap 'exit 130' INT TERM
fi
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
