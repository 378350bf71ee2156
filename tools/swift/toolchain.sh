#!/usr/bin/env bash
# Finds Swift 6, or sets it up below .cache/swift-root.
#
# A swift on the PATH that is new enough is used as it is. Otherwise, on Debian,
# debootstrap makes a small Debian 13 there, whose package swiftlang is 6.0: about a
# minute and a half and 3.4 GB, once. It needs root, because a chroot does. Mounts are
# made in a mount namespace of their own, so that none outlives its command and
# `make clean` can never reach through one.
#
# Prints "host" or "chroot" on standard output, everything else on standard error.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=$root/.cache
chroot=$cache/swift-root
suite=trixie
packages=swiftlang,libc6-dev,libstdc++-14-dev,libcurl4-openssl-dev,libssl-dev,git,ca-certificates
want=6

say() { printf 'swift: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# major prints the first number of the version of the swift that "$@" runs.
major() { "$@" --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\)\..*/\1/p' | head -n 1; }

if command -v swift >/dev/null; then
  found=$(major swift)
  if [ "${found:-0}" -ge "$want" ]; then
    echo host
    exit 0
  fi
  say "the swift on the PATH is version ${found:-unknown}, $want is needed"
fi

stamp="$suite $packages"
ready() { [ -f "$chroot/.ready" ] && [ "$(cat "$chroot/.ready")" = "$stamp" ]; }
if ready; then
  echo chroot
  exit 0
fi

# --- what the set-up needs ---------------------------------------------------------

advice="install Swift $want or newer (https://www.swift.org/install) and put it on the PATH"
. /etc/os-release 2>/dev/null || die "no Swift here, and only a Debian machine can set one up: $advice"
[ "${ID:-}" = debian ] || die "no Swift here, and only a Debian machine can set one up, this is ${PRETTY_NAME:-unknown}: $advice"
[ "$(id -u)" = 0 ] || die "setting Swift up in a chroot needs root: run this as root once, or $advice"
free=$(($(df -Pk "$root" | awk 'NR == 2 { print $4 }') / 1024))
[ "$free" -ge 6000 ] || die "setting Swift up needs 6 GB of disk, $free MB are free: $advice"

mkdir -p "$cache"
exec 9>"$cache/swift-root.lock"
if ! flock -n 9; then
  say "another process is setting Swift up, waiting for it"
  flock 9
fi
if ready; then
  echo chroot
  exit 0
fi

# mirror prints the address of the archive that this machine's apt is set to.
mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    grep -v -e security -e updates -e backports | grep -m 1 '/debian/*$'
}
from=${SWIFT_DEBIAN_MIRROR:-$(mirror || true)}
[ -n "$from" ] || die "apt names no Debian archive here: set SWIFT_DEBIAN_MIRROR to the address of one"

log=$cache/swift-root.log
started=$SECONDS
if ! command -v debootstrap >/dev/null; then
  say "installing debootstrap"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends debootstrap; } >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; die "debootstrap could not be installed; the whole log is in .cache/swift-root.log"; }
fi

# --- the chroot --------------------------------------------------------------------

partial=$cache/swift-root.partial
say "setting up Debian $suite with swiftlang in .cache/swift-root (about 90 s and 3.4 GB, once)"
rm -rf --one-file-system "$partial" "$chroot"

build() {
  unshare --mount --propagation private debootstrap --variant=minbase --include="$packages" \
    "$suite" "$partial" "$from" >>"$log" 2>&1
}
: >"$log"
build &
job=$!
# One line whenever debootstrap enters another stage.
last=
while kill -0 "$job" 2>/dev/null; do
  stage=$(grep -oE '^I: (Retrieving|Validating|Extracting|Unpacking|Configuring|Installing|Chosen|Resolving)[a-z ]*' "$log" | tail -n 1 | cut -d' ' -f2 || true)
  if [ -n "$stage" ] && [ "$stage" != "$last" ]; then
    last=$stage
    say "$(printf '%4ss  %s' $((SECONDS - started)) "$stage")"
  fi
  sleep 1
done
wait "$job" || { tail -n 20 "$log" >&2; die "debootstrap failed; the whole log is in .cache/swift-root.log"; }

rm -rf "$partial"/var/cache/apt/archives/*.deb
found=$(unshare --mount --propagation private sh -c "mount -t proc proc '$partial/proc' && chroot '$partial' swift --version" 2>&1 | sed -n 's/.*Swift version \([0-9.]*\).*/\1/p' | head -n 1)
[ -n "$found" ] || die "the chroot was made, but swift does not run in it: try again after rm -rf .cache/swift-root.partial"
mv "$partial" "$chroot"
printf '%s\n' "$stamp" >"$chroot/.ready"
say "Swift $found is ready after $((SECONDS - started)) s"
echo chroot
