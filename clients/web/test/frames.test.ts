/** Every recorded frame, its params and its payload decode, and encode to what they were. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DecodeError, decode, encode, type Codec } from "../src/wire/codec.js";
import { isObject, parse, type JSONValue } from "../src/wire/json.js";
import { definitions } from "../src/gen/definitions.js";
import { events, methods } from "../src/gen/index.js";
import { at, file, lines, without } from "./data.js";

interface Part {
  /** file:line of the recording. */
  readonly id: string;
  readonly at: "/frame" | "/frame/params" | "/frame/payload";
  readonly def: string;
  readonly expect: "decode" | "refuse";
  readonly dropped?: readonly string[];
}

const parts = lines<Part>("testdata/mutations/recorded.jsonl");
const recordings = new Map<string, string[]>();

function recorded(id: string): JSONValue {
  const [name = "", line] = id.split(":");
  const found = recordings.get(name) ?? file(`testdata/frames/${name}`).split("\n");
  recordings.set(name, found);
  return parse(found[Number(line) - 1] ?? "");
}

for (const where of ["/frame", "/frame/params", "/frame/payload"]) {
  test(`recorded ${where}`, () => {
    const list = parts.filter((part) => part.at === where);
    assert.ok(list.length > 100);
    for (const part of list) {
      const codec = definitions[part.def];
      assert.ok(codec, part.def);
      const value = at(recorded(part.id), part.at);
      if (part.expect === "refuse") {
        assert.throws(() => decode(codec, value), DecodeError, part.id);
        continue;
      }
      assert.deepEqual(encode(codec, decode(codec, value)), without(value, part.dropped ?? []), part.id);
    }
  });
}

test("methods and events name the same types as the recordings", () => {
  const asked = new Map<string, string>();
  const name = (codec: Codec<never> | undefined) => Object.keys(definitions).find((def) => definitions[def] === codec);
  let checked = 0;
  for (const part of parts) {
    const frame = at(recorded(part.id), "/frame");
    if (!isObject(frame)) {
      continue;
    }
    const key = part.id.split(":")[0] + " " + String(frame["id"]);
    if (part.at === "/frame") {
      if (frame["type"] === "req") {
        asked.set(key, String(frame["method"]));
      }
      continue;
    }
    const method = methods[(asked.get(key) ?? "") as keyof typeof methods] as (typeof methods)["agent"] | undefined;
    const event = events[frame["event"] as keyof typeof events] as Codec<never> | undefined;
    const want = part.at === "/frame/params" ? [method?.params] : frame["type"] === "event" ? [event] : [method?.ack, method?.result];
    assert.ok(want.map((codec) => name(codec as Codec<never>)).includes(part.def), part.id);
    checked++;
  }
  assert.ok(checked > 500);
});
