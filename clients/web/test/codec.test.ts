import assert from "node:assert/strict";
import { test } from "node:test";
import { DecodeError, decode, encode, type Codec } from "../src/wire/codec.js";
import { parse, stringify } from "../src/wire/json.js";
import { ChatEvent, ChatHistoryResult, ChatSendResult, GatewayFrame, LastHeartbeatResult, SessionsPatchParams, TickEvent } from "../src/gen/index.js";

function read<T>(codec: Codec<T>, text: string): T {
  return decode(codec, parse(text));
}

test("a refusal tells where and why", () => {
  const cases: [Codec<unknown>, string, string][] = [
    [ChatEvent, `{"runId":"r","sessionKey":"s","seq":1}`, "must have required property 'state'"],
    [ChatEvent, `[]`, "must be object"],
    [ChatEvent, `{"runId":"r","sessionKey":"s","seq":"1","state":"delta"}`, "at /seq: must be integer"],
    [TickEvent, `{"ts":9223372036854775808}`, "at /ts: integer beyond 64 bits"],
    [TickEvent, `{"ts":1e20}`, "at /ts: integer beyond 64 bits"],
    [TickEvent, `{"ts":1.5}`, "at /ts: must be integer"],
    [ChatHistoryResult, `{"sessionKey":"k","messages":[{"role":"user","content":[{"type":1}]}],"thinkingLevel":"off"}`, "at /messages/0/content/0/type: must be string"],
    [GatewayFrame, `{"id":"1"}`, "fits no known variant: type must name one"],
    [ChatSendResult, `{"ok":true}`, "fits no known variant"],
  ];
  for (const [codec, text, want] of cases) {
    assert.throws(() => read(codec, text), (error) => error instanceof DecodeError && error.message === want, `${text}: ${want}`);
  }
});

test("a frame is told by its type, and a new one is kept", () => {
  const known = read(GatewayFrame, `{"event":"tick","type":"event","payload":{"ts":1},"x":1}`);
  assert.equal(known.type === "event" && known.event, "tick");
  const news = read(GatewayFrame, `{"type":"new","x":[1]}`);
  assert.equal(news.type, undefined);
  assert.deepEqual(news.type === undefined && news.unknown, { type: "new", x: [1] });
  assert.equal(stringify(encode(GatewayFrame, news)), `{"type":"new","x":[1]}`);
});

test("members and enum values of a newer gateway", () => {
  const run = read(ChatSendResult, `{"runId":"r","status":"paused","news":{"a":1}}`);
  assert.deepEqual(run, { runId: "r", status: "paused" });
  const abort = read(ChatSendResult, `{"ok":true,"aborted":false,"runIds":[],"x":1}`);
  assert.deepEqual(abort, { ok: true, aborted: false, runIds: [] });
  assert.deepEqual(encode(ChatSendResult, abort), { ok: true, aborted: false, runIds: [] });
});

test("absent, null and a value are three things", () => {
  for (const text of [`{"key":"k"}`, `{"key":"k","label":null}`, `{"key":"k","label":"x"}`]) {
    assert.equal(stringify(encode(SessionsPatchParams, read(SessionsPatchParams, text))), text);
  }
  assert.equal(stringify(encode(SessionsPatchParams, { key: "k", label: undefined })), `{"key":"k"}`);
  assert.equal(read(LastHeartbeatResult, "null"), null);
});

test("only what the type names is sent, in the order of the schema", () => {
  const wide = { more: 1, label: "x", key: "k" };
  assert.equal(stringify(encode(SessionsPatchParams, wide)), `{"key":"k","label":"x"}`);
});

test("integers of 64 bits keep every digit", () => {
  const tick = read(TickEvent, `{"ts":9007199254740993}`);
  assert.equal(tick.ts, 9007199254740993n);
  assert.equal(stringify(encode(TickEvent, tick)), `{"ts":9007199254740993}`);
  assert.equal(read(TickEvent, `{"ts":1795344506571}`).ts, 1795344506571);
  assert.equal(read(TickEvent, `{"ts":1.0}`).ts, 1);
});
