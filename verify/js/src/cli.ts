// The command: node dist/src/cli.js BUNDLE --policy FILE [--at RFC3339] [--json].
// The one file of src that knows Node. Exit codes are those of bundle 5.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { parsePolicy, parseTime, Unsupported, verify, type Policy, type Verdict } from "./index.js";

const USAGE = 64;
const COULD_NOT_CHECK = 70;

function stop(code: number, why: unknown): never {
  console.error(why instanceof Error ? why.message : why);
  process.exit(code);
}

function args() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { policy: { type: "string" }, at: { type: "string" }, json: { type: "boolean", default: false } },
    });
    const [bundle] = positionals;
    if (positionals.length !== 1 || bundle === undefined || values.policy === undefined) throw new Error("want one bundle and --policy");
    const at = values.at === undefined ? Date.now() : parseTime(values.at);
    return { bundle, policy: values.policy, at, json: values.json };
  } catch (e) {
    return stop(USAGE, `${(e as Error).message}\nusage: cli.js BUNDLE --policy FILE [--at 2026-09-21T15:13:20.000Z] [--json]`);
  }
}

function read(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (e) {
    return stop(COULD_NOT_CHECK, e);
  }
}

function policy(raw: Uint8Array): Policy {
  try {
    return parsePolicy(raw);
  } catch (e) {
    return stop(e instanceof Unsupported ? COULD_NOT_CHECK : USAGE, e);
  }
}

function print(v: Verdict): void {
  console.log(v.status);
  for (const f of v.findings) console.log(`- ${f.where}: ${f.why}`);
  for (const c of v.claims) console.log(`+ ${c.what}\n  ${c.limit}`);
}

const a = args();
const p = policy(read(a.policy));
const v = verify(read(a.bundle), p, a.at);
if (a.json) console.log(JSON.stringify(v, null, 2));
else print(v);
process.exitCode = v.exit_code;
