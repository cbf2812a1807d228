// The judge behind JSON lines, for the differential test: one request a line
// {"bundle", "policy": base64, "at": RFC 3339}, one answer a line.
import { createInterface } from "node:readline";
import { parsePolicy, parseTime, verify, type Policy } from "../src/index.js";

const policies = new Map<string, Policy>();
const POLICIES_MAX = 256; // remembered policies

function policy(b64: string): Policy {
  let p = policies.get(b64);
  if (p === undefined) {
    if (policies.size >= POLICIES_MAX) policies.clear();
    policies.set(b64, (p = parsePolicy(Buffer.from(b64, "base64"))));
  }
  return p;
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer: unknown;
  try {
    const q = JSON.parse(line) as { bundle: string; policy: string; at: string };
    const v = verify(Buffer.from(q.bundle, "base64"), policy(q.policy), parseTime(q.at));
    answer = { code: v.exit_code, claims: v.claims.map((c) => [c.about, ...c.evidence].join(" ")), findings: v.findings.map((f) => `${f.status} ${f.where}: ${f.why}`) };
  } catch (e) {
    answer = { error: (e as Error).stack };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
