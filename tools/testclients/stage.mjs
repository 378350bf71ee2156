// The stage of the browser checks: our gateway, a model for it, and a server for
// the static files of somebody else's page. Everything listens on loopback, on
// ports of its own, and ends with the process.
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join, normalize } from "node:path";

const types = { html: "text/html", js: "text/javascript", css: "text/css", svg: "image/svg+xml", png: "image/png", ico: "image/x-icon", map: "application/json" };

function listen(server) {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(`127.0.0.1:${server.address().port}`));
  });
}

// serveFiles serves the files below root as the original's gateway does: a path
// without a file is the page itself, and two paths answer what it asks its own
// server (answers: path to JSON). It gives the address.
export async function serveFiles(root, answers) {
  const server = createServer((req, res) => {
    const path = new URL(req.url, "http://x").pathname;
    if (answers[path]) {
      res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answers[path]));
      return;
    }
    let file = join(root, normalize(decodeURIComponent(path)));
    if (!statSync(file, { throwIfNoEntry: false })?.isFile()) file = join(root, "index.html");
    const type = types[file.slice(file.lastIndexOf(".") + 1)] ?? "application/octet-stream";
    res.writeHead(200, { "content-type": type, "cache-control": "no-store" }).end(readFileSync(file));
  });
  return { address: await listen(server), close: () => server.close() };
}

// serveModel is an OpenAI-compatible server whose answers come in two halves: the
// second is held back until release is called, so that a check can look at an
// answer that is on its way without watching the clock. A question that does not
// say "slowly" is answered at once.
export async function serveModel() {
  let held = [];
  const server = createServer(async (req, res) => {
    if (req.url.endsWith("/models")) {
      res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ object: "list", data: [{ id: "halves", object: "model" }] }));
      return;
    }
    let body = "";
    for await (const chunk of req) body += chunk;
    const { messages } = JSON.parse(body);
    const last = messages[messages.length - 1].content;
    const question = typeof last === "string" ? last : last.map((part) => part.text ?? "").join("");
    res.writeHead(200, { "content-type": "text/event-stream" });
    const say = (delta, more) => res.write(`data: ${JSON.stringify({ id: "1", object: "chat.completion.chunk", model: "halves", choices: [{ index: 0, delta, finish_reason: null, ...more }] })}\n\n`);
    say({ role: "assistant", content: `The first half of the answer to: ${question}` });
    if (question.includes("slowly")) await new Promise((resolve) => held.push(resolve));
    say({ content: " And the second half." });
    say({}, { finish_reason: "stop" });
    res.write(`data: ${JSON.stringify({ id: "1", object: "chat.completion.chunk", model: "halves", choices: [], usage: { prompt_tokens: 1200, completion_tokens: 34, total_tokens: 1234 } })}\n\n`);
    res.end("data: [DONE]\n\n");
  });
  const address = await listen(server);
  return {
    baseUrl: `http://${address}/v1`,
    release: () => { held.forEach((go) => go()); held = []; },
    close: () => server.closeAllConnections(),
  };
}

// Gateway is a gateway process with a state directory of its own, below dir. config
// is the text of its configuration.
export class Gateway {
  constructor(binary, dir, config) {
    Object.assign(this, { binary, dir, state: join(dir, "state"), process: null, port: 0, log: "" });
    mkdirSync(this.state, { recursive: true, mode: 0o700 });
    writeFileSync(join(this.state, "coderclaw.json"), config);
  }

  environment() {
    return { PATH: process.env.PATH, HOME: this.dir, CODERCLAW_STATE_DIR: this.state };
  }

  // start resolves when the gateway listens; a later start takes the same port.
  async start() {
    this.process = spawn(this.binary, ["gateway", "--port", String(this.port)], { env: this.environment(), stdio: ["ignore", "pipe", "pipe"] });
    const child = this.process;
    let said = "";
    await new Promise((resolve, reject) => {
      const read = (chunk) => {
        said += chunk;
        this.log += chunk;
        const found = said.match(/listens on ws:\/\/127\.0\.0\.1:(\d+)/);
        if (found) { this.port = Number(found[1]); resolve(); }
      };
      child.stdout.on("data", read);
      child.stderr.on("data", read);
      child.once("exit", (code) => reject(new Error(`the gateway ended with ${code}:\n${said}`)));
      child.once("error", reject);
    });
    this.url = `ws://127.0.0.1:${this.port}`;
    this.token = readFileSync(join(this.state, "gateway.token"), "utf8").trim();
  }

  // stop ends the process with SIGINT, or with the given signal.
  async stop(signal = "SIGINT") {
    const child = this.process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await gone;
  }

  // ask runs our own command line against it and gives what it printed.
  ask(...args) {
    return new Promise((resolve, reject) => {
      const child = spawn(this.binary, args, { env: this.environment(), stdio: ["ignore", "pipe", "pipe"] });
      let out = "", err = "";
      child.stdout.on("data", (chunk) => (out += chunk));
      child.stderr.on("data", (chunk) => (err += chunk));
      child.once("error", reject);
      child.once("close", (code) => (code === 0 ? resolve(out) : reject(new Error(`coderclaw ${args.join(" ")} ended with ${code}: ${err}`))));
    });
  }
}
