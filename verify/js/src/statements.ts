// What each kind of statement says (commitment 2 and 5, receipt, leaf 4).
import { utf8, join } from "./bytes.js";
import { ascending, bytes, decode, encode, fields, list, must, range, small, string, uint, type Value } from "./cbor.js";
import { parseKey, verifies, type Key, type Signed } from "./cose.js";
import { parseTime } from "./time.js";

const DAY = 24 * 60 * 60 * 1000;
export const LIFETIME_MAX = 28 * DAY; // milliseconds
export const COUNTED_MAX = 512; // hashes in one list of an outcome
export const CHECKPOINT_MAX = 16_384; // bytes

const hash = (v: Value | undefined): Uint8Array => bytes(v, 32);
const time = (v: Value | undefined): number => parseTime(string(v));
const zero = (b: Uint8Array): boolean => b.every((x) => x === 0);

export function name(v: Value | undefined, empty = false): string {
  const s = string(v);
  must((empty && s === "") || /^[\x21-\x7e]{1,64}$/.test(s), "want a name of 1 to 64 visible bytes");
  return s;
}

function uuid(v: Value | undefined): Uint8Array {
  const b = bytes(v, 16);
  must(b[6]! >> 4 === 7 && b[8]! >> 6 === 2, "want a UUIDv7");
  return b;
}

export type HashAlg = "SHA-256" | "SHA-384" | "SHA-512";
const hashes = new Map<bigint, [HashAlg, number]>([[-16n, ["SHA-256", 32]], [-43n, ["SHA-384", 48]], [-44n, ["SHA-512", 64]]]);

export type Commitment = ReturnType<typeof commitment>;
export function commitment(s: Signed) {
  const f = fields(decode(s.payload), range(1, 20));
  const h = hashes.get(uint(f.get(9n), -64n));
  must(h !== undefined, "an unknown hash");
  const carriers = bytes(f.get(15n), 1, 5);
  carriers.forEach((c, i) => must(c >= 1 && c <= 5 && (i === 0 || carriers[i - 1]! < c), "carriers are unknown or do not ascend"));
  const known = list(f.get(19n), 2, 2);
  const c = {
    id: uuid(f.get(1n)), app: name(f.get(2n)), transaction: name(f.get(3n)), correlation: name(f.get(4n), true),
    created: time(f.get(5n)), expires: time(f.get(6n)), canonicalization: small(f.get(7n), 1, 1),
    recipient: hash(f.get(8n)), alg: h[0], algID: f.get(9n)!, c: bytes(f.get(10n), h[1]), fieldRoot: bytes(f.get(11n), h[1]),
    blob: hash(f.get(12n)), roster: hash(f.get(13n)), pattern: small(f.get(14n), 1, 1), carriers,
    minimum: small(f.get(16n), 1, 2), release: small(f.get(17n), 1, 3), leastAssurance: small(f.get(18n), 1, 3),
    known: { size: uint(known[0]), root: hash(known[1]) }, sequence: hash(f.get(20n)),
  };
  must(c.expires > c.created && c.expires - c.created <= LIFETIME_MAX, "it expires before it is made, or too late");
  return c;
}

export type KeyEvent = ReturnType<typeof keyEvent>;
export function keyEvent(s: Signed) {
  const f = fields(decode(s.payload), range(1, 5), [6, 7]);
  const event = small(f.get(1n), 1, 2);
  const subject = small(f.get(2n), 1, 2);
  const app = name(f.get(3n));
  const created = time(f.get(4n));
  const key = parseKeyValue(f.get(5n)!);
  const enrols = event === 1 && subject === 2;
  must(f.has(6n) === enrols && f.has(7n) === enrols, "keys 6 and 7 stand exactly where a device is enrolled");
  if (!enrols) return { event, subject, app, created, key };
  const d = list(f.get(6n), 5, 5);
  const leaf = parseKeyValue(d[1]!);
  const device = { recipient: hash(d[0]), leaf, assurance: small(d[4], 1, 3) };
  const pair = encode(["sealpost/key-pair/v1", app, device.recipient, f.get(5n)!, d[1]!]);
  must(verifies(key.alg, key.raw, pair, bytes(d[2], 64)), "the signing key did not sign the pair");
  must(verifies(leaf.alg, leaf.raw, pair, bytes(d[3], 64)), "the leaf key did not sign the pair");
  bytes(f.get(7n), 32);
  return { event, subject, app, created, key, device };
}

const parseKeyValue = (v: Value): Key => parseKey(encode(v));

export type Receipt = ReturnType<typeof receipt>;
export function receipt(s: Signed) {
  const f = fields(decode(s.payload), range(1, 8), [9, 10, 11, 12]);
  const level = small(f.get(5n), 1, 7);
  const positive = level >= 2 && level <= 4;
  must(f.has(9n) === positive, "key 9 stands exactly at levels 2 to 4");
  must(f.has(10n) === level >= 5, "key 10 stands exactly at levels 5 to 7");
  if (f.has(10n)) small(f.get(10n), 1, 9);
  if (f.has(11n)) small(f.get(11n), 1, 5);
  if (f.has(12n)) uuid(f.get(12n));
  const checkpoint = string(f.get(8n));
  must(utf8(checkpoint).length <= CHECKPOINT_MAX, "a checkpoint is too long");
  return {
    id: uuid(f.get(1n)), commitment: hash(f.get(2n)), blob: hash(f.get(3n)), roster: hash(f.get(4n)), level,
    key: hash(f.get(6n)), time: time(f.get(7n)), checkpoint, opened: positive ? hash(f.get(9n)) : undefined,
  };
}

export const isZero = zero;

export type Attempt = ReturnType<typeof attempt>;
export function attempt(s: Signed) {
  const f = fields(decode(s.payload), range(1, 10));
  const a = {
    attempt: uuid(f.get(1n)), id: uuid(f.get(2n)), commitment: hash(f.get(3n)), device: hash(f.get(4n)),
    carrier: small(f.get(5n), 1, 5), number: small(f.get(6n), 1, 4294967295), started: time(f.get(7n)), ended: time(f.get(8n)),
    result: small(f.get(9n), 1, 8), code: name(f.get(10n), true),
  };
  must(a.ended >= a.started, "it ended before it began");
  return a;
}

export type CarrierClaim = ReturnType<typeof carrierClaim>;
export function carrierClaim(s: Signed) {
  const f = fields(decode(s.payload), range(1, 6));
  return {
    id: uuid(f.get(1n)), attempt: uuid(f.get(2n)), carrier: small(f.get(3n), 1, 5), claim: small(f.get(4n), 1, 4),
    received: time(f.get(5n)), octets: hash(f.get(6n)),
  };
}

export type Outcome = ReturnType<typeof outcome>;
export function outcome(s: Signed) {
  const f = fields(decode(s.payload), range(1, 7));
  const counted = (k: bigint): Uint8Array[] => {
    const all = list(f.get(k), 0, COUNTED_MAX).map(hash);
    ascending(all, "counted statements");
    return all;
  };
  return {
    id: uuid(f.get(1n)), commitment: hash(f.get(2n)), end: small(f.get(3n), 1, 4), decided: time(f.get(4n)),
    attempts: counted(5n), claims: counted(6n), receipts: counted(7n),
  };
}

export type Promise_ = ReturnType<typeof promise>;
export function promise(s: Signed) {
  const f = fields(decode(s.payload), range(1, 6));
  const origin = string(f.get(3n));
  const p = {
    root: hash(f.get(1n)), count: small(f.get(2n), 1, 256), origin, accepted: time(f.get(4n)), treeSize: uint(f.get(5n)), logBy: time(f.get(6n)),
  };
  must(p.logBy > p.accepted, "log-by is not after accepted");
  return p;
}

export const promiseLeaf = (entry: Value): Uint8Array => join(utf8("sealpost/promise/v1"), encode(entry));
