/** Reads what the tests of all three languages share. Tests run in clients/web. */
import { readFileSync, readdirSync } from "node:fs";
import { parse, isObject, type JSONObject, type JSONValue } from "../src/wire/json.js";

const root = "../..";

export function file(path: string): string {
  return readFileSync(`${root}/${path}`, "utf8");
}

/** The values of a file with one JSON text a line. */
export function lines<T>(path: string): T[] {
  const list = file(path).split("\n").filter((line) => line.trim() !== "").map((line) => JSON.parse(line) as T);
  if (list.length === 0) {
    throw new Error(`${path} is empty`);
  }
  return list;
}

/** Every schema file, as it is. */
export function schemas(): { name: string; root: JSONObject }[] {
  return readdirSync(`${root}/schema`)
    .filter((name) => name.endsWith(".json"))
    .map((name) => ({ name, root: parse(file(`schema/${name}`)) as JSONObject }));
}

/** The value at a JSON pointer. */
export function at(value: JSONValue, pointer: string): JSONValue {
  for (const name of tokens(pointer)) {
    if (isObject(value) && Object.hasOwn(value, name)) {
      value = value[name] as JSONValue;
    } else if (Array.isArray(value)) {
      value = (value as readonly JSONValue[])[Number(name)] as JSONValue;
    } else {
      throw new Error(`nothing at ${pointer}`);
    }
  }
  return value;
}

/** A copy of value without the members at the pointers. */
export function without(value: JSONValue, pointers: readonly string[]): JSONValue {
  const copy = structuredClone(value) as JSONValue;
  for (const pointer of pointers) {
    const end = pointer.lastIndexOf("/");
    const name = tokens(pointer.slice(end))[0] ?? "";
    delete (at(copy, pointer.slice(0, end)) as Record<string, JSONValue>)[name];
  }
  return copy;
}

function tokens(pointer: string): string[] {
  return pointer.split("/").slice(1).map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
}
