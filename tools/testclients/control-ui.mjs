// The original's control UI, the static files of its npm package, in Chromium
// against our gateway: what a person does with it, and what it then shows.
//
//   node control-ui.mjs CODERCLAW CACHE
//
// CODERCLAW is our binary, CACHE the folder in which openclaw and playwright-core
// are installed; pictures of the tabs land in CACHE/screenshots. A check that does
// not hold is told and the next one runs; the exit code is 1 then. Nothing waits
// for time to pass: every step waits for what it needs to see, patience at most.
//
// Methods that the page calls and the gateway does not have yet are listed, not
// counted as faults; any other refusal is one.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Gateway, serveFiles, serveModel } from "./stage.mjs";

const [binary, cache] = process.argv.slice(2);
const { chromium } = createRequire(join(cache, "package.json"))("playwright-core");
const patience = 30_000; // milliseconds
const pictures = join(cache, "screenshots");
const say = (text) => console.log(`control-ui: ${text}`);

// What the page may write to its console as an error, and why.
const expectedNoise = [
  { text: /WebSocket connection to 'ws:\/\/PAGE\//, why: "it asks its own origin before a person has confirmed the gateway's address" },
  { text: /WebSocket connection to 'ws:\/\/GATEWAY\/' failed/, why: "the gateway is down while it restarts", during: "restart" },
];

let passed = 0;
let failed = 0;
let phase = "";
const refusedOnPurpose = new Set(); // methods of which a check provokes a refusal

// check runs what must hold and tells how it went.
async function check(name, holds) {
  try {
    await holds();
    passed++;
    say(`ok    ${name}`);
  } catch (err) {
    failed++;
    say(`FAIL  ${name}`);
    for (const line of String(err.stack ?? err).split("\n").slice(0, 12)) console.log(`      | ${line}`);
  }
}

function must(condition, text) {
  if (!condition) throw new Error(text);
}

// until asks again, twelve times a second at most, until the answer is true.
async function until(what, ask) {
  const end = Date.now() + patience;
  for (;;) {
    if (await ask()) return;
    if (Date.now() > end) throw new Error(`waited ${patience} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 80));
  }
}

// Watcher listens to one page: its console, and what it asks the gateway.
class Watcher {
  constructor(page, pageAddress, gatewayAddress) {
    Object.assign(this, { noise: [], noted: new Set(), refused: [], calls: new Set(), missing: new Set(), deltas: 0, sockets: 0 });
    const plain = (text) => text.replaceAll(pageAddress, "PAGE").replaceAll(gatewayAddress, "GATEWAY");
    page.on("pageerror", (err) => this.noise.push(`uncaught: ${err.message}`));
    page.on("console", (message) => {
      if (message.type() !== "error") return;
      const text = plain(message.text());
      const known = expectedNoise.find((n) => n.text.test(text) && (!n.during || n.during === phase));
      if (known) this.noted.add(known.why);
      else this.noise.push(`${text} (${message.location().url})`);
    });
    page.on("websocket", (socket) => this.listen(socket));
  }

  listen(socket) {
    this.sockets++;
    const asked = new Map();
    socket.on("framesent", ({ payload }) => {
      const frame = JSON.parse(payload);
      asked.set(frame.id, frame.method);
      this.calls.add(frame.method);
    });
    socket.on("framereceived", ({ payload }) => {
      const frame = JSON.parse(payload);
      if (frame.event === "chat" && frame.payload.state === "delta") this.deltas++;
      if (frame.type !== "res" || frame.ok) return;
      const method = asked.get(frame.id);
      if (frame.error.message === `unknown method: ${method}`) this.missing.add(method);
      else if (!refusedOnPurpose.has(method)) this.refused.push(`${method}: ${frame.error.code} ${frame.error.message}`);
    });
  }
}

// App is the page as a person has it before them.
class App {
  constructor(page, watcher) {
    Object.assign(this, { page, watcher });
  }

  // reconnected waits until the page has a later connection than the one that it had
  // when there were so many.
  async reconnected(sockets) {
    await until("a new connection", () => this.watcher.sockets > sockets);
    await this.connected();
  }

  connected(want = true) {
    return this.page.waitForFunction((want) => document.querySelector("openclaw-app")?.connected === want, want, { timeout: patience });
  }

  async open(tab) {
    await this.page.locator(`a.nav-item[href$="/${tab}"]`).click();
    await this.page.locator(".page-title, .usage-page-title").first().waitFor();
  }

  // faults gives the error bars that are in sight, without those for methods that
  // the gateway does not have yet.
  async faults() {
    const bars = await this.page.locator(".callout.danger, .pill.danger").allInnerTexts();
    return bars.filter((text) => !/^(Error: )?unknown method: (channels|cron|skills|exec|node|web|update)\./.test(text.trim()));
  }

  async noFaults() {
    const faults = await this.faults();
    must(faults.length === 0, `the page shows: ${faults.join(" / ")}`);
  }

  sees(text, within = "main.content") {
    return this.page.locator(within).getByText(text).first().waitFor({ timeout: patience });
  }

  async send(text) {
    await this.page.locator(".chat-compose textarea").fill(text);
    await this.page.keyboard.press("Enter");
  }

  picture(name) {
    return this.page.screenshot({ path: join(pictures, `${name}.png`) });
  }
}

const own = {
  "/__openclaw/control-ui-config.json": { basePath: "", assistantName: "Assistant", assistantAvatar: "A", assistantAgentId: "main" },
  "/avatar/main": { avatarUrl: null },
};
const root = join(cache, "node_modules/openclaw/dist/control-ui");
rmSync(pictures, { recursive: true, force: true });
mkdirSync(pictures, { recursive: true });
const dir = mkdtempSync(join(tmpdir(), "control-ui-"));
const files = await serveFiles(root, own);
const foreign = await serveFiles(root, own);
const model = await serveModel();
const config = `{
  gateway: { controlUi: { allowedOrigins: ["http://${files.address}"] } }, // the page is not served by the gateway
  models: { providers: { openai: { baseUrl: "${model.baseUrl}", models: [{ id: "halves", cost: { input: 3, output: 15 } }] } } },
  agents: { defaults: { model: "openai/halves" } },
}
`;
const gateway = new Gateway(binary, dir, config);
let browser;

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    gateway.process?.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true, maxRetries: 10 });
    process.exit(1); // the browser goes with its pipe
  });
}

try {
  await gateway.start();
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Nothing but loopback can be reached; the rest keeps Chromium from trying.
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
  });
  say(`Chromium ${browser.version()}, page http://${files.address}, gateway ${gateway.url}`);
  await journey();
  await strangers();
} finally {
  await browser?.close();
  await gateway.stop();
  files.close();
  foreign.close();
  model.close();
  rmSync(dir, { recursive: true, force: true });
}

say(`pictures are in ${pictures}`);
say(`${passed} passed, ${failed} failed`);
if (failed) {
  say("the gateway's log:");
  console.log(gateway.log.split("\n").slice(-30).join("\n"));
}
process.exit(failed ? 1 : 0);

// newPage gives a page of a browser without any past, and its watcher.
async function newPage(address) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  // The page asks Google for its fonts; there is no network here.
  await context.route("https://fonts.googleapis.com/**", (route) => route.fulfill({ contentType: "text/css", body: "" }));
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  return { page, watcher: new Watcher(page, address, `127.0.0.1:${gateway.port}`) };
}

// visit opens the page the way its users are told to: the gateway's address and
// the token in the link, then a confirmation that this gateway is meant.
async function visit(page, address, token) {
  const hash = token ? `#token=${token}` : "";
  await page.goto(`http://${address}/?gatewayUrl=${encodeURIComponent(gateway.url)}${hash}`);
  await page.getByRole("button", { name: "Confirm" }).click();
}

// strangers are pages that must not be let in.
async function strangers() {
  await check("a page of another origin is refused and told why", async () => {
    const { page, watcher } = await newPage(foreign.address);
    await visit(page, foreign.address, gateway.token);
    await new App(page).sees(/origin not allowed \(open the Control UI from the gateway host or allow it in gateway\.controlUi\.allowedOrigins\)/);
    await new App(page).picture("refused-origin");
    must(watcher.refused.some((text) => text.startsWith("connect: INVALID_REQUEST origin not allowed")), `answers: ${watcher.refused}`);
    await page.context().close();
  });
  await check("a page without the token is refused and told where to put it", async () => {
    const { page } = await newPage(files.address);
    await visit(page, files.address, "");
    await new App(page).sees(/unauthorized: gateway token missing/);
    await page.context().close();
  });
  await check("nothing of theirs is waiting for approval", async () => {
    const { pending } = JSON.parse(await gateway.ask("devices", "list", "--json"));
    must(pending.length === 0, JSON.stringify(pending));
  });
}

// journey is what one person does with the page, tab by tab.
async function journey() {
  const { page, watcher } = await newPage(files.address);
  const app = new App(page, watcher);
  let key = "";

  await check("it loads, asks whether this gateway is meant, and connects", async () => {
    await visit(page, files.address, gateway.token);
    await app.connected();
    await app.noFaults();
    must((await page.locator(".topbar-status").innerText()).includes("OK"), "Health is not OK");
  });
  await check("its device is paired, and nobody had to approve it", async () => {
    const list = JSON.parse(await gateway.ask("devices", "list", "--json"));
    must(list.pending.length === 0 && list.paired.length >= 1, JSON.stringify(list));
    must(gateway.log.includes("openclaw-control-ui"), "our log does not know the client");
  });
  await check("an answer appears while it is being made, then whole", async () => {
    await app.send("please answer slowly");
    await app.sees("The first half of the answer to: please answer slowly");
    must(!(await page.locator(".chat-thread").innerText()).includes("second half"), "the answer was not streamed");
    must(watcher.deltas > 0, "no delta came");
    await app.picture("chat-streaming");
    model.release();
    await app.sees(/And the second half\./);
    await page.getByRole("button", { name: "New session" }).waitFor();
    await app.noFaults();
    await app.picture("chat");
  });
  await check("our history has the question and the answer", async () => {
    const history = await gateway.ask("history", "--json");
    must(history.includes('"please answer slowly"') && history.includes("And the second half."), history);
  });
  await check("Stop ends an answer and keeps what was said", async () => {
    await app.send("go slowly and be stopped");
    await app.sees("The first half of the answer to: go slowly and be stopped");
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByRole("button", { name: "New session" }).waitFor();
    model.release();
    await app.sees("The first half of the answer to: go slowly and be stopped");
    await app.noFaults();
  });

  await check("Overview shows the connection, instances and sessions", async () => {
    await app.open("overview");
    await app.sees("Snapshot");
    await until("one session", async () => /SESSIONS\s+1/i.test(await page.locator("main.content").innerText()));
    must(/INSTANCES\s+[1-9]/i.test(await page.locator("main.content").innerText()), "no instances");
    await app.noFaults();
    await app.picture("overview");
  });
  await check("Instances shows the gateway and the page itself", async () => {
    await app.open("instances");
    await app.sees("openclaw-control-ui");
    await app.sees("Reason self");
    await app.noFaults();
    await app.picture("instances");
  });
  await check("Sessions lists what exists on our side", async () => {
    await gateway.ask("agent", "--session-key", "agent:main:garden", "--message", "what grows");
    await app.open("sessions");
    const keys = (await sessions()).map((session) => session.key);
    must(keys.length === 2, `we have ${keys}`);
    for (const one of keys) await app.sees(one);
    key = "agent:main:garden";
    await app.noFaults();
    await app.picture("sessions");
  });
  await check("Sessions: a label and a thinking level that a person sets are ours", async () => {
    const row = page.locator(".table-row", { hasText: key });
    await row.locator("input").fill("The garden");
    await row.locator("input").press("Enter");
    const entry = async () => (await sessions()).find((session) => session.key === key);
    await until("the label", async () => (await entry()).label === "The garden");
    await row.locator("select").first().selectOption("low");
    await until("the level", async () => (await entry()).thinkingLevel === "low");
    await app.noFaults();
  });
  await check("Sessions: the link opens the conversation", async () => {
    await page.locator(".session-link", { hasText: key }).click();
    await app.sees("The first half of the answer to: what grows");
    await app.noFaults();
  });
  await check("Sessions: Delete deletes it", async () => {
    await app.open("sessions");
    page.once("dialog", (dialog) => dialog.accept());
    await page.locator(".table-row", { hasText: key }).getByRole("button", { name: "Delete" }).click();
    await until("its end", async () => !(await sessions()).some((session) => session.key === key));
    await until("the row's end", async () => (await page.locator(".table-row", { hasText: key }).count()) === 0);
    await app.noFaults();
  });
  await check("Usage shows real counts and costs, by session and over time", async () => {
    await app.open("usage");
    await page.getByRole("button", { name: "Refresh" }).click();
    const row = page.locator('.session-bar-row[title="agent:main:main"]').first();
    await row.waitFor();
    must(/1\.2K|1,234|1234/.test(await page.locator("main.content").innerText()), "1,234 tokens are not in sight");
    await app.picture("usage");
    await row.click();
    await until("the session's account", async () => watcher.calls.has("sessions.usage.logs") && watcher.calls.has("sessions.usage.timeseries"));
    await app.sees("please answer slowly");
    await app.noFaults();
    await app.picture("usage-session");
  });
  await check("Agents shows the agent, its files, and saves one", async () => {
    await app.open("agents");
    await page.locator(".agent-row", { hasText: "main" }).first().waitFor();
    await app.noFaults();
    await app.picture("agents");
    await page.locator(".agent-tab", { hasText: "Files" }).click();
    const file = page.locator(".agent-file-row", { hasText: "HEARTBEAT.md" });
    await file.waitFor();
    await file.click();
    const text = page.locator(".agent-files-editor textarea");
    await text.waitFor();
    await text.fill("# Heartbeat\nlook after the garden\n");
    await app.picture("agents-files");
    await page.locator(".agent-file-actions").getByRole("button", { name: "Save" }).click();
    await until("the file", async () => (await gateway.ask("agents", "files", "main", "HEARTBEAT.md")).includes("look after the garden"));
    await app.noFaults();
  });
  await check("Nodes lists the paired device; Rotate gives it a new token", async () => {
    await app.open("nodes");
    const { deviceId } = await page.evaluate(() => JSON.parse(localStorage.getItem("openclaw-device-identity-v1")));
    const device = page.locator(".list-item", { hasText: deviceId });
    await device.scrollIntoViewIfNeeded();
    await app.picture("nodes");
    page.once("dialog", (dialog) => dialog.dismiss()); // the page shows the token to copy
    const before = await storedToken(page);
    const { sockets } = watcher;
    await device.getByRole("button", { name: "Rotate" }).click();
    await until("another stored token", async () => (await storedToken(page)) !== before);
    // What was connected with an old token is disconnected, the page too; it comes back
    // with the new one.
    await app.reconnected(sockets);
    await page.locator(".card", { hasText: "Pairing requests" }).getByRole("button", { name: "Refresh" }).click();
    await until("no faults", async () => (await app.faults()).length === 0);
  });
  await configTab(page, app);
  await check("Debug shows status, health and models, and calls a method", async () => {
    await app.open("debug");
    await app.sees(/"defaultAgentId": "main"/);
    await app.sees(/"id": "halves"/);
    await page.getByPlaceholder("system-presence").fill("sessions.list");
    await page.getByRole("button", { name: "Call" }).click();
    await app.sees(/"key": "agent:main:main"/);
    await app.noFaults();
    await app.picture("debug");
  });
  await check("Logs shows our log with times, levels and messages", async () => {
    await app.open("logs");
    const row = page.locator(".log-row", { hasText: "client connected" }).first();
    await row.waitFor();
    must((await row.locator(".log-level").innerText()).trim() === "info", "no level");
    must(/\d:\d\d/.test(await row.locator(".log-time").innerText()), "no time");
    must(!(await row.locator(".log-message").innerText()).startsWith("{"), "the message is a raw line");
    await app.noFaults();
    await app.picture("logs");
  });
  await check("Channels, Cron and Skills open; what is missing is told as such", async () => {
    for (const tab of ["channels", "cron", "skills"]) {
      await app.open(tab);
      await app.picture(tab);
      const faults = (await app.faults()).filter((text) => text !== "Channel config schema unavailable.");
      must(faults.length === 0, `${tab} shows: ${faults.join(" / ")}`);
    }
  });
  await restart(page, app);
  await check("no call was refused but those of methods that do not exist yet", async () => {
    must(watcher.refused.length === 0, watcher.refused.join("\n"));
  });
  await check("the page wrote no errors to its console", async () => {
    must(watcher.noise.length === 0, watcher.noise.join("\n"));
  });
  say(`called ${watcher.calls.size} methods; not there yet: ${[...watcher.missing].sort().join(", ") || "none"}`);
  for (const why of watcher.noted) say(`expected on the console: ${why}`);
  await page.context().close();
}

async function sessions() {
  return JSON.parse(await gateway.ask("sessions", "--json")).sessions;
}

function storedToken(page) {
  return page.evaluate(() => JSON.parse(localStorage.getItem("openclaw.device.auth.v1")).tokens.operator.token);
}

// configTab edits the configuration: the form comes from our schema.
async function configTab(page, app) {
  const file = join(gateway.state, "coderclaw.json");
  const colour = () => page.locator(".cfg-field", { hasText: "#RRGGBB" }).locator("input");

  await check("Config renders a form from our schema that it can edit whole", async () => {
    await app.open("config");
    await page.locator(".config-nav__item", { hasText: "Gateway" }).waitFor();
    await page.locator(".cfg-field").first().waitFor();
    must((await page.locator(".cfg-field--error").count()) === 0, "fields that it cannot show");
    await app.noFaults();
    await app.picture("config");
  });
  await check("Config: Raw shows the file without secrets", async () => {
    await page.getByRole("button", { name: "Raw" }).click();
    const raw = await page.locator(".config-raw-field textarea").inputValue();
    must(raw.includes("allowedOrigins") && !raw.includes(gateway.token), raw);
    await page.getByRole("button", { name: "Form" }).click();
  });
  await check("Config: a colour that is no colour is refused, and the file stays", async () => {
    const before = readFileSync(file, "utf8");
    refusedOnPurpose.add("config.set");
    await page.locator(".config-nav__item", { hasText: "Ui" }).click();
    await colour().fill("blueish");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await app.sees("Error: invalid config");
    refusedOnPurpose.delete("config.set");
    must(readFileSync(file, "utf8") === before, "the file was written");
  });
  await check("Config: Save writes ui.seamColor and changes nothing else, comments included", async () => {
    await colour().fill("#336699");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByText("No changes").waitFor();
    must((await gateway.ask("config", "get", "ui.seamColor")).includes("#336699"), "our config does not have it");
    must((statSync(file).mode & 0o77) === 0, "others may read the file");
    const want = config.replace(/\}\n$/, `  "ui": {\n    "seamColor": "#336699"\n  }\n}\n`);
    must(readFileSync(file, "utf8") === want, readFileSync(file, "utf8"));
    await app.noFaults();
    await app.picture("config-saved");
  });
  await check("Config: Apply writes, and the page is connected afterwards", async () => {
    await colour().fill("#112233");
    await page.getByRole("button", { name: "Apply", exact: true }).click();
    await until("the value", async () => readFileSync(file, "utf8").includes("#112233"));
    await page.getByText("No changes").waitFor();
    await app.connected();
    await app.noFaults();
  });
  await check("Config: Apply of a key that takes a restart; the page comes back by itself", async () => {
    phase = "restart";
    const { sockets } = app.watcher;
    await page.locator(".config-nav__item", { hasText: "All Settings" }).click();
    await page.locator(".cfg-field", { hasText: "Path of tailscaled's socket" }).locator("input").fill("/nowhere/tailscaled.sock");
    await page.getByRole("button", { name: "Apply", exact: true }).click();
    await app.reconnected(sockets);
    must((await gateway.ask("config", "get", "gateway.tailscale.socket")).includes("/nowhere"), "our config does not have it");
    await until("no faults", async () => (await app.faults()).length === 0);
    phase = "";
  });
}

// restart ends the gateway, in order and then in the middle of an answer.
async function restart(page, app) {
  phase = "restart";
  await check("it reconnects by itself after a restart of the gateway", async () => {
    await app.open("chat");
    await gateway.stop();
    await app.connected(false);
    await gateway.start();
    await app.connected();
    await app.noFaults();
    await app.send("are you back");
    await app.sees("The first half of the answer to: are you back");
  });
  await check("kill -9 in the middle of an answer: reconnected, one question, one whole answer", async () => {
    await app.send("slowly through a crash");
    await app.sees("The first half of the answer to: slowly through a crash");
    await gateway.stop("SIGKILL");
    await app.connected(false);
    await gateway.start();
    await app.connected();
    const count = async (role, text) => JSON.parse(await gateway.ask("history", "--json")).messages.filter((m) => m.role === role && JSON.stringify(m.content).includes(text)).length;
    await until("the whole answer", async () => {
      model.release();
      return (await count("assistant", "slowly through a crash And the second half.")) === 1;
    });
    must((await count("user", "slowly through a crash")) === 1, "the question is not there once");
    must((await count("assistant", "slowly through a crash")) === 1, "there is a second answer");
    await page.reload();
    await app.connected();
    await app.sees("slowly through a crash");
    await app.picture("after-crash");
    await app.noFaults();
  });
  phase = "";
}
