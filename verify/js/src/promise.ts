// A promise as it travels beside a statement (leaf 4).
import { equal } from "./bytes.js";
import { bytes, decode, list, must, uint, type Value } from "./cbor.js";
import { parseSigned, signedBy, STATEMENT_MAX, type Key, type Signed } from "./cose.js";
import { leafHash, rootFrom } from "./log.js";
import { commitment, promise, promiseLeaf, type Promise_ } from "./statements.js";

export const PROMISE_PATH_MAX = 8; // hashes: a group has at most 256 statements
export const OUTCOME_GRACE = 60 * 60 * 1000; // milliseconds between expires and outcome-by (4.2)

interface Promised {
  signed: Signed;
  entry: Value[];
  index: bigint;
  path: Uint8Array[];
}

export function parsePromised(raw: Uint8Array): Promised {
  const [inner, entry, index, path] = list(decode(raw), 4, 4);
  const e = list(entry, 3, 3);
  bytes(e[0], 33);
  bytes(e[1], 32);
  must(typeof e[2] === "bigint" && e[2] >= -(1n << 63n) && e[2] < 1n << 63n, "outcome-by is no time");
  return {
    signed: parseSigned(bytes(inner, 1, STATEMENT_MAX)), entry: e, index: uint(index),
    path: list(path, 0, PROMISE_PATH_MAX).map((x) => bytes(x, 32)),
  };
}

/** byRelay reads the signed part of a promise, by a relay key and for this log. */
export function byRelay(s: Signed, relayKeys: Key[], origin?: string): Promise_ {
  must(s.kind === "promise", "it is no promise");
  const v = promise(s);
  must(relayKeys.some((k) => signedBy(s, k)), "no relay key of the policy signed the promise");
  must(origin === undefined || v.origin === origin, "the promise is of another log");
  return v;
}

/** checkPromise checks a promise of a statement whose leaf is known. */
export function checkPromise(raw: Uint8Array, leaf: Uint8Array, of: Signed, relayKeys: Key[], origin?: string): Promise_ {
  const p = parsePromised(raw);
  const v = byRelay(p.signed, relayKeys, origin);
  must(equal(p.entry[0] as Uint8Array, leaf), "the promise is of another leaf");
  must(equal(p.entry[1] as Uint8Array, of.hash), "the promise is of another statement");
  const outcomeBy = of.kind === "commitment" ? BigInt(commitment(of).expires + OUTCOME_GRACE) : 0n;
  must(p.entry[2] === outcomeBy, "the promise has another outcome-by");
  const root = rootFrom(leafHash(promiseLeaf(p.entry)), p.index, BigInt(v.count), p.path);
  must(root !== undefined && equal(root, v.root), "the path does not lead to the promise's root");
  return v;
}
