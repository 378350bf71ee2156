#!/usr/bin/env bash
# The long forms of the proofs. SOAK=short runs each for seconds instead of minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${SOAK:-long}" = short ]; then fuzz=5s rounds=2 contract=10; else fuzz=2m rounds=50 contract=200; fi

# fuzzed TARGET DIR: fuzzes one target. The fuzzer of Go may end in the middle of its
# work when its time is up and call that a failure; without a failing input it is none.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
fuzzed() {
  if go test -run '^$' -fuzz "^$1\$" -fuzztime "$fuzz" "./$2" 2>&1 | tee "$log"; then return; fi
  if grep -q 'context deadline exceeded' "$log" && ! grep -qE 'Failing input|panic:|fuzzing process' "$log"; then
    echo "its time was up: no failing input"
    return
  fi
  return 1
}

# Every fuzz target of the tree, one after the other (go test takes one at a time).
grep -rlE '^func Fuzz' --include='*_test.go' gen pkg | xargs -n1 dirname | sort -u | while read -r dir; do
  grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | awk '{print $2}' | sort -u | while read -r target; do
    echo "fuzz $dir $target ($fuzz)"
    fuzzed "$target" "$dir"
  done
done

# The same in the modules of the tools, which no path from here reaches.
for module in tools tools/oracle; do
  (cd "$module" && grep -rlE '^func Fuzz' --include='*_test.go' --exclude-dir=oracle . | xargs -r -n1 dirname | sort -u) | while read -r dir; do
    grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$module/$dir"/*_test.go | awk '{print $2}' | sort -u | while read -r target; do
      echo "fuzz $module/$dir $target ($fuzz)"
      (cd "$module" && fuzzed "$target" "$dir")
    done
  done
done

# Deliberate mistakes in schema, generator, runtime and gateway: each must fail its test.
(cd tools/oracle && SOAK="${SOAK:-long}" go test -count 1 -timeout 20m -v -run 'Breaks|Harmless' ./breaks | grep -E '^(ok|FAIL|---|    ---|.*caught by)|Error')

# The defences of SECURITY.md taken away, one at a time: a test must notice each. All of
# them in the long form, one of each of the gravest entries in the short one.
SOAK="${SOAK:-long}" go test -count 1 -timeout 60m -v -run 'DefencesAreNeeded|Harmless' ./pkg/internal/defences | grep -vE '^=== '

# The kill -9 rounds of the store and the contracts that race, again and again.
go test -race -count "$rounds" -run 'Kill|Contract|Terminal|Concurrent' ./pkg/store ./pkg/session ./pkg/turn ./pkg/transport/... ./pkg/agent/...

# The contract of the task engine: in any order of what runs at the same time, linearizable.
go test -race -count "$contract" -timeout 60m -run 'Contract' ./pkg/task/durable

# kill -9 of a whole gateway under load, and the defences of its idempotency keys
# taken out one by one: each must be noticed by a test.
SOAK="${SOAK:-long}" go test -race -count 1 -timeout 20m -run 'KillNine|Mutants' ./pkg/daemon ./pkg/turn

# What a power cut may leave of a database: every legal image opens, every other is found or mended.
SOAK="${SOAK:-long}" go test -race -count 1 -timeout 20m -run 'CrashImage' ./pkg/store
# kill -9 of the task engine under load, and its defences taken out one by one.
SOAK="${SOAK:-long}" go test -race -count 1 -timeout 20m -run 'KillNine|DefencesAreMissed' ./pkg/task/durable
