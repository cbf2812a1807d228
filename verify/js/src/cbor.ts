// Deterministic CBOR (RFC 8949 4.2.1) as commitment 1.1 narrows it: one encoding
// of each value, and everything else refused.
import { compare, join, text, utf8 } from "./bytes.js";

export const DEPTH_MAX = 12; // nested items; a bundle has six
export const ITEMS_MAX = 1 << 16; // items in one encoding; the largest bundle has some 20,000

export type Value = bigint | Uint8Array | string | Value[] | Fields | Tagged;
export type Fields = Map<bigint, Value>;
export class Tagged {
  constructor(readonly tag: bigint, readonly value: Value) {}
}

/** A Malformed is bytes that are not what they should be. */
export class Malformed extends Error {}

export function must(ok: boolean, why: string): asserts ok {
  if (!ok) throw new Malformed(why);
}

/** decode reads exactly one item. */
export function decode(b: Uint8Array): Value {
  const r = new Reader(b);
  const v = r.item(0);
  must(r.at === b.length, "bytes follow the value");
  return v;
}

class Reader {
  at = 0;
  private items = 0;
  constructor(private readonly b: Uint8Array) {}

  item(depth: number): Value {
    must(depth <= DEPTH_MAX && ++this.items <= ITEMS_MAX, "nested too deep, or too many items");
    const [major, n] = this.head();
    switch (major) {
      case 0:
        return n;
      case 1:
        return -1n - n;
      case 2:
        return this.take(n).slice();
      case 3:
        try {
          return text(this.take(n));
        } catch {
          throw new Malformed("text is not UTF-8");
        }
      case 4: {
        must(n <= BigInt(this.b.length - this.at), "an array is longer than the bytes");
        const list: Value[] = [];
        for (let i = 0n; i < n; i++) list.push(this.item(depth + 1));
        return list;
      }
      case 5: {
        must(n <= BigInt(this.b.length - this.at), "a map is longer than the bytes");
        const map: Fields = new Map();
        let last: Uint8Array | undefined;
        for (let i = 0n; i < n; i++) {
          const from = this.at;
          const key = this.item(depth + 1);
          must(typeof key === "bigint", "a map's key is no integer");
          const bytes = this.b.subarray(from, this.at);
          must(last === undefined || compare(last, bytes) < 0, "map keys are out of order, or one stands twice");
          last = bytes;
          map.set(key, this.item(depth + 1));
        }
        return map;
      }
      case 6:
        return new Tagged(n, this.item(depth + 1));
    }
    throw new Malformed("floats and simple values have no place here");
  }

  private head(): [number, bigint] {
    must(this.at < this.b.length, "bytes end early");
    const first = this.b[this.at++]!;
    const info = first & 31;
    if (info < 24) return [first >> 5, BigInt(info)];
    must(info < 28, "a head of no definite length");
    let n = 0n;
    for (const x of this.take(1n << BigInt(info - 24))) n = (n << 8n) | BigInt(x);
    const least = info === 24 ? 24n : 1n << BigInt(8 << (info - 25));
    must(n >= least, "a head is not in shortest form");
    return [first >> 5, n];
  }

  private take(n: bigint): Uint8Array {
    must(n <= BigInt(this.b.length - this.at), "bytes end early");
    const out = this.b.subarray(this.at, this.at + Number(n));
    this.at += Number(n);
    return out;
  }
}

/** encode writes the one encoding of a value. */
export function encode(v: Value): Uint8Array {
  if (typeof v === "bigint") return v >= 0n ? head(0, v) : head(1, -1n - v);
  if (typeof v === "string") {
    const b = utf8(v);
    return join(head(3, BigInt(b.length)), b);
  }
  if (v instanceof Uint8Array) return join(head(2, BigInt(v.length)), v);
  if (Array.isArray(v)) return join(head(4, BigInt(v.length)), ...v.map(encode));
  if (v instanceof Tagged) return join(head(6, v.tag), encode(v.value));
  const pairs = [...v].map(([k, x]) => [encode(k), encode(x)] as const).sort((a, b) => compare(a[0], b[0]));
  return join(head(5, BigInt(pairs.length)), ...pairs.flat());
}

function head(major: number, n: bigint): Uint8Array {
  const top = major << 5;
  if (n < 24n) return Uint8Array.of(top | Number(n));
  const size = n < 1n << 8n ? 0 : n < 1n << 16n ? 1 : n < 1n << 32n ? 2 : 3;
  const out = new Uint8Array(1 + (1 << size));
  out[0] = top | (24 + size);
  for (let i = out.length - 1; i > 0; i--, n >>= 8n) out[i] = Number(n & 255n);
  return out;
}

// What a value must be, for readers of one form.

/** fields reads a map with all the required keys, any of the optional ones, and no other. */
export function fields(v: Value, required: number[], optional: number[] = []): Fields {
  must(v instanceof Map, "want a map");
  for (const k of required) must(v.has(BigInt(k)), `key ${k} is missing`);
  for (const k of v.keys()) must(required.includes(Number(k)) || optional.includes(Number(k)), `key ${k} is unknown`);
  return v;
}

export const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

export function list(v: Value | undefined, least: number, most: number): Value[] {
  must(Array.isArray(v) && v.length >= least && v.length <= most, `want an array of ${least} to ${most} items`);
  return v;
}

export function bytes(v: Value | undefined, least: number, most = least): Uint8Array {
  must(v instanceof Uint8Array && v.length >= least && v.length <= most, `want ${least} to ${most} bytes`);
  return v;
}

export function uint(v: Value | undefined, least = 0n, most = (1n << 64n) - 1n): bigint {
  must(typeof v === "bigint" && v >= least && v <= most, `want an integer from ${least} to ${most}`);
  return v;
}

export const small = (v: Value | undefined, least: number, most: number): number => Number(uint(v, BigInt(least), BigInt(most)));

export function string(v: Value | undefined): string {
  must(typeof v === "string", "want text");
  return v;
}

/** ascending wants items in strictly ascending order. */
export function ascending(items: Uint8Array[], what: string): void {
  items.forEach((x, i) => must(i === 0 || compare(items[i - 1]!, x) < 0, `${what} do not ascend`));
}
