#!/bin/sh
# An independent OpenAI-compatible server (npm @copilotkit/aimock) as the model.
#
#   aimock.sh serve PORT   run it in the foreground on 127.0.0.1:PORT
#   aimock.sh check        run the openai backend's tests against it, then talk to it
#                          through the gateway and the command line (needs bin/coderclaw)
#
# It is installed into .cache/aimock once, 12 MB without dependencies or install
# scripts. It wants the key "aimock-test-key" and answers as aimock/chat.json
# says, 20 ms between chunks. Needs Node 20 or later, and npm the first time.
set -eu

version=1.43.0
key=aimock-test-key
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache/aimock-$version

install() {
	[ -x "$cache/node_modules/.bin/llmock" ] && return
	mkdir -p "$cache"
	echo '{"private":true}' >"$cache/package.json"
	(cd "$cache" && npm install --ignore-scripts --no-audit --no-fund --loglevel=error "@copilotkit/aimock@$version" >&2)
}

serve() {
	install
	AIMOCK_API_KEYS=$key exec node "$cache/node_modules/.bin/llmock" \
		-h 127.0.0.1 -p "$1" -f "$here/aimock" -l 20 --log-level warn --strict
}

answers() {
	node -e 'fetch(process.argv[1], {headers: {authorization: "Bearer " + process.argv[2]}}).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))' \
		"http://127.0.0.1:$1/v1/models" "$key"
}

check() {
	install
	port=${AIMOCK_PORT:-41843}
	serve "$port" &
	pid=$!
	trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true' EXIT
	trap 'exit 1' INT TERM
	tries=0
	until answers "$port"; do
		tries=$((tries + 1))
		if [ "$tries" -gt 100 ] || ! kill -0 "$pid" 2>/dev/null; then
			echo "aimock does not answer on port $port" >&2
			exit 1
		fi
		sleep 0.1
	done
	cd "$root"
	CODERCLAW_TEST_AIMOCK="http://127.0.0.1:$port" go test -count=1 -run '^TestIndependentServer$' -v ./pkg/agent/openai
	talk "$port"
}

# talk holds a conversation with the model through our gateway: one command starts
# it, another prints the model's answer.
talk() {
	state=$(mktemp -d)
	env -i PATH="$PATH" HOME="$state" CODERCLAW_STATE_DIR="$state" OPENAI_BASE_URL="http://127.0.0.1:$1/v1" OPENAI_API_KEY=$key OPENAI_MODEL=gpt-4o \
		bin/coderclaw gateway --port 0 >"$state/gateway.log" 2>&1 &
	gateway=$!
	trap 'kill "$gateway" "$pid" 2>/dev/null || true; wait "$gateway" "$pid" 2>/dev/null || true; rm -rf "$state"' EXIT
	tries=0
	until url=$(sed -n 's/.*listens on \(ws:[^ ]*\).*/\1/p' "$state/gateway.log") && [ -n "$url" ]; do
		tries=$((tries + 1))
		if [ "$tries" -gt 100 ]; then
			cat "$state/gateway.log" >&2
			exit 1
		fi
		sleep 0.1
	done
	answer=$(env -i PATH="$PATH" HOME="$state" CODERCLAW_STATE_DIR="$state" bin/coderclaw agent --url "$url" --message "hello")
	case $answer in
	*"Hello from an independent server"*"漢字 included."*) echo "aimock: ok    coderclaw agent streams the independent model's answer" ;;
	*)
		echo "aimock: FAIL  coderclaw agent printed: $answer" >&2
		exit 1
		;;
	esac
}

case "${1:-}" in
serve) serve "${2:?port}" ;;
check) check ;;
*)
	sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
