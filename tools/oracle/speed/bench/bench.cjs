// Measures what a Node gateway does with a frame: Buffer to string, JSON.parse, then ajv
// on the envelope and on the payload. Prints the cost of each frame as JSON.
const fs = require("fs");
const path = require("path");
const [, , ajvDir, schemaDir, framesPath] = process.argv;
const Ajv = require(path.join(ajvDir, "dist", "2020.js")).default;

const ajv = new Ajv({ allErrors: true, strict: false, removeAdditional: false });
const where = {};
for (const name of fs.readdirSync(schemaDir).filter((n) => n.endsWith(".json"))) {
  const file = JSON.parse(fs.readFileSync(path.join(schemaDir, name), "utf8"));
  ajv.addSchema(file);
  for (const def of Object.keys(file.$defs ?? {})) where[def] = `${file.$id}#/$defs/${def}`;
}
const validator = (def) => ajv.getSchema(where[def]);

const out = {};
for (const line of fs.readFileSync(framesPath, "utf8").trim().split("\n")) {
  const { name, envelope, member, definition, frame } = JSON.parse(line);
  const raw = Buffer.from(frame);
  const outer = validator(envelope);
  const inner = validator(definition);
  const read = () => {
    const value = JSON.parse(raw.toString());
    return outer(value) && inner(value[member]);
  };
  if (!read()) throw new Error(`ajv refuses ${name}: ${JSON.stringify(outer.errors ?? inner.errors)}`);
  const until = process.hrtime.bigint() + 300_000_000n; // time for the compiler
  while (process.hrtime.bigint() < until) read();
  let least = Infinity;
  for (let round = 0; round < 60; round++) {
    const times = 300;
    const start = process.hrtime.bigint();
    for (let i = 0; i < times; i++) read();
    least = Math.min(least, Number(process.hrtime.bigint() - start) / times);
  }
  out[name] = { ns: least, allocs: 0 };
}
console.log(JSON.stringify(out));
