// The bundle: one file of one message's evidence (bundle 1 to 3).
import { equal, sha256 } from "./bytes.js";
import { ascending, bytes, decode, fields, list, Malformed, must, range, small, uint, type Value } from "./cbor.js";
import { STATEMENT_MAX } from "./cose.js";
import { PATH_MAX, PROOF_MAX } from "./log.js";
import { parseSpan, type Span } from "./span.js";
import { parseDisclosure, ROSTER_MAX, type Disclosure } from "./payload.js";

export const BUNDLE_MAX = 8 << 20; // bytes, with the digest
export const EXHIBITS_MAX = 1024;
export const ROSTERS_MAX = 8;
export const CONSISTENCY_MAX = 64; // proofs
export const PROMISE_MAX = 4096; // bytes of one promise with its path
const DIGEST = 32; // bytes

export interface Exhibit {
  statement: Uint8Array;
  salt: Uint8Array;
  promise?: Uint8Array;
  proof?: Uint8Array;
}

export interface Consistency {
  from: bigint;
  root: Uint8Array;
  to: bigint;
  path: Uint8Array[];
}

export interface Bundle {
  id: Uint8Array;
  exhibits: Exhibit[];
  rosters: Uint8Array[];
  disclosed?: Disclosure;
  consistency: Consistency[];
  span?: Span;
}

/** digestStands says whether the last 32 bytes are the SHA-256 of all before them (1.1, 4.1). */
export const digestStands = (raw: Uint8Array): boolean =>
  raw.length > DIGEST && raw.length <= BUNDLE_MAX && equal(sha256(raw.subarray(0, -DIGEST)), raw.subarray(-DIGEST));

/** parseBody reads what stands before the digest, right or wrong. */
export function parseBody(raw: Uint8Array): Bundle {
  must(raw.length > DIGEST && raw.length <= BUNDLE_MAX, "no bundle: of no size that one has");
  const f = fields(decode(raw.subarray(0, -DIGEST)), [1, 2, 3], range(4, 8));
  small(f.get(1n), 1, 1);
  const exhibits = list(f.get(3n), 1, EXHIBITS_MAX).map(parseExhibit);
  ascending(exhibits.map((e) => sha256(e.statement)), "exhibits");
  const b: Bundle = { id: bytes(f.get(2n), 16), exhibits, rosters: [], consistency: [] };
  if (f.has(4n)) {
    b.rosters = list(f.get(4n), 1, ROSTERS_MAX).map((x) => bytes(x, 1, ROSTER_MAX));
    ascending(b.rosters, "rosters");
  }
  if (f.has(5n)) b.disclosed = parseDisclosure(f.get(5n)!);
  if (f.has(6n)) bytes(f.get(6n), 32);
  if (f.has(7n)) {
    b.consistency = list(f.get(7n), 1, CONSISTENCY_MAX).map(parseConsistency);
    b.consistency.forEach((c, i) => {
      const last = b.consistency[i - 1];
      if (last === undefined) return;
      must(last.from < c.from || (last.from === c.from && last.to < c.to), "consistency proofs do not ascend");
    });
  }
  if (f.has(8n)) b.span = parseSpan(f.get(8n)!);
  return b;
}

function parseExhibit(v: Value): Exhibit {
  const f = fields(v, [1, 2], [3, 4]);
  const e: Exhibit = { statement: bytes(f.get(1n), 1, STATEMENT_MAX), salt: bytes(f.get(2n), 32) };
  if (f.has(3n)) e.promise = bytes(f.get(3n), 1, PROMISE_MAX);
  if (f.has(4n)) e.proof = bytes(f.get(4n), 1, PROOF_MAX);
  return e;
}

function parseConsistency(v: Value): Consistency {
  const f = fields(v, range(1, 4));
  return {
    from: uint(f.get(1n)), root: bytes(f.get(2n), 32), to: uint(f.get(3n)),
    path: list(f.get(4n), 0, PATH_MAX).map((x) => bytes(x, 32)),
  };
}

/** parseBundle reads a whole and undamaged bundle. */
export function parseBundle(raw: Uint8Array): Bundle {
  if (!digestStands(raw)) throw new Malformed("the digest is of other bytes");
  return parseBody(raw);
}

