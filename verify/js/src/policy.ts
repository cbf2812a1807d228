// The policy: whom a verifier trusts (policy 1), as strict JSON.
import { base64url, hex, text } from "./bytes.js";
import { must } from "./cbor.js";
import { parseKey, type Key } from "./cose.js";
import { asCosigner, COSIGNATURE, ED25519, ML_DSA_44, parseVerifier, type Verifier } from "./log.js";
import { name } from "./statements.js";
import { parseTime } from "./time.js";

export const POLICY_MAX = 256 << 10; // bytes
export const KEYS_MAX = 256; // in one list
const DEPTH_MAX = 8;

/** An Unsupported policy is a good one that this judge cannot judge by. */
export class Unsupported extends Error {}

export interface Policy {
  log: Verifier;
  witnesses: number;
  witnessKeys: Verifier[];
  relayKeys: Key[];
  senders: { app: string; key: Key }[];
  leastAssurance: number;
  require: "decrypted" | "displayed" | "acted" | "outcome";
  validUntil?: number;
}

type Json = string | number | boolean | null | Json[] | Map<string, Json>;

const required = ["version", "log_key", "witnesses", "witness_keys", "relay_keys", "senders", "least_assurance", "require"];
const assurances = ["software", "tee", "secure-element"];
const levels = ["decrypted", "displayed", "acted", "outcome"] as const;

/** parsePolicy reads a policy; where it cannot, it throws with every fault. */
export function parsePolicy(raw: Uint8Array): Policy {
  must(raw.length <= POLICY_MAX, "policy: more than 256 KiB");
  const top = members(parseJson(text(raw)), required, ["valid_until"]);
  const faults: string[] = [];
  const read = <T>(member: string, get: () => T): T | undefined => {
    try {
      return get();
    } catch (e) {
      if (e instanceof Unsupported) throw e;
      faults.push(`${member}: ${(e as Error).message}`);
      return undefined;
    }
  };
  read("version", () => must(top.get("version") === 1, "want 1"));
  const log = read("log_key", () => verifier(top.get("log_key"), [ED25519]));
  const witnessKeys = read("witness_keys", () => strings(top.get("witness_keys"), 0).map((s) => asCosigner(verifier(s, [ED25519, COSIGNATURE, ML_DSA_44]))));
  read("witness_keys", () => distinct((witnessKeys ?? []).map((v) => v.name + v.hash)));
  const witnesses = read("witnesses", () => {
    const n = top.get("witnesses");
    must(typeof n === "number" && Number.isInteger(n) && n >= 0 && n <= (witnessKeys?.length ?? 0), "want 0 to the number of witness_keys");
    return n;
  });
  const relayKeys = read("relay_keys", () => strings(top.get("relay_keys"), 1).map((s) => parseKey(base64url(s))));
  read("relay_keys", () => distinct((relayKeys ?? []).map((k) => hex(k.id))));
  const senders = read("senders", () => array(top.get("senders"), 1).map((s) => {
    const m = members(s, ["app", "key"], []);
    return { app: name(str(m.get("app"))), key: parseKey(base64url(str(m.get("key")))) };
  }));
  read("senders", () => distinct((senders ?? []).map((s) => s.app + " " + hex(s.key.id))));
  const leastAssurance = read("least_assurance", () => {
    const n = assurances.indexOf(str(top.get("least_assurance"))) + 1;
    must(n > 0, `want one of ${assurances.join(", ")}`);
    return n;
  });
  const require = read("require", () => {
    const word = levels.find((l) => l === top.get("require"));
    must(word !== undefined, `want one of ${levels.join(", ")}`);
    return word;
  });
  const validUntil = read("valid_until", () => (top.has("valid_until") ? parseTime(str(top.get("valid_until"))) : undefined));
  must(faults.length === 0, faults.join("\n"));
  if (witnessKeys!.some((v) => v.type === ML_DSA_44)) throw new Unsupported("witness_keys: this judge has no ML-DSA-44");
  const p: Policy = { log: log!, witnesses: witnesses!, witnessKeys: witnessKeys!, relayKeys: relayKeys!, senders: senders!, leastAssurance: leastAssurance!, require: require! };
  if (validUntil !== undefined) p.validUntil = validUntil;
  return p;
}

function verifier(v: Json | undefined, types: number[]): Verifier {
  const k = parseVerifier(str(v));
  must(types.includes(k.type), `a key of type ${k.type} has no place here`);
  return k;
}

function str(v: Json | undefined): string {
  must(typeof v === "string", "want text");
  return v;
}

function array(v: Json | undefined, least: number): Json[] {
  must(Array.isArray(v) && v.length >= least && v.length <= KEYS_MAX, `want a list of ${least} to ${KEYS_MAX}`);
  return v;
}

const strings = (v: Json | undefined, least: number): string[] => array(v, least).map(str);

function distinct(all: string[]): void {
  must(new Set(all).size === all.length, "a key stands twice");
}

function members(v: Json, needed: string[], optional: string[]): Map<string, Json> {
  must(v instanceof Map, "policy: want an object");
  const wrong = [
    ...needed.filter((k) => !v.has(k)).map((k) => `${k} is missing`),
    ...[...v.keys()].filter((k) => !needed.includes(k) && !optional.includes(k)).map((k) => `${k} is unknown`),
  ];
  must(wrong.length === 0, wrong.join("\n"));
  return v;
}

/**
 * parseJson reads JSON and refuses a member that stands twice, which JSON.parse
 * lets pass. Scalars are given to JSON.parse, so that there is one reader of them.
 */
function parseJson(s: string): Json {
  let at = 0;
  const space = (): void => {
    while (at < s.length && " \t\r\n".includes(s[at]!)) at++;
  };
  const eat = (c: string): boolean => {
    space();
    if (s[at] !== c) return false;
    at++;
    return true;
  };
  const value = (depth: number): Json => {
    must(depth <= DEPTH_MAX, "policy: nested too deep");
    if (eat("{")) {
      const m = new Map<string, Json>();
      if (eat("}")) return m;
      do {
        const k = value(depth + 1);
        must(typeof k === "string" && eat(":"), "policy: not JSON");
        must(!m.has(k), `policy: ${k} stands twice`);
        m.set(k, value(depth + 1));
      } while (eat(","));
      must(eat("}"), "policy: not JSON");
      return m;
    }
    if (eat("[")) {
      const l: Json[] = [];
      if (eat("]")) return l;
      do l.push(value(depth + 1));
      while (eat(","));
      must(eat("]"), "policy: not JSON");
      return l;
    }
    space();
    const token = /"(?:[^"\\]|\\.)*"|[^\s,\]}]+/y;
    token.lastIndex = at;
    const found = token.exec(s)?.[0] ?? "";
    at += found.length;
    try {
      return JSON.parse(found) as Json;
    } catch {
      must(false, "policy: not JSON");
    }
  };
  const v = value(0);
  space();
  must(at === s.length, "policy: something follows the object");
  return v;
}
