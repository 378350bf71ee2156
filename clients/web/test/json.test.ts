import assert from "node:assert/strict";
import { test } from "node:test";
import { parse, stringify, type JSONValue } from "../src/wire/json.js";

// A long number sends a text through the parser of our own.
const long = "1234567890123456789";

test("numbers keep their value", () => {
  const cases: [string, JSONValue][] = [
    ["9007199254740991", 9007199254740991],
    ["9007199254740993", 9007199254740993n],
    ["-9007199254740993", -9007199254740993n],
    ["9223372036854775808", 9223372036854775808n],
    ["9.007199254740993e15", 9007199254740993n],
    ["90071992547409930000000000000000e-16", 9007199254740993n],
    ["0.1234567890123456789", 0.12345678901234568],
    ["1e400", Infinity],
    ["0.30000000000000004", 0.30000000000000004],
    ["1.0000000000000000", 1],
    ["-0", -0],
  ];
  for (const [text, want] of cases) {
    assert.deepEqual(parse(text), want, text);
    assert.deepEqual(parse(`[${long},${text}]`), [1234567890123456789n, want], text);
  }
});

test("what was parsed is written as it was", () => {
  for (const text of [
    `{"a":[1,-2.5,true,false,null,"x"],"b":{},"c":[],"n":9007199254740993}`,
    `{"__proto__":1,"constructor":2,"n":${long}}`,
    `"\\u0000\\"é\u{1f980}"`,
    `9223372036854775807`,
  ]) {
    assert.equal(stringify(parse(text)), text);
  }
});

test("both ways of parsing give the same", () => {
  const text = ` { "a" : [ 1 , { "b" : "\\u00e9\\n/\\/" , "__proto__" : [ ] } , { } , 1.5e3 , -0.5 ] , "a" : "last" } `;
  const [fast, own] = [parse(text), parse(`[${long},${text}]`)];
  assert.deepEqual((own as JSONValue[])[1], fast);
  assert.deepEqual(fast, { a: "last" });
});

test("malformed texts are refused", () => {
  for (const text of ["", "{", "[1", "[1,]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "01", "1.", "+1", "tru", "nul", "'a'", "\"\\x\"", "\"\n\"", "1 2", "[1 2]", "{a:1}", "]"]) {
    assert.throws(() => parse(text), SyntaxError, text);
    assert.throws(() => parse(`[${long},${text}]`), SyntaxError, text);
  }
  assert.throws(() => parse(long + "[".repeat(100)), SyntaxError);
  assert.throws(() => parse("[".repeat(600) + long + "]".repeat(600)), /nests too deep/);
});
