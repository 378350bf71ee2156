#!/usr/bin/env bash
# Builds and tests the Swift package with warnings as errors, on the machine's own Swift
# or in the chroot that toolchain.sh sets up:
#
#   - clients/swift in release mode (the speed gate means nothing without it) with its
#     tests: recorded frames, mutations, examples, speed;
#   - the Swift of the generator's golden files, for shapes the protocol does not use;
#   - testdata/swift-consumer against a tagged clone of this tree by url.
#
# Whatever is printed lands in .cache/swift/*.log. SWIFT_TEST_FILTER=name runs only
# these tests of the package, and nothing else.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$root/.cache/swift
mkdir -p "$work"

say() { printf 'swift: %4ss  %s\n' "$SECONDS" "$*"; }

# fail LOG TEXT shows what matters of a log and ends.
fail() {
  grep -E -A4 'error:|warning:|fatal|: FAIL' "$1" | head -n 80 || tail -n 40 "$1"
  say "$2; all of it is in .cache/swift/$(basename "$1")"
  exit 1
}

where=$("$here/toolchain.sh")
chroot=$root/.cache/swift-root
home=$work/home
if [ "$where" = chroot ]; then
  at=/src
  [ "$(id -u)" = 0 ] || { say "entering the chroot needs root"; exit 1; }
else
  at=$root
fi

# swiftly COMMAND... runs a command of the toolchain at the root of the repository. Mounts
# live and die with it: see toolchain.sh.
swiftly() {
  if [ "$where" = host ]; then
    (cd "$root" && CODERCLAW_ROOT=$at HOME=$home "$@")
    return
  fi
  ROOT=$root CHROOT=$chroot unshare --mount --propagation private sh -ec '
    mount -t proc proc "$CHROOT/proc"
    mkdir -p "$CHROOT/src"
    mount --bind "$ROOT" "$CHROOT/src"
    exec chroot "$CHROOT" /usr/bin/env -i PATH=/usr/bin:/bin LANG=C.UTF-8 HOME=/src/.cache/swift/home \
      CODERCLAW_ROOT=/src CODERCLAW_URL='"'${CODERCLAW_URL:-}'"' sh -c "cd /src && exec \"\$@\"" sh "$@"
  ' sh "$@"
}

# A home of its own: SwiftPM remembers which commit a tag of a url was, and the tag of
# the consumer's clone is a new one each time.
rm -rf "$home"
mkdir -p "$home"
strict=(-Xswiftc -warnings-as-errors)

# --- the shapes ----------------------------------------------------------------------

shapes() {
  sources=clients/swift/Sources/CoderClawProtocol
  support=()
  for file in "$root/$sources"/Support/*.swift; do
    # Frames belong to the protocol, and the golden schema has none.
    [ "$(basename "$file")" = FrameCoding.swift ] || support+=("$sources/Support/$(basename "$file")")
  done
  golden=()
  for file in "$root/testdata/gen/shapes/want/$sources"/*.swift; do
    golden+=("testdata/gen/shapes/want/$sources/$(basename "$file")")
  done
  swiftly swiftc -swift-version 6 -warnings-as-errors -o .cache/swift/shapes testdata/gen/shapes/main.swift "${golden[@]}" "${support[@]}" \
    >"$work/shapes.log" 2>&1 || fail "$work/shapes.log" "the golden Swift does not compile"
  swiftly .cache/swift/shapes >"$work/shapes.log" 2>&1 || { cat "$work/shapes.log"; say "the golden Swift does not do what it should"; exit 1; }
  say "$(tail -n 1 "$work/shapes.log")"
}

# --- a consumer ----------------------------------------------------------------------

consumer() {
  rm -rf "$work/clone" "$work/consumer"
  mkdir -p "$work/clone/gateway"
  (cd "$root" && git ls-files -z -co --exclude-standard | while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
    tar -c --null -T - -f - | tar -x -C "$work/clone/gateway")
  cp -r "$root/testdata/swift-consumer" "$work/consumer"
  git=(git -c safe.directory='*' -c user.name=test -c user.email=test@localhost -C .cache/swift/clone/gateway)
  {
    swiftly "${git[@]}" init -q -b main
    swiftly "${git[@]}" add -A
    swiftly "${git[@]}" commit -q -m "the tree as it is"
    swiftly "${git[@]}" tag 0.1.0
  } >"$work/consumer.log" 2>&1 || { cat "$work/consumer.log"; say "the clone could not be made"; exit 1; }
  export CODERCLAW_URL=file://$at/.cache/swift/clone/gateway
  swiftly swift build --package-path .cache/swift/consumer --product Consumer >"$work/consumer.log" 2>&1 || fail "$work/consumer.log" "the consumer does not build"
  grep -q '"version" : "0.1.0"' "$work/consumer/Package.resolved" || { cat "$work/consumer/Package.resolved"; say "the consumer did not take the tag"; exit 1; }
  swiftly .cache/swift/consumer/.build/debug/Consumer >"$work/consumer.out" 2>&1 || { cat "$work/consumer.out"; say "the consumer failed"; exit 1; }
  diff -u "$root/testdata/swift-consumer/want.txt" "$work/consumer.out" || { say "the consumer printed something else"; exit 1; }
  say "the consumer works"
}

# --- the package ---------------------------------------------------------------------

# The optimiser works on one core, so that the rest goes on beside it.
others=
trap '[ -z "$others" ] || kill "$others" 2>/dev/null || true' EXIT
if [ -z "${SWIFT_TEST_FILTER:-}" ]; then
  (shapes; consumer) >"$work/others.log" 2>&1 &
  others=$!
  say "beside the package: the golden shapes and a consumer by url"
fi
say "building CoderClawProtocol and its tests"
package=(--package-path clients/swift --scratch-path .cache/swift/build -c release "${strict[@]}")
swiftly swift build "${package[@]}" --build-tests >"$work/build.log" 2>&1 || fail "$work/build.log" "the package does not build"
say "testing"
status=0
swiftly swift test "${package[@]}" --skip-build ${SWIFT_TEST_FILTER:+--filter "$SWIFT_TEST_FILTER"} >"$work/test.log" 2>&1 || status=$?
grep '^speed:' "$work/test.log" | sed 's/^/swift:        /' || true
[ "$status" = 0 ] || fail "$work/test.log" "tests failed"
ran=$(sed -n 's/.*Executed \([0-9]*\) tests\{0,1\}, with 0 failures.*/\1/p' "$work/test.log" | sort -n | tail -n 1)
[ "${ran:-0}" -gt 0 ] || fail "$work/test.log" "no test ran"
say "$ran tests passed"
[ -n "$others" ] || exit 0

status=0
wait "$others" || status=$?
others=
cat "$work/others.log"
[ "$status" = 0 ] || { say "the golden shapes or the consumer failed"; exit 1; }
say "all passed"
