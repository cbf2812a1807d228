// Signed statements and the keys that sign them (commitment 1).
import { ed25519 } from "@noble/curves/ed25519.js";
import { p256 } from "@noble/curves/nist.js";
import { equal, hex, join, sha256 } from "./bytes.js";
import { bytes, decode, encode, fields, list, must, string, Tagged, uint } from "./cbor.js";

export const STATEMENT_MAX = 65_536; // bytes
const MEMO_MAX = 4096; // signatures whose verdict is remembered

export type Alg = "Ed25519" | "ES256";
export const kinds = ["commitment", "promise", "attempt", "carrier-claim", "receipt", "outcome", "key-event"] as const;
export type Kind = (typeof kinds)[number];

/** A Key is a COSE_Key with the required parameters only (1.5). */
export interface Key {
  alg: Alg;
  raw: Uint8Array; // x, or the uncompressed point
  cose: Uint8Array;
  id: Uint8Array;
}

export const KEY_MAX = 128; // bytes of one COSE_Key

export function parseKey(b: Uint8Array): Key {
  must(b.length <= KEY_MAX, "a key is too long");
  const m = decode(b);
  must(m instanceof Map, "a key is no map");
  const id = sha256(b);
  if (m.get(1n) === 1n) {
    const f = fields(m, [1, -1, -2]);
    uint(f.get(-1n), 6n, 6n);
    return { alg: "Ed25519", raw: bytes(f.get(-2n), 32), cose: b, id };
  }
  const f = fields(m, [1, -1, -2, -3]);
  uint(f.get(1n), 2n, 2n);
  uint(f.get(-1n), 1n, 1n);
  const raw = join(Uint8Array.of(4), bytes(f.get(-2n), 32), bytes(f.get(-3n), 32));
  try {
    p256.Point.fromBytes(raw).assertValidity();
  } catch {
    must(false, "the key is no point of P-256");
  }
  return { alg: "ES256", raw, cose: b, id };
}

const memo = new Map<string, boolean>();

/**
 * verifies says whether a raw signature of 64 bytes stands (1.3). What it said is
 * remembered: a bundle repeats one checkpoint many times, and a fuzzer one bundle.
 */
export function verifies(alg: Alg, key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== 64) return false;
  const name = alg + hex(sha256(join(key, signature, message)));
  const known = memo.get(name);
  if (known !== undefined) return known;
  let good = false;
  try {
    good = alg === "Ed25519" ? ed25519.verify(signature, message, key, { zip215: true }) : p256.verify(signature, message, key, { lowS: true });
  } catch {
    // no point, or a number out of range: it does not stand
  }
  if (memo.size >= MEMO_MAX) memo.clear();
  memo.set(name, good);
  return good;
}

export interface Signed {
  kind: Kind;
  alg: Alg;
  keyID: Uint8Array;
  payload: Uint8Array; // read by its kind's own reader
  hash: Uint8Array;
  raw: Uint8Array;
  toVerify: Uint8Array;
  signature: Uint8Array;
}

export function parseSigned(raw: Uint8Array): Signed {
  must(raw.length <= STATEMENT_MAX, "a statement is too long");
  const tagged = decode(raw);
  must(tagged instanceof Tagged && tagged.tag === 18n, "no tagged COSE_Sign1");
  const [header, open, payload, signature] = list(tagged.value, 4, 4);
  const h = fields(decode(bytes(header, 0, 256)), [1, 3, 4]);
  fields(open!, []);
  const alg = h.get(1n);
  must(alg === -8n || alg === -7n, `COSE algorithm ${String(alg)} is not ours`);
  const type = string(h.get(3n));
  const kind = kinds.find((k) => type === `application/vnd.sealpost.${k}+cbor;v=1`);
  must(kind !== undefined, "an unknown content type");
  must(kind !== "commitment" || raw.length <= 4096, "a commitment is too long");
  const body = bytes(payload, 0, STATEMENT_MAX);
  return {
    kind,
    alg: alg === -8n ? "Ed25519" : "ES256",
    keyID: bytes(h.get(4n), 32),
    payload: body,
    hash: sha256(raw),
    raw,
    toVerify: encode(["Signature1", header as Uint8Array, new Uint8Array(0), body]),
    signature: bytes(signature, 64),
  };
}

export const signedBy = (s: Signed, k: Key): boolean =>
  s.alg === k.alg && equal(s.keyID, k.id) && verifies(k.alg, k.raw, s.toVerify, s.signature);

