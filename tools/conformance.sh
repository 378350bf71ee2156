#!/usr/bin/env bash
# Grades our own gateway as other implementers grade theirs: bin/coderclaw as a process
# with an empty state directory and the counterpart model behind it, bin/conformance
# against it, once for each profile. Everything that was started is stopped by its pid.
set -euo pipefail
cd "$(dirname "$0")/.."

token=conformance-gateway-token

# start DIR PORT: runs a gateway on the state in DIR and waits until it listens.
start() {
  local dir=$1 port=$2
  : >"$dir/gateway.err"
  env CODERCLAW_STATE_DIR="$dir/state" "$(cat "$dir/secret")" OPENAI_BASE_URL="$(cat "$dir/model.url")" OPENAI_API_KEY=none \
    bin/coderclaw gateway --port "$port" >"$dir/gateway.log" 2>"$dir/gateway.err" &
  echo $! >"$dir/gateway.pid"
  for _ in $(seq 200); do
    url=$(sed -nE 's/.*listens on (ws:[^ ]+).*/\1/p' "$dir/gateway.err")
    if [ -n "$url" ]; then
      echo "${url##*:}" >"$dir/port"
      return
    fi
    kill -0 "$(cat "$dir/gateway.pid")" 2>/dev/null || break
    sleep 0.05
  done
  cat "$dir/gateway.err" >&2
  return 1
}

# stop DIR: stops the gateway in good order and waits until it is gone.
stop() {
  local pid
  pid=$(cat "$1/gateway.pid")
  kill -TERM "$pid" 2>/dev/null || return 0
  while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
}

# profile NAME CONFIG ARG...: one gateway, one run.
profile() {
  local name=$1 config=$2
  shift 2
  printf '\nprofile %s\n' "$name"
  local dir=$all/$name
  mkdir -p "$dir/state"
  printf '%s\n' "$config" >"$dir/state/coderclaw.json"
  cp "$all/model.url" "$dir/model.url"
  local secret=CODERCLAW_GATEWAY_TOKEN
  [ "$name" != password ] || secret=CODERCLAW_GATEWAY_PASSWORD
  echo "$secret=$token" >"$dir/secret"
  start "$dir" 0
  local port status=0
  port=$(cat "$dir/port")
  args=()
  for a in "$@"; do args+=("${a//PORT/$port}"); done
  env "$secret=$token" bin/conformance run "ws://127.0.0.1:$port" --patience 20s "${args[@]}" \
    --restart "'$0' restart '$dir'" --stop "'$0' stop '$dir'" || status=$?
  stop "$dir"
  return $status
}

case ${1:-} in
restart) stop "$2"; start "$2" "$(cat "$2/port")"; exit ;;
stop) stop "$2"; exit ;;
remote) # inside the namespace
  all=$2 address=192.0.2.9
  ip link set lo up
  ip address add "$address/32" dev lo
  profile remote '{gateway: {bind: "lan", tls: {allowPlaintextLan: true}}, agents: {defaults: {model: "openai/mock-1"}}}' \
    --only 'remote-*.jsonl' --remote-url "ws://$address:PORT"
  exit
  ;;
esac

all=$(mktemp -d)
model=
cleanup() {
  for f in "$all"/*/gateway.pid; do [ -e "$f" ] && stop "$(dirname "$f")"; done
  [ -z "$model" ] || kill "$model" 2>/dev/null || true
  rm -rf "$all"
}
trap cleanup EXIT

make -s build
go build -o "$all/modelserver" ./pkg/agent/agenttest/modelserver
"$all/modelserver" >"$all/model.url" &
model=$!
for _ in $(seq 200); do [ -s "$all/model.url" ] && break; sleep 0.05; done

agent='agents: {defaults: {model: "openai/mock-1", contextTokens: 32000}}'
profile token "{gateway: {allowedHosts: [\"gw.example.com\"]}, $agent}" --offers llm "$@"

# The recordings of this profile beside those that are excepted; a stop is recorded too,
# and replayed under token.
if [ $# -eq 0 ]; then
  profile password "{gateway: {auth: {mode: \"password\", rateLimit: {maxAttempts: 3, windowMs: 60000, lockoutMs: 4000}}, trustedProxies: [\"127.0.0.1\"]}, $agent}" \
    --offers trusted-proxy --offers rate-limit --only 'password-*.jsonl' --only 'trusted-proxy-*.jsonl'
fi

# Clients of other hosts come over an address that is not loopback: one in a network
# namespace of this script's own, where nothing else can be reached.
if [ $# -eq 0 ]; then
  if unshare --net true 2>/dev/null && command -v ip >/dev/null; then
    unshare --net "$0" remote "$all"
  else
    echo "profile remote: left out, a network namespace takes root and iproute2"
  fi
fi
