// Speaks to `openclaw acp`, the original's bridge for editors, as an editor does:
// JSON-RPC, a line each, on the bridge's standard input and output. It asks one
// question and prints the answer as the editor would have it, from the pieces that
// came before the end of the turn.
//
//   node acp.mjs OPENCLAW SESSION_KEY QUESTION
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const [openclaw, sessionKey, question] = process.argv.slice(2);
const bridge = spawn(process.execPath, [openclaw, "acp", "--session", sessionKey], { stdio: ["pipe", "pipe", "inherit"], detached: true });
const waiting = new Map();
let said = "";
let last = 0;

createInterface({ input: bridge.stdout }).on("line", (line) => {
  const message = JSON.parse(line);
  if (message.method === "session/update" && message.params.update.sessionUpdate === "agent_message_chunk") said += message.params.update.content.text;
  waiting.get(message.id)?.(message);
});
bridge.once("exit", (code) => {
  console.error(`the bridge ended with ${code}`);
  process.exit(1);
});

function ask(method, params) {
  const id = ++last;
  bridge.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
  return new Promise((resolve, reject) => waiting.set(id, ({ result, error }) => (error ? reject(new Error(JSON.stringify(error))) : resolve(result))));
}

await ask("initialize", { protocolVersion: 1, clientCapabilities: {} });
const { sessionId } = await ask("session/new", { cwd: process.cwd(), mcpServers: [] });
const { stopReason } = await ask("session/prompt", { sessionId, prompt: [{ type: "text", text: question }] });
console.log(said);
console.log(`stop reason: ${stopReason}`);
process.kill(-bridge.pid); // it has started itself once more, so the whole group
process.exit(0);
