/** Every example of the schema holds, and the generated files know every definition. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "../src/wire/codec.js";
import type { JSONObject, JSONValue } from "../src/wire/json.js";
import { definitions } from "../src/gen/definitions.js";
import { closeReasons, detailCodes, errorCodes, events, methods } from "../src/gen/index.js";
import { schemas } from "./data.js";

function table(root: JSONObject, name: string): [string, JSONObject][] {
  return Object.entries((root[name] ?? {}) as Record<string, JSONObject>);
}

test("examples", () => {
  let count = 0;
  for (const { name: file, root } of schemas()) {
    for (const [name, def] of table(root, "$defs")) {
      const codec = definitions[name];
      assert.ok(codec, `${file}: ${name}`);
      for (const example of (def["examples"] ?? []) as JSONValue[]) {
        assert.deepEqual(encode(codec, decode(codec, example)), example, name);
        count++;
      }
    }
  }
  assert.ok(count > 50);
});

test("methods, events and the catalogue are the schema's", () => {
  const names = (key: string) => schemas().flatMap(({ root }) => table(root, key).map(([name]) => name)).sort();
  assert.deepEqual(Object.keys(methods).sort(), names("x-methods"));
  assert.deepEqual(Object.keys(events).sort(), names("x-events"));
  assert.deepEqual(Object.keys(errorCodes).sort(), names("x-errors"));
  assert.deepEqual(Object.keys(detailCodes).sort(), names("x-details"));
  assert.deepEqual(Object.keys(closeReasons).sort(), names("x-close"));
});
