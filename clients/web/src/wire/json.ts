/**
 * JSON without loss: integers of 64 bits keep every digit. JSON.parse rounds what lies beyond
 * Number.MAX_SAFE_INTEGER, so such an integer becomes a bigint; every other number is a number.
 *
 * A text without a long number, which is nearly every frame, goes through JSON.parse. Only the rest
 * pays for the parser below: JSON.parse with access to the source text is not in every browser and
 * Node that the clients run on.
 */

/** Any JSON value. A bigint is an integer that a number cannot hold exactly. */
export type JSONValue = null | boolean | number | bigint | string | readonly JSONValue[] | JSONObject;

/** A JSON object. */
export interface JSONObject {
  readonly [name: string]: JSONValue;
}

/** How deep the parser follows brackets, which is what the gateway follows as well. */
const depthMax = 512;

/** Digits enough to be beyond a number's precision, a point among them or not. */
const longNumber = /[\d.]{16}/;

/** Reads one JSON text. Throws a SyntaxError. Of members with the same name the last one counts. */
export function parse(text: string): JSONValue {
  return longNumber.test(text) ? new Parser(text).whole() : (JSON.parse(text) as JSONValue);
}

/** Writes a value without spaces. A bigint becomes an integer; what is not finite becomes null. */
export function stringify(value: JSONValue): string {
  if (typeof value === "bigint") {
    return value.toString();
  }
  if (Array.isArray(value)) {
    return "[" + (value as readonly JSONValue[]).map(stringify).join(",") + "]";
  }
  if (isObject(value)) {
    return "{" + Object.entries(value).map(([name, one]) => JSON.stringify(name) + ":" + stringify(one)).join(",") + "}";
  }
  return JSON.stringify(value);
}

/** Reports whether value is an object: neither null nor an array. */
export function isObject(value: JSONValue): value is JSONObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const space = /[ \t\n\r]*/y;
const string = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const number = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const word = /true|false|null/y;

class Parser {
  private at = 0;

  constructor(private readonly text: string) {}

  whole(): JSONValue {
    const value = this.value(0);
    this.take(space);
    if (this.at < this.text.length) {
      this.fail();
    }
    return value;
  }

  private value(depth: number): JSONValue {
    this.take(space);
    switch (this.text[this.at]) {
      case "{":
        return this.object(depth + 1);
      case "[":
        return this.array(depth + 1);
      case '"':
        return this.string();
      case "t":
      case "f":
      case "n":
        return JSON.parse(this.take(word)?.[0] ?? this.fail()) as JSONValue;
    }
    const found = this.take(number) ?? this.fail();
    return toNumber(found[0], found[1] === undefined && found[2] === undefined);
  }

  private object(depth: number): JSONObject {
    const members: [string, JSONValue][] = [];
    this.each(depth, "}", () => {
      this.take(space);
      const name = this.string();
      this.take(space);
      if (!this.skip(":")) {
        this.fail();
      }
      members.push([name, this.value(depth)]);
    });
    return Object.fromEntries(members); // defines, so that __proto__ is a member like any other
  }

  private array(depth: number): JSONValue[] {
    const items: JSONValue[] = [];
    this.each(depth, "]", () => items.push(this.value(depth)));
    return items;
  }

  /** Reads what stands between brackets, separated by commas. */
  private each(depth: number, end: string, read: () => void): void {
    if (depth > depthMax) {
      throw new SyntaxError("nests too deep");
    }
    this.at++;
    this.take(space);
    if (this.skip(end)) {
      return;
    }
    for (;;) {
      read();
      this.take(space);
      if (this.skip(end)) {
        return;
      }
      if (!this.skip(",")) {
        this.fail();
      }
    }
  }

  private string(): string {
    return JSON.parse(this.take(string)?.[0] ?? this.fail()) as string;
  }

  private skip(mark: string): boolean {
    const found = this.text[this.at] === mark;
    this.at += found ? 1 : 0;
    return found;
  }

  private take(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    this.at += found?.[0].length ?? 0;
    return found;
  }

  private fail(): never {
    throw new SyntaxError(`malformed JSON at ${this.at}`);
  }
}

/** Reads a number that JSON.parse might round. */
function toNumber(text: string, plain: boolean): number | bigint {
  const rounded = Number(text);
  if (Number.isSafeInteger(rounded) || !Number.isInteger(rounded)) {
    return rounded;
  }
  return plain ? BigInt(text) : (scaled(text) ?? rounded);
}

/** Reads an integer written with a point or an exponent, digit by digit. */
function scaled(text: string): bigint | undefined {
  const [mantissa = "", exponent = "0"] = text.toLowerCase().split("e");
  const [whole = "", fraction = ""] = mantissa.split(".");
  const zeros = Number(exponent) - fraction.length;
  const digits = BigInt(whole + fraction);
  if (zeros >= 0) {
    return digits * 10n ** BigInt(zeros);
  }
  const unit = 10n ** BigInt(-zeros);
  return digits % unit === 0n ? digits / unit : undefined;
}
