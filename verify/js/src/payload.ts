// What a commitment hides and a holder may disclose (commitment 3, 4 and 6.3).
import { hmac } from "@noble/hashes/hmac.js";
import { sha256, sha384, sha512 } from "@noble/hashes/sha2.js";
import { compare, equal, hmacSHA256, utf8 } from "./bytes.js";
import { bytes, decode, encode, fields, list, must, range, small, string, uint, type Value } from "./cbor.js";
import { merkleRoot } from "./log.js";
import { isZero, name, type Commitment } from "./statements.js";

export const PAYLOAD_MAX = 2048; // bytes
export const TEXT_MAX = 1600; // bytes
export const NAME_MAX = 64; // bytes of a field's name
export const FIELD_MAX = 256; // bytes of a field's value
export const SLOTS = 8;
export const ROSTER_MAX = 16_384; // bytes
export const MEMBERS_MAX = 33; // the sender and 32 devices

const algs = { "SHA-256": sha256, "SHA-384": sha384, "SHA-512": sha512 };
const mac = (c: Commitment, key: Uint8Array, m: Value): Uint8Array => hmac(algs[c.alg], key, encode(m));

function sized(v: Value | undefined, least: number, most: number): string {
  const s = string(v);
  const n = utf8(s).length;
  must(n >= least && n <= most, `want ${least} to ${most} bytes of text`);
  return s;
}

/** shown wants text that can be displayed: no control characters but line feeds (4.1). */
function shown(v: Value | undefined, least: number, most: number): string {
  const s = sized(v, least, most);
  must(!/[\x00-\x09\x0b-\x1f\x7f]/.test(s), "text has control characters");
  return s;
}

export interface Field {
  slot: number;
  opening: Uint8Array;
  name: string;
  value: string;
}

export interface Payload {
  text: string;
  opening: Uint8Array;
  fields: Field[];
  slots: Uint8Array[];
  chain: Value;
  sequence: Uint8Array;
}

const slotBytes = (v: Value | undefined): Uint8Array[] => list(v, SLOTS, SLOTS).map((x) => bytes(x, 32, 64));

export function parsePayload(b: Uint8Array): Payload {
  must(b.length <= PAYLOAD_MAX, "a payload is too long");
  const f = fields(decode(b), range(1, 7));
  const [text, named] = list(f.get(1n), 2, 2);
  const openings = list(f.get(3n), 0, SLOTS).map((x) => list(x, 2, 2));
  const content = list(named, 0, SLOTS).map((x) => list(x, 2, 2));
  must(openings.length === content.length, "fields and openings differ in number");
  const all = content.map(([n, v], i): Field => ({
    slot: small(openings[i]![0], 0, SLOTS - 1), opening: bytes(openings[i]![1], 32), name: name(n), value: shown(v, 0, FIELD_MAX),
  }));
  must(new Set(all.map((x) => x.name)).size === all.length, "a field's name stands twice");
  must(new Set(all.map((x) => x.slot)).size === all.length, "two fields have one slot");
  const chain = list(f.get(5n), 3, 3);
  uint(chain[0]);
  const number = uint(chain[1], 1n);
  must((number === 1n) === isZero(bytes(chain[2], 32)), "the previous commitment is zero exactly at number 1");
  name(f.get(7n), true);
  return { text: shown(text, 1, TEXT_MAX), opening: bytes(f.get(2n), 32), fields: all, slots: slotBytes(f.get(4n)), chain, sequence: bytes(f.get(6n), 32) };
}

/** opens checks all that a device checks before it displays (4.2). */
export function opens(p: Payload, c: Commitment): void {
  const content: Value = [p.text, p.fields.map((f): Value => [f.name, f.value])];
  const whole = mac(c, p.opening, ["sealpost/commit/v1", c.algID, BigInt(c.canonicalization), c.app, c.id, c.recipient, content]);
  must(equal(whole, c.c), "it does not open the commitment");
  for (const f of p.fields) opensField(f, p.slots, c);
  must(rootStands(p.slots, c), "the slots are not those of the commitment");
  must(equal(hmacSHA256(p.sequence, encode(["sealpost/sequence/v1", c.app, c.recipient, p.chain])), c.sequence), "it does not open the sequence number");
}

const rootStands = (slots: Uint8Array[], c: Commitment): boolean =>
  slots.every((s) => s.length === c.c.length) && equal(merkleRoot(slots, algs[c.alg]), c.fieldRoot);

function opensField(f: Field, slots: Uint8Array[], c: Commitment): void {
  const one = mac(c, f.opening, ["sealpost/field/v1", c.algID, c.id, f.name, f.value]);
  must(equal(slots[f.slot]!, one), `the field ${f.name} does not open its slot`);
}

export type Disclosure = { payload: Uint8Array } | { fields: Field[]; slots: Uint8Array[] };

/** parseDisclosure reads a disclosure's shape (bundle 3). */
export function parseDisclosure(v: Value): Disclosure {
  must(v instanceof Map, "a disclosure is no map");
  if (v.has(1n)) return { payload: bytes(fields(v, [1]).get(1n), 1, PAYLOAD_MAX) };
  const f = fields(v, [2, 3]);
  const shownFields = list(f.get(2n), 1, SLOTS).map((x): Field => {
    const [slot, opening, n, value] = list(x, 4, 4);
    return { slot: small(slot, 0, SLOTS - 1), opening: bytes(opening, 32), name: sized(n, 1, NAME_MAX), value: sized(value, 0, FIELD_MAX) };
  });
  shownFields.forEach((x, i) => must(i === 0 || shownFields[i - 1]!.slot < x.slot, "disclosed fields do not ascend"));
  return { fields: shownFields, slots: slotBytes(f.get(3n)) };
}

export function opensDisclosedField(f: Field, slots: Uint8Array[], c: Commitment): void {
  opensField(f, slots, c);
  must(rootStands(slots, c), "the slots are not those of the commitment");
}

export interface Roster {
  digest: Uint8Array;
  members: { leaf: Uint8Array; device: Uint8Array }[];
}

export function parseRoster(b: Uint8Array): Roster {
  must(b.length <= ROSTER_MAX, "a roster is too long");
  const [group, epoch, tree, members] = list(decode(b), 4, 4);
  bytes(group, 0, ROSTER_MAX);
  uint(epoch);
  bytes(tree, 0, ROSTER_MAX);
  const all = list(members, 1, MEMBERS_MAX).map((m) => {
    const [leaf, device] = list(m, 2, 2);
    return { leaf: bytes(leaf, 0, ROSTER_MAX), device: bytes(device, 32) };
  });
  all.forEach((m, i) => must(i === 0 || compare(all[i - 1]!.leaf, m.leaf) < 0, "members do not ascend by leaf"));
  return { digest: sha256(b), members: all };
}
