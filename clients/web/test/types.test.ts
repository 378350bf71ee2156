/**
 * What the compiler checks. Each expected error is one that tsc must report: a type that becomes too
 * wide makes the directive itself an error. Nothing here needs to run.
 */
import { test } from "node:test";
import type { AgentAccepted, Call, ChatState, ErrorCode, Events, EventName, GatewayFrame, MethodInfo, ResultOf } from "../src/gen/index.js";

// Wide or narrow, A and B are the same type.
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function holds<_ extends true>(): void {}

async function calls(call: Call): Promise<void> {
  const sent = await call("chat.send", { sessionKey: "main", message: "hi", idempotencyKey: "c1" });
  if ("status" in sent) {
    sent.status satisfies string;
    sent.summary satisfies string | undefined;
  } else {
    sent.runIds satisfies readonly string[];
  }
  // @ts-expect-error: no such method
  await call("chat.sned", { sessionKey: "main", message: "hi", idempotencyKey: "c1" });
  // @ts-expect-error: a required member is missing
  await call("chat.send", { sessionKey: "main", message: "hi" });
  // @ts-expect-error: a misspelt member
  await call("chat.send", { sessionKey: "main", message: "hi", idempotencyKey: "c1", timeout: 1 });
  // @ts-expect-error: a member of the wrong type
  await call("chat.send", { sessionKey: "main", message: 1, idempotencyKey: "c1" });
  // @ts-expect-error: another method's params
  await call("chat.history", { message: "hi" });
  // @ts-expect-error: null where only absent is allowed
  await call("chat.abort", { sessionKey: "main", runId: null });
  await call("sessions.patch", { key: "main", label: null });
  // @ts-expect-error: a method without params takes none
  await call("agents.list", { limit: 1 });
  await call("agents.list", {});
  // @ts-expect-error: the result is not the ack
  (await call("agent", { message: "hi", idempotencyKey: "c1" })).acceptedAt;
  await call("agent", { message: "hi", idempotencyKey: "c1" }, (ack) => ack.acceptedAt satisfies number | bigint);
  // @ts-expect-error: only a staged method has an ack
  await call("chat.send", { sessionKey: "main", message: "hi", idempotencyKey: "c1" }, () => {});
  // @ts-expect-error: what was decoded is not changed
  (await call("models.list", {})).models[0]!.id = "x";
}

function frames(frame: GatewayFrame): string {
  switch (frame.type) {
    case "req":
      return frame.method;
    case "res":
      // @ts-expect-error: a response has no method
      frame.method;
      return frame.error?.message ?? "";
    case "event":
      return frame.event;
    case undefined:
      return String(frame.unknown["type"]);
  }
}

function on<E extends EventName>(_event: E, _handle: (payload: Events[E]) => void): void {}

function events(): void {
  on("chat", (payload) => payload.state satisfies ChatState);
  // @ts-expect-error: no such event
  on("chats", () => {});
  // @ts-expect-error: another event's payload
  on("tick", (payload) => payload.state);
}

function enums(state: ChatState): boolean {
  const news: ChatState = "of-tomorrow";
  const code: ErrorCode = "OF_TOMORROW";
  // @ts-expect-error: still a string
  const bad: ChatState = 1;
  return state === "final" || state === news || state === code || state === bad;
}

test("types", () => {
  holds<Same<ResultOf<"agents.list">["agents"][number]["id"], string>>();
  holds<Same<MethodInfo<"agent">["ack"], import("../src/wire/codec.js").Codec<AgentAccepted> | undefined>>();
  holds<Same<MethodInfo<"chat.send">["ack"], import("../src/wire/codec.js").Codec<never> | undefined>>();
  void [calls, frames, events, enums];
});
