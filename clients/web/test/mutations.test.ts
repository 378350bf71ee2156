/** What a client does about changed messages: the same file binds Go, Swift and TypeScript. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DecodeError, decode, encode } from "../src/wire/codec.js";
import { parse, stringify } from "../src/wire/json.js";
import { definitions } from "../src/gen/definitions.js";
import { lines } from "./data.js";

interface Mutation {
  readonly id: string;
  readonly def: string;
  readonly kind: string;
  readonly frame: string;
  readonly expect: "decode" | "refuse";
  readonly same?: string;
}

const mutations = lines<Mutation>("testdata/mutations/mutations.jsonl");

for (const kind of new Set(mutations.map((m) => m.kind))) {
  test(`mutations: ${kind}`, () => {
    const list = mutations.filter((m) => m.kind === kind);
    const faults = list.flatMap((m) => fault(m) ?? []);
    assert.deepEqual(faults.slice(0, 20), [], `${faults.length} of ${list.length}`);
  });
}

test("there are seven kinds of mutation", () => {
  assert.equal(new Set(mutations.map((m) => m.kind)).size, 7);
});

/** Tells what this client does wrong. */
function fault(m: Mutation): string | undefined {
  const codec = definitions[m.def];
  if (codec === undefined) {
    return `${m.id}: no definition ${m.def}`;
  }
  let again: string;
  try {
    again = stringify(encode(codec, decode(codec, parse(m.frame))));
  } catch (error) {
    if (!(error instanceof DecodeError)) {
      throw error;
    }
    return m.expect === "refuse" ? undefined : `${m.id}: refused: ${error.message}`;
  }
  if (m.expect === "refuse") {
    return `${m.id}: accepted ${m.frame}`;
  }
  return sorted(again) === sorted(m.same ?? "") ? undefined : `${m.id}: encodes to ${again}, want ${m.same}`;
}

/** The text with every object's members sorted: equal for equal values, to the last digit. */
function sorted(text: string): string {
  return stringify(sort(parse(text)));
}

function sort<T>(value: T): T {
  if (Array.isArray(value)) {
    return value.map(sort) as T;
  }
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, sort(one)] as const).sort(([a], [b]) => (a < b ? -1 : 1))) as T;
  }
  return value;
}
