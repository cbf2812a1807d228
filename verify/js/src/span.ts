// A span: every leaf of the log from a size on (bundle 6).
import { bytes, fields, list, must, uint, type Value } from "./cbor.js";
import { STATEMENT_MAX } from "./cose.js";
import { emptyRoot, leafHash, nodeHash, NOTE_MAX, PATH_MAX, type Head } from "./log.js";
import { equal, hex, text } from "./bytes.js";

export const SPAN_MAX = 200_000; // leaves
const LEAF = 33; // bytes

export interface Span {
  from: bigint;
  leaves: Uint8Array;
  before: Uint8Array[];
  checkpoint: string;
  later?: Uint8Array;
}

export function parseSpan(v: Value): Span {
  const f = fields(v, [1, 2, 3, 4], [5]);
  const leaves = bytes(f.get(2n), 0, SPAN_MAX * LEAF);
  must(leaves.length % LEAF === 0, "leaves that are not whole");
  const note = bytes(f.get(4n), 1, NOTE_MAX);
  const s: Span = { from: uint(f.get(1n)), leaves, before: list(f.get(3n), 0, PATH_MAX).map((x) => bytes(x, 32)), checkpoint: "" };
  if (f.has(5n)) s.later = bytes(f.get(5n), 1, STATEMENT_MAX);
  try {
    s.checkpoint = text(note);
  } catch {
    // no checkpoint, which is found when it is read as one
  }
  return s;
}

/** spanLeaves computes the root of all (6.1, 6.2) and gives the first index of each leaf, by its hexadecimal. */
export function spanLeaves(s: Span, head: Head): Map<string, bigint> {
  const n = BigInt(s.leaves.length / LEAF);
  must(s.from <= head.size && head.size - s.from === n, "its leaves do not end at the checkpoint");
  const bits = [...s.from.toString(2)].flatMap((b, i, all) => (b === "1" ? [all.length - 1 - i] : []));
  must(bits.length === s.before.length, "another number of hashes stands for the leaves before");
  const trees = bits.map((height, i) => ({ height, root: s.before[i]! })); // perfect subtrees, left to right
  const at = new Map<string, bigint>();
  for (let i = 0n; i < n; i++) {
    const leaf = s.leaves.subarray(Number(i) * LEAF, (Number(i) + 1) * LEAF);
    const name = hex(leaf);
    if (!at.has(name)) at.set(name, s.from + i);
    let right = { height: 0, root: leafHash(leaf) };
    while (trees.at(-1)?.height === right.height) right = { height: right.height + 1, root: nodeHash(trees.pop()!.root, right.root) };
    trees.push(right);
  }
  const root = trees.length === 0 ? emptyRoot : trees.map((t) => t.root).reduceRight((right, left) => nodeHash(left, right));
  must(equal(root, head.root), "its leaves are not those of the log");
  return at;
}
