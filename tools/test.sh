#!/usr/bin/env bash
# Runs the tests of the main module with the race detector and everything they print
# kept in .cache/test.log, shows a line a package, and fails when a test failed or
# when one of the secrets in testdata/secrets.txt was printed.
set -uo pipefail
cd "$(dirname "$0")/.."
mkdir -p .cache
go test -race -shuffle=on -v "$@" > >(tee .cache/test.log | grep --line-buffered -E '^(ok|FAIL|---? FAIL|panic:|WARNING: DATA RACE|\?)') 2>&1
status=$?
wait
if [ $status -ne 0 ]; then
  grep -nE -B2 -A40 '^ *--- FAIL|^panic:|WARNING: DATA RACE|^# ' .cache/test.log | head -n 200
  echo "tests failed; all they printed is in .cache/test.log"
  exit $status
fi
if grep -nFf testdata/secrets.txt .cache/test.log; then
  echo "a secret was printed: see the lines above"
  exit 1
fi
ran=$(grep -cE '^ *--- PASS' .cache/test.log)
skipped=$(grep -cE '^ *--- SKIP' .cache/test.log)
printf 'test result: %s passed, 0 failed, %s skipped\n' "$ran" "$skipped"
