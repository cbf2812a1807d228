// The log: its tree (RFC 9162 2.1), checkpoints as signed notes, cosignatures and
// tlog-proofs (leaf 1 to 3; C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof).
import { base64, equal, hex, join, sha256, text, utf8 } from "./bytes.js";
import { must } from "./cbor.js";
import { verifies } from "./cose.js";

export const NOTE_MAX = 16_384; // bytes
export const PROOF_MAX = 20_480; // bytes
export const PATH_MAX = 64; // hashes: a tree of 2^63 leaves has 63
export const SIGNATURES_MAX = 100; // lines of one note
const U64 = (1n << 64n) - 1n;

type Hasher = (b: Uint8Array) => Uint8Array;

export const leafHash = (leaf: Uint8Array, h: Hasher = sha256): Uint8Array => h(join(Uint8Array.of(0), leaf));
export const nodeHash = (l: Uint8Array, r: Uint8Array, h: Hasher = sha256): Uint8Array => h(join(Uint8Array.of(1), l, r));

export const emptyRoot = sha256(new Uint8Array(0));

/** rootFrom computes the root that an inclusion proof leads to, undefined if it has another length (2.1.3.2). */
export function rootFrom(leaf: Uint8Array, index: bigint, size: bigint, path: Uint8Array[]): Uint8Array | undefined {
  if (index >= size) return undefined;
  let fn = index;
  let sn = size - 1n;
  let r = leaf;
  for (const p of path) {
    if (sn === 0n) return undefined;
    if ((fn & 1n) === 1n || fn === sn) {
      r = nodeHash(p, r);
      while ((fn & 1n) === 0n && fn !== 0n) (fn >>= 1n), (sn >>= 1n);
    } else r = nodeHash(r, p);
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n ? r : undefined;
}

/** consistent checks that a tree of one root extends that of another (2.1.4.2). */
export function consistent(from: bigint, fromRoot: Uint8Array, to: bigint, toRoot: Uint8Array, path: Uint8Array[]): boolean {
  if (from > to) return false;
  if (from === to) return path.length === 0 && equal(fromRoot, toRoot);
  if (from === 0n) return path.length === 0 && equal(fromRoot, emptyRoot);
  if (path.length === 0) return false;
  const power = (from & (from - 1n)) === 0n;
  const [first, ...rest] = power ? [fromRoot, ...path] : path;
  let fn = from - 1n;
  let sn = to - 1n;
  while ((fn & 1n) === 1n) (fn >>= 1n), (sn >>= 1n);
  let fr = first!;
  let sr = first!;
  for (const c of rest) {
    if (sn === 0n) return false;
    if ((fn & 1n) === 1n || fn === sn) {
      fr = nodeHash(c, fr);
      sr = nodeHash(c, sr);
      while ((fn & 1n) === 0n && fn !== 0n) (fn >>= 1n), (sn >>= 1n);
    } else sr = nodeHash(sr, c);
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n && equal(fr, fromRoot) && equal(sr, toRoot);
}

/** merkleRoot is the root over a few whole leaves (2.1.1). */
export function merkleRoot(leaves: Uint8Array[], h: Hasher): Uint8Array {
  if (leaves.length === 1) return leafHash(leaves[0]!, h);
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return nodeHash(merkleRoot(leaves.slice(0, k), h), merkleRoot(leaves.slice(k), h), h);
}

/** A Verifier is one key that signs notes. */
export interface Verifier {
  name: string;
  hash: string; // four bytes in hexadecimal
  type: number; // 1 Ed25519, 4 cosignature by Ed25519, 6 cosignature by ML-DSA-44
  key: Uint8Array;
}

export const ED25519 = 1;
export const COSIGNATURE = 4;
export const ML_DSA_44 = 6;

export function parseVerifier(s: string): Verifier {
  const [, name, hash, b64] = /^([^+\s]+)\+([0-9a-f]{8})\+(.+)$/u.exec(s) ?? [];
  must(name !== undefined && hash !== undefined && b64 !== undefined, "no verifier key: want name+hash+key");
  let raw = new Uint8Array(0);
  try {
    raw = base64(b64) as Uint8Array<ArrayBuffer>;
  } catch {
    must(false, "a verifier key is not base64");
  }
  must(raw.length > 1 && keyHash(name, raw) === hash, "a verifier key has another hash than it says");
  const v = { name, hash, type: raw[0]!, key: raw.subarray(1) };
  must(v.key.length === (v.type === ML_DSA_44 ? 1312 : 32), "a verifier key is of another length");
  return v;
}

/** asCosigner takes a plain Ed25519 key as the cosigner's of that name and key (policy 1.1). */
export function asCosigner(v: Verifier): Verifier {
  if (v.type !== ED25519) return v;
  return { ...v, type: COSIGNATURE, hash: keyHash(v.name, join(Uint8Array.of(COSIGNATURE), v.key)) };
}

const keyHash = (name: string, key: Uint8Array): string => hex(sha256(join(utf8(name + "\n"), key)).subarray(0, 4));

/** A Note is text and the signature lines under it, none of them checked. */
export interface Note {
  text: string;
  signatures: { name: string; hash: string; bytes: Uint8Array }[];
}

export function parseNote(s: string): Note {
  must(!/[\x00-\x09\x0b-\x1f]/.test(s), "a note has control characters");
  const cut = s.lastIndexOf("\n\n");
  must(cut >= 0 && s.endsWith("\n"), "no signed note");
  const lines = s.slice(cut + 2, -1).split("\n");
  must(cut + 2 < s.length && lines.length <= SIGNATURES_MAX, "a note has no signatures, or too many");
  const signatures = lines.map((line) => {
    const [, name, b64] = /^\u2014 ([^+\s]+) (\S+)$/u.exec(line) ?? [];
    must(name !== undefined && b64 !== undefined, "a malformed signature line");
    let raw = new Uint8Array(0);
    try {
      raw = base64(b64) as Uint8Array<ArrayBuffer>;
    } catch {
      must(false, "a signature line is not base64");
    }
    must(raw.length >= 5, "a signature line is too short");
    return { name, hash: hex(raw.subarray(0, 4)), bytes: raw.subarray(4) };
  });
  return { text: s.slice(0, cut + 1), signatures };
}

/** A Head is a checkpoint that the log signed, with the times of its witnesses. */
export interface Head {
  origin: string;
  size: bigint;
  root: Uint8Array;
  text: string;
  seen: number[]; // Unix milliseconds, ascending, one for each witness
  strangers: boolean; // it has a signature line that nothing here checks
}

/** readHead verifies a checkpoint (3.3). A signature line by a known key that does not verify spoils it. */
export function readHead(s: string, log: Verifier, witnesses: Verifier[]): Head {
  must(utf8(s).length <= NOTE_MAX, "a checkpoint is too long");
  const n = parseNote(s);
  const body = utf8(n.text);
  const seen = new Map<Verifier, number>();
  let signed = false;
  let strangers = false;
  const read = new Set<Verifier>(); // a second line by one key counts for nothing
  for (const line of n.signatures) {
    const v = [log, ...witnesses].find((k) => k.name === line.name && k.hash === line.hash);
    if (v === undefined) {
      strangers = true;
      continue;
    }
    if (read.has(v)) continue;
    read.add(v);
    if (v === log) {
      must(verifies("Ed25519", v.key, body, line.bytes), "the log's signature does not verify");
      signed = true;
      continue;
    }
    must(line.bytes.length === 72, "a cosignature is of another length");
    let seconds = 0n;
    for (const x of line.bytes.subarray(0, 8)) seconds = (seconds << 8n) | BigInt(x);
    const cosigned = join(utf8(`cosignature/v1\ntime ${seconds}\n`), body);
    must(verifies("Ed25519", v.key, cosigned, line.bytes.subarray(8)), "a cosignature does not verify");
    seen.set(v, Number(seconds) * 1000);
  }
  must(signed, "the policy's log did not sign the checkpoint");
  const [origin, size, root, ...extensions] = n.text.slice(0, -1).split("\n");
  must(origin === log.name && size !== undefined && /^(0|[1-9][0-9]{0,19})$/.test(size) && BigInt(size) <= U64, "a malformed checkpoint");
  must(root !== undefined && extensions.every((x) => x !== ""), "a malformed checkpoint");
  return { origin, size: BigInt(size), root: hashLine(root), text: s, seen: [...seen.values()].sort((a, b) => a - b), strangers };
}

function hashLine(s: string): Uint8Array {
  let b = new Uint8Array(0);
  try {
    b = base64(s) as Uint8Array<ArrayBuffer>;
  } catch {
    // too short, which is found at once
  }
  must(b.length === 32, "want a hash in base64");
  return b;
}

export interface Proof {
  index: bigint;
  path: Uint8Array[];
  checkpoint: string;
}

/** parseProof reads a tlog-proof (3.1, 3.2). */
export function parseProof(raw: Uint8Array): Proof {
  must(raw.length <= PROOF_MAX, "a proof is too long");
  let s = "";
  try {
    s = text(raw);
  } catch {
    must(false, "a proof is not UTF-8");
  }
  const cut = s.indexOf("\n\n");
  must(cut >= 0, "a proof has no checkpoint");
  const [magic, index, ...path] = s.slice(0, cut).split("\n");
  must(magic === "c2sp.org/tlog-proof@v1", "no tlog-proof");
  const [, digits] = /^index (0|[1-9][0-9]{0,19})$/.exec(index ?? "") ?? [];
  must(digits !== undefined && BigInt(digits) <= U64 && path.length <= PATH_MAX, "a malformed tlog-proof");
  return { index: BigInt(digits), path: path.map(hashLine), checkpoint: s.slice(cut + 2) };
}
