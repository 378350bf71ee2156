#!/usr/bin/env bash
# Installs the clients of package.json into .cache/testclients: about 700 MB and a
# minute or two the first time, nothing later.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../.." && pwd)/.cache/testclients
say() { printf '%s\n' "test-clients: $*"; }
die() { say "$*" >&2; exit 1; }

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || die "this target runs on Linux x86-64 only: the Node it installs is built for that"
command -v npm >/dev/null || die "npm is needed to install the clients: install Node.js (any version), then run this again"

stamp=$(sha256sum "$here/package.json" | cut -d' ' -f1)
if [ -f "$cache/installed" ] && [ "$(cut -d' ' -f1 "$cache/installed")" = "$stamp" ]; then
  exit 0
fi
say "installing the clients into .cache/testclients (about 700 MB the first time, a minute or two)"
mkdir -p "$cache"
rm -f "$cache/installed"
for try in 1 2; do
  cp "$here/package.json" "$cache/"
  if (cd "$cache" && npm install --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error >install.log 2>&1); then
    printf '%s\n' "$stamp" >"$cache/installed"
    say "installed in ${SECONDS}s"
    exit 0
  fi
  say "npm install failed (try $try of 2)"
  [ "$try" = 2 ] || rm -rf "$cache/node_modules" "$cache/package-lock.json"
done
tail -n 20 "$cache/install.log" >&2
die "the clients could not be installed; the whole log is in .cache/testclients/install.log"
