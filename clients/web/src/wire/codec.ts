/**
 * The runtime that generated code stands on. A Codec reads and writes one type; the generated files
 * put them together from the parts below, and the compiler checks each against its interface.
 *
 * Reading is open, as a client's has to be: members that nobody named are dropped, enum values and
 * variants that nobody named are kept, absent, null and a value stay three things. What is
 * required or has the wrong type is refused with a JSON pointer. Bounds such as a shortest length are
 * in the comments of the types; the gateway enforces them, not this side.
 */
import { isObject, type JSONObject, type JSONValue } from "./json.js";

/**
 * An integer of 64 bits: a number as long as that is exact, else a bigint. Number(x) gives a number
 * for either, rounded beyond Number.MAX_SAFE_INTEGER.
 */
export type Int64 = number | bigint;

/** One of the named values, or one that a newer gateway may send. */
export type Open<Known extends string> = Known | (string & {});

/** What a union told by member D holds when a newer gateway sends a variant without a name here. */
export type Unknown<D extends string> = { readonly [K in D]?: undefined } & {
  /** The object as it came. */
  readonly unknown: JSONObject;
};

/** A value that does not fit its type. */
export class DecodeError extends Error {
  override readonly name = "DecodeError";

  constructor(
    /** JSON pointer to the value; empty for the whole. */
    readonly path: string,
    readonly reason: string,
  ) {
    super(path === "" ? reason : `at ${path}: ${reason}`);
  }
}

/** Where in a message a value stands. Only an error turns it into text. */
type Place = { readonly parent: Place; readonly name: string | number } | undefined;

function pointer(at: Place): string {
  return at === undefined ? "" : `${pointer(at.parent)}/${String(at.name).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

function refuse(at: Place, reason: string): never {
  throw new DecodeError(pointer(at), reason);
}

/** Reads and writes a T. */
export interface Codec<T> {
  /** Use decode. exact refuses what no one named: how the variants of a union are told apart. */
  read(value: JSONValue, at: Place, exact: boolean): T;
  /** Use encode. */
  write(value: T): JSONValue;
}

/** The type that a codec reads. */
export type TypeOf<C> = C extends Codec<infer T> ? T : never;

/** Reads a value as a T. Throws a DecodeError. */
export function decode<T>(codec: Codec<T>, value: JSONValue): T {
  return codec.read(value, undefined, false);
}

/** Returns value as JSON: only members that its type names, in the order of the schema. */
export function encode<T>(codec: Codec<T>, value: T): JSONValue {
  return codec.write(value);
}

/** A codec whose values are JSON as they are. */
function plain<T extends JSONValue>(read: (value: JSONValue, at: Place, exact: boolean) => T): Codec<T> {
  return { read, write: (value) => value };
}

export const string: Codec<string> = plain((value, at) =>
  typeof value === "string" ? value : refuse(at, "must be string"));

export const boolean: Codec<boolean> = plain((value, at) =>
  typeof value === "boolean" ? value : refuse(at, "must be boolean"));

const maxInt64 = 2n ** 63n - 1n;
const minInt64 = -(2n ** 63n);

export const integer: Codec<Int64> = plain((value, at) => {
  if (Number.isSafeInteger(value)) {
    return value as number;
  }
  if (typeof value !== "bigint" && !Number.isInteger(value)) {
    return refuse(at, "must be integer");
  }
  const big = BigInt(value as number | bigint);
  return big < minInt64 || maxInt64 < big ? refuse(at, "integer beyond 64 bits") : big;
});

export const number: Codec<number> = plain((value, at) => {
  const found = typeof value === "bigint" ? Number(value) : value;
  return typeof found === "number" && Number.isFinite(found) ? found : refuse(at, "must be number");
});

/** Any JSON. */
export const json: Codec<JSONValue> = plain((value) => value);

/** The one value that is permitted. */
export function literal<const T extends string | number | boolean>(only: T): Codec<T> {
  return plain((value, at) => (value === only ? only : refuse(at, `must be ${JSON.stringify(only)}`)));
}

/** A string, of which some values have a meaning today. */
export function openEnum<const Known extends string>(...known: readonly Known[]): Codec<Open<Known>> {
  return plain((value, at, exact) => {
    if (typeof value !== "string" || (exact && !(known as readonly string[]).includes(value))) {
      return refuse(at, exact ? `must be one of ${known.join(", ")}` : "must be string");
    }
    return value;
  });
}

export function nullable<T>(inner: Codec<T>): Codec<T | null> {
  return {
    read: (value, at, exact) => (value === null ? null : inner.read(value, at, exact)),
    write: (value) => (value === null ? null : inner.write(value)),
  };
}

export function array<T>(items: Codec<T>): Codec<readonly T[]> {
  return {
    read(value, at, exact) {
      if (!Array.isArray(value)) {
        return refuse(at, "must be array");
      }
      return (value as readonly JSONValue[]).map((one, name) => items.read(one, { parent: at, name }, exact));
    },
    write: (value) => value.map((one) => items.write(one)),
  };
}

/** An object whose members have any name and one type. */
export function record<T>(values: Codec<T>): Codec<Readonly<Record<string, T>>> {
  return {
    read(value, at, exact) {
      return Object.fromEntries(
        Object.entries(isObject(value) ? value : refuse(at, "must be object")).map(([name, one]) => [name, values.read(one, { parent: at, name }, exact)]),
      );
    },
    write: (value) => Object.fromEntries(Object.entries(value).map(([name, one]) => [name, values.write(one)])),
  };
}

/** A codec that is declared further down, or in another file. */
export function ref<T>(to: () => Codec<T>): Codec<T> {
  return {
    read: (value, at, exact) => to().read(value, at, exact),
    write: (value) => to().write(value),
  };
}

/** A member that may be absent. */
export interface Optional<T> {
  readonly optional: Codec<T>;
}

export function optional<T>(codec: Codec<T>): Optional<T> {
  return { optional: codec };
}

/** A codec for each member of T: one that is optional there is optional here. */
export type Members<T> = {
  readonly [K in keyof T]-?: {} extends Pick<T, K> ? Optional<Exclude<T[K], undefined>> : Codec<T[K]>;
};

/** An object with named members. open tells that others are no fault even for an exact reader. */
export function object<T extends object>(members: Members<T>, open = false): Codec<T> {
  const list = Object.entries<Codec<unknown> | Optional<unknown>>(members).map(([name, one]) =>
    "optional" in one ? { name, codec: one.optional, required: false } : { name, codec: one, required: true });
  return {
    read(value, at, exact) {
      if (!isObject(value)) {
        return refuse(at, "must be object");
      }
      const found: Record<string, unknown> = {};
      for (const { name, codec, required } of list) {
        const one = Object.hasOwn(value, name) ? value[name] : undefined;
        if (one !== undefined) {
          found[name] = codec.read(one, { parent: at, name }, exact);
        } else if (required) {
          refuse(at, `must have required property '${name}'`);
        }
      }
      if (exact && !open) {
        const news = Object.keys(value).find((name) => !Object.hasOwn(members, name));
        if (news !== undefined) {
          refuse(at, `unexpected property '${news}'`);
        }
      }
      return found as T;
    },
    write(value) {
      const out: Record<string, JSONValue> = {};
      for (const { name, codec } of list) {
        const one = (value as Record<string, unknown>)[name];
        if (one !== undefined) {
          out[name] = codec.write(one);
        }
      }
      return out;
    },
  };
}

/** One of several objects, told by the string in member tag. A new variant is kept as it came. */
export function tagged<D extends string, T extends object>(
  tag: D,
  variants: Readonly<Record<string, Codec<T>>>,
): Codec<T | Unknown<D>> {
  const find = (value: object): Codec<T> | undefined => {
    const name: unknown = Object.hasOwn(value, tag) ? (value as Record<string, unknown>)[tag] : undefined;
    return typeof name === "string" && Object.hasOwn(variants, name) ? variants[name] : undefined;
  };
  return {
    read(value, at, exact) {
      if (!isObject(value)) {
        return refuse(at, "must be object");
      }
      const variant = find(value);
      if (variant !== undefined) {
        return variant.read(value, at, exact);
      }
      if (exact || typeof value[tag] !== "string" || !Object.hasOwn(value, tag)) {
        refuse(at, `fits no known variant: ${tag} must name one`);
      }
      return { unknown: value } as Unknown<D>;
    },
    write: (value) => find(value)?.write(value as T) ?? (value as Unknown<D>).unknown,
  };
}

/** One of several objects: the first that fits exactly, else the first that fits at all. */
export function either<T extends object>(...variants: readonly Codec<T>[]): Codec<T> {
  const choose = <R>(attempt: (variant: Codec<T>, exact: boolean) => R, exactOnly: boolean): R | undefined => {
    for (const exact of exactOnly ? [true] : [true, false]) {
      for (const variant of variants) {
        try {
          return attempt(variant, exact);
        } catch (error) {
          if (!(error instanceof DecodeError)) {
            throw error;
          }
        }
      }
    }
    return undefined;
  };
  return {
    read: (value, at, exact) =>
      choose((variant, strictly) => variant.read(value, at, strictly), exact) ?? refuse(at, "fits no known variant"),
    write(value) {
      const found = choose((variant, exact) => {
        variant.read(value as JSONValue, undefined, exact);
        return variant.write(value);
      }, false);
      return found ?? refuse(undefined, "fits no known variant");
    },
  };
}
