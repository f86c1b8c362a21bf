#!/bin/sh
# Runs the long forms of the fault tests, one after the other, and says all their ledgers at the end:
# `sh tests/chaos.sh kills network clocks containers`.
set -u
mkdir -p .cache
said=.cache/chaos-ledgers.txt failed=""
: >"$said"
for part in "$@"; do
  echo "== chaos, $part"
  tests="tests/chaos/test_$part.py"
  if [ "$part" = containers ]; then
    # A kill in a container takes four times as long as one on this machine.
    tests=tests/compose/faults IBUURT_CHAOS_KILLS=$((IBUURT_CHAOS_KILLS / 4))
  fi
  { "$PYTHON" -m pytest -s -q "$tests" || echo "chaos: $part failed"; } 2>&1 | tee -a "$said"
  tail -n 1 "$said" | grep -q "^chaos: $part failed" && failed="$failed $part"
done
echo "== ledgers"
grep "ledger of" "$said"
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
