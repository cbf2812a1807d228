// The vectors of every format but whole bundles, which the Go test has both judges
// read; and the edges of CBOR and of signatures.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parseBundle } from "../src/bundle.js";
import { equal, hex, hmacSHA256, join } from "../src/bytes.js";
import { decode, encode, Malformed, Tagged, type Value } from "../src/cbor.js";
import { parseKey, parseSigned, signedBy, verifies, type Signed } from "../src/cose.js";
import { opens, parsePayload, parseRoster } from "../src/payload.js";
import { parsePolicy } from "../src/policy.js";
import { checkPromise, parsePromised } from "../src/promise.js";
import * as st from "../src/statements.js";

const folder = new URL("../../../../spec/vectors/", import.meta.url);
const file = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, folder)));
const json = (name: string) => JSON.parse(readFileSync(new URL(name, folder), "utf8"));
const unhex = (s: string): Uint8Array => new Uint8Array(Buffer.from(s, "hex"));
const index = json("index.json");

const says: Record<string, (s: Signed) => unknown> = {
  commitment: st.commitment, promise: st.promise, attempt: st.attempt, "carrier-claim": st.carrierClaim,
  receipt: st.receipt, outcome: st.outcome, "key-event": st.keyEvent,
};

/** stands says whether something reads: a defect of the reader is no refusal. */
function stands(read: () => unknown): boolean {
  try {
    return read() !== false;
  } catch (e) {
    if (!(e instanceof Malformed)) throw e;
    return false;
  }
}

test("deterministic CBOR has one encoding of each value", () => {
  const values: Value[] = [0n, 23n, 24n, 255n, 256n, 65535n, 65536n, (1n << 32n) - 1n, 1n << 32n, (1n << 64n) - 1n, -1n, -24n, -25n, -257n,
    "", "ä€😀", "\ufeff", new Uint8Array(0), new Uint8Array(300), [], [1n, ["a"]], new Map<bigint, Value>([[1n, 2n], [-1n, "x"], [24n, []]]), new Tagged(18n, [])];
  for (const v of values) assert.deepEqual(decode(encode(v)), v);
  const wrong = ["", "1800", "190018", "1a0000ffff", "1b00000000ffffffff", "1c", "5f", "9fff", "bfff", "f4", "f6", "f97e00", "61ff", "63eda080", "4201", "8201",
    "a201000100", "a202000100", "a120", "a1616100", "0000", "9bffffffffffffffff", "bbffffffffffffffff", "5bffffffffffffffff", "c2", "81".repeat(20) + "00"];
  for (const w of wrong) assert.throws(() => decode(unhex(w)), Malformed, w);
});

test("signatures stand as ZIP 215 and the lower half of P-256 say", () => {
  let good = 0;
  for (const c of json("signatures.json")) {
    const found = verifies(c.alg, unhex(c.key), unhex(c.message), unhex(c.signature));
    assert.equal(found, c.valid, c.name);
    if (found) good++;
  }
  assert.ok(good >= 10);
});

test("statements", () => {
  for (const c of index.statements) {
    const s = parseSigned(file(c.file));
    assert.equal(s.kind, c.kind, c.name);
    assert.equal(hex(s.hash), c.hash, c.name);
    assert.equal(stands(() => says[s.kind]!(s)) && signedBy(s, parseKey(unhex(c.key))), c.accepted, `${c.name}: ${c.why}`);
  }
});

test("malformed files", () => {
  const readers: Record<string, (b: Uint8Array) => unknown> = {
    statement: parseSigned, roster: parseRoster, payload: parsePayload, promised: parsePromised, bundle: parseBundle, policy: parsePolicy,
  };
  const never = ["envelope", "submission"]; // a judge sees neither
  for (const c of index.malformed) {
    const read = readers[c.as];
    if (read === undefined) assert.ok(never.includes(c.as), c.as);
    else assert.equal(stands(() => read(file(c.file))), false, `${c.name}: ${c.why}`);
  }
});

test("openings", () => {
  for (const c of index.openings) {
    const commitment = st.commitment(parseSigned(file(c.commitment)));
    const payload = parsePayload(file(c.payload));
    assert.equal(stands(() => opens(payload, commitment)), c.opens, c.name);
  }
});

test("leaves and promises", () => {
  const leaf = (salt: string, statement: Uint8Array): Uint8Array => join(Uint8Array.of(1), hmacSHA256(unhex(salt), statement));
  for (const c of index.leaves) assert.ok(equal(leaf(c.salt, file(c.statement)), unhex(c.leaf)), c.statement);
  for (const c of index.promises) {
    const of = file(c.statement);
    const read = () => checkPromise(file(c.file), leaf(c.salt, of), parseSigned(of), [parseKey(unhex(c.key))]);
    assert.equal(stands(read), c.accepted, c.name);
  }
});
