#!/bin/sh
# Runs the long forms of the fault tests, one after the other, and says all their ledgers at the end:
# `sh tests/chaos.sh kills network clocks containers`. A part of which a test was skipped has not passed.
set -u
mkdir -p .cache
said=.cache/chaos-ledgers.txt part_said=.cache/chaos-part.txt failed="" skipped=""
: >"$said"
for part in "$@"; do
  echo "== chaos, $part"
  tests="tests/chaos/test_$part.py"
  if [ "$part" = containers ]; then
    # A kill in a container takes four times as long as one on this machine.
    tests=tests/compose/faults IBUURT_CHAOS_KILLS=$((IBUURT_CHAOS_KILLS / 4))
  fi
  { "$PYTHON" -m pytest -s -q -rs "$tests" || echo "chaos: $part failed"; } 2>&1 | tee "$part_said"
  cat "$part_said" >>"$said"
  if tail -n 1 "$part_said" | grep -q "^chaos: $part failed"; then
    failed="$failed $part"
  elif tail -n 1 "$part_said" | grep -q " skipped"; then
    skipped="$skipped $part"
  fi
done
echo "== ledgers"
grep "ledger of" "$said"
[ -z "$skipped" ] || echo "skipped, in whole or in part, which is no pass:$skipped"
[ -z "$failed" ] || echo "failed:$failed"
[ -z "$failed$skipped" ]
