// The judge: one bundle under a verifier's policy as of a time (bundle 4). Numbers
// such as 4.3 are sections of spec/bundle.md. Each step notes findings and goes on.
import { digestStands, parseBody, type Bundle, type Exhibit } from "./bundle.js";
import { equal, hex, hmacSHA256, join } from "./bytes.js";
import { encode, Malformed, must } from "./cbor.js";
import { parseSigned, signedBy, type Key, type Signed } from "./cose.js";
import { consistent, leafHash, parseProof, readHead, rootFrom, type Head } from "./log.js";
import { opens, opensDisclosedField, parsePayload, parseRoster, type Payload, type Roster } from "./payload.js";
import type { Policy } from "./policy.js";
import { byRelay, checkPromise, OUTCOME_GRACE } from "./promise.js";
import { spanLeaves } from "./span.js";
import * as st from "./statements.js";
import * as verdict from "./verdict.js";

export const CLOCKS_DIFFER = 5 * 60 * 1000; // milliseconds between two honest clocks (4.14)
export const HEADS_MAX = 256; // different checkpoints (4.3)

const assurance = ["", "software", "tee", "secure-element"];
const levelWords = ["", "handed_over", "decrypted", "displayed", "acted", "mismatch", "gap", "decrypt-failed"];
const endWords = ["", "delivered", "expired", "undeliverable", "refused"];
const ownWord = "ordered by the relay's own word";

/** A Piece is one exhibit while it is judged. */
interface Piece {
  exhibit: Exhibit;
  name: string;
  signed?: Signed;
  index?: bigint; // of its leaf, where the log is shown to hold it
  head?: Head;
  promise?: st.Promise_;
  leaf: string; // as the log holds it, in hexadecimal
  spoilt: boolean; // a check of it failed: it shows nothing
}

interface Of<T> {
  p: Piece;
  s: Signed;
  v: T;
}

interface Device {
  enrol: Of<st.KeyEvent>;
  revoked?: Piece;
}

/** verify judges. It never throws: whoever cannot read a file says so itself. */
export function verify(raw: Uint8Array, policy: Policy, at: number): verdict.Verdict {
  const j = new Judge(policy, at);
  if (j.read(raw)) {
    j.sort(); // 4.2
    j.log(); // 4.3
    j.commitment(); // 4.4
    j.keys(); // 4.5
    j.roster(); // 4.6
    j.disclosure(); // 4.7
    j.receipts(); // 4.8
    j.carriers(); // 4.9
    j.outcome(); // 4.10
    j.promises(); // 4.11
    j.kept(); // 6
    j.requirement(); // 4.12
    j.notYet(); // 4.14
  }
  return j.close();
}

/** before says whether a stands before b in the log; where one is not logged that is not known. */
const before = (a: Piece, b: Piece): boolean => a.index === undefined || b.index === undefined || a.index < b.index;

/** inLogOrder sorts by leaf; what is not logged comes last, as the bundle has it. */
function inLogOrder(all: Of<unknown>[]): void {
  const index = (x: Of<unknown>): bigint => x.p.index ?? 1n << 64n;
  all.sort((a, b) => (index(a) < index(b) ? -1 : index(a) > index(b) ? 1 : 0));
}

/** LATER is the part of a span that claims rest on (6.3). */
const LATER = "later promise";

/** A Reach is how far the log was after a deadline, and the part of the bundle that says so. */
interface Reach {
  end: bigint;
  by: string;
}

const short = (b: Uint8Array): string => hex(b.subarray(0, 4));
const iso = (t: number): string => new Date(t).toISOString();

class Judge {
  private bundle!: Bundle;
  private damaged = false;
  private pieces: Piece[] = [];
  private commitments: Of<st.Commitment>[] = [];
  private events: Of<st.KeyEvent>[] = [];
  private received: Of<st.Receipt>[] = [];
  private attempts: Of<st.Attempt>[] = [];
  private carrierClaims: Of<st.CarrierClaim>[] = [];
  private outcomes: Of<st.Outcome>[] = [];
  private heads = new Map<string, Head>(); // by the checkpoint's text
  private devices = new Map<string, Device>(); // by the key's id
  private members?: Roster;
  private payload?: Payload;
  private span?: { from: bigint; head: Head; leaves: Map<string, bigint>; later?: st.Promise_ };
  private shown = new Set<number>(); // levels that a device in good standing asserts
  private weak = new Set<number>(); // levels asserted only by a device below the policy's assurance
  private early = new Set<string>(); // exhibits that did not exist at the time of judgement
  private claims: verdict.Claim[] = [];
  private findings: verdict.Finding[] = [];

  constructor(private readonly policy: Policy, private readonly at: number) {}

  private find(status: verdict.Status, where: string, why: string): void {
    this.findings.push({ status, where, why });
  }

  private refuse(p: Piece, why: string): void {
    p.spoilt = true;
    this.find(verdict.REFUSED, p.name, why);
  }

  private missing(where: string, why: string): void {
    this.find(verdict.INCOMPLETE, where, why);
  }

  private claim(about: verdict.About, evidence: string[], what: string, limit: string, bounds: { not_before?: verdict.Bound | undefined; not_after?: verdict.Bound | undefined } = {}): void {
    const c: verdict.Claim = { about, what, evidence, limit };
    if (bounds.not_before !== undefined) c.not_before = bounds.not_before;
    if (bounds.not_after !== undefined) c.not_after = bounds.not_after;
    this.claims.push(c);
  }

  /** latest is the time by which an exhibit was there (5.3). */
  private latest(p: Piece): verdict.Bound | undefined {
    const quorum = this.policy.witnesses;
    const seen = quorum > 0 ? p.head?.seen[quorum - 1] : undefined;
    if (seen !== undefined) return { time: iso(seen), source: `${quorum} of the policy's witnesses had cosigned a checkpoint over it by then` };
    if (p.promise !== undefined) return { time: iso(p.promise.accepted), source: "the relay's own clock" };
    return undefined;
  }

  private limitOfOrder(): string {
    return this.policy.witnesses === 0 ? ` Its place is ${ownWord}.` : "";
  }

  close(): verdict.Verdict {
    if (this.policy.validUntil !== undefined && this.at > this.policy.validUntil) {
      this.find(verdict.TRUST_EXPIRED, "policy", `it was valid until ${iso(this.policy.validUntil)}`);
    }
    const code = this.findings.reduce<verdict.Status>((w, f) => (verdict.worst.indexOf(f.status) > verdict.worst.indexOf(w) ? f.status : w), verdict.PROVEN);
    const claims = this.damaged ? [] : this.claims.filter((c) => !c.evidence.some((n) => this.early.has(n)));
    return { status: verdict.words[code], exit_code: code, at: iso(this.at), claims, findings: this.findings };
  }

  // 4.1
  read(raw: Uint8Array): boolean {
    if (!digestStands(raw)) {
      this.damaged = true;
      this.find(verdict.REFUSED, "digest", "it is of other bytes");
    }
    try {
      this.bundle = parseBody(raw);
      return true;
    } catch (e) {
      this.damaged = true;
      this.find(verdict.REFUSED, "bundle", reason(e));
      return false;
    }
  }

  // 4.2
  sort(): void {
    this.bundle.exhibits.forEach((exhibit, i) => {
      const p: Piece = { exhibit, name: `exhibit ${i}`, leaf: "", spoilt: false };
      this.pieces.push(p);
      try {
        const s = (p.signed = parseSigned(exhibit.statement));
        p.name = `${s.kind} ${short(s.hash)}`;
        const id = this.file(p, s);
        must(id === undefined || equal(id, this.bundle.id), "it is about another message");
      } catch (e) {
        this.refuse(p, reason(e));
      }
    });
  }

  /** file puts a statement with its kind and gives the message that it is about. */
  private file(p: Piece, s: Signed): Uint8Array | undefined {
    const put = <T>(to: Of<T>[], v: T): T => (to.push({ p, s, v }), v);
    switch (s.kind) {
      case "commitment":
        return put(this.commitments, st.commitment(s)).id;
      case "attempt":
        return put(this.attempts, st.attempt(s)).id;
      case "carrier-claim":
        return put(this.carrierClaims, st.carrierClaim(s)).id;
      case "receipt":
        return put(this.received, st.receipt(s)).id;
      case "outcome":
        return put(this.outcomes, st.outcome(s)).id;
      case "key-event":
        put(this.events, st.keyEvent(s));
        return undefined;
      case "promise":
        throw new Malformed("a promise is no exhibit");
    }
  }

  // 4.3
  log(): void {
    for (const p of this.pieces) {
      const leaf = join(Uint8Array.of(1), hmacSHA256(p.exhibit.salt, p.exhibit.statement));
      p.leaf = hex(leaf);
      this.prove(p, leaf);
      this.promised(p, leaf);
    }
    for (const all of [this.commitments, this.events, this.received, this.attempts, this.carrierClaims, this.outcomes]) inLogOrder(all);
    this.readSpan();
    for (const r of this.received) this.carried(r);
    this.agree();
    this.quorum();
  }

  private prove(p: Piece, leaf: Uint8Array): void {
    if (p.exhibit.proof === undefined) {
      this.missing(p.name, "there is no proof that it is in the log");
      return;
    }
    try {
      const proof = parseProof(p.exhibit.proof);
      const head = this.head(proof.checkpoint);
      const root = rootFrom(leafHash(leaf), proof.index, head.size, proof.path);
      must(root !== undefined && equal(root, head.root), `statement and salt are not leaf ${proof.index} of the log`);
      p.index = proof.index;
      p.head = head;
    } catch (e) {
      this.refuse(p, reason(e));
    }
  }

  private head(text: string): Head {
    let h = this.heads.get(text);
    if (h === undefined) {
      must(this.heads.size < HEADS_MAX, "more different checkpoints than are read");
      h = readHead(text, this.policy.log, this.policy.witnessKeys);
      h.seen = h.seen.filter((t) => !this.later(t)); // 4.14
      this.heads.set(text, h);
    }
    return h;
  }

  private promised(p: Piece, leaf: Uint8Array): void {
    if (p.exhibit.promise === undefined || p.signed === undefined) return;
    try {
      const promise = checkPromise(p.exhibit.promise, leaf, p.signed, this.policy.relayKeys, this.policy.log.name);
      must(p.index === undefined || p.index >= promise.treeSize, "its leaf is below the promise's tree size");
      p.promise = promise;
    } catch (e) {
      this.refuse(p, reason(e));
    }
  }

  /** carried reads the checkpoint that a receipt carries, where this policy's log signed it. */
  private carried(r: Of<st.Receipt>): void {
    if (r.v.checkpoint === "") return;
    try {
      this.head(r.v.checkpoint);
    } catch {
      // a device may hold the checkpoint of another log: nothing rests on it
    }
  }

  /** agree wants one history of all heads (leaf 3.5). */
  private agree(): void {
    const all = [...this.heads.values()];
    const roots = new Map<bigint, Head>();
    for (const h of all) {
      const other = roots.get(h.size);
      if (other !== undefined && !equal(other.root, h.root)) this.find(verdict.DIVERGED, "log", `two checkpoints of size ${h.size} have different roots`);
      if (other === undefined) roots.set(h.size, h);
    }
    const tied = new Set<string>();
    this.bundle.consistency.forEach((c, i) => {
      const to = all.find((h) => h.size === c.to && consistent(c.from, c.root, c.to, h.root, c.path));
      if (to === undefined || c.from === 0n || c.from >= c.to) {
        this.find(verdict.REFUSED, `consistency ${i}`, "it leads from no smaller tree to a checkpoint of this bundle");
        return;
      }
      if (all.some((h) => h.size === c.from && !equal(h.root, c.root))) this.find(verdict.DIVERGED, "log", `the log of size ${c.to} does not extend its checkpoint of size ${c.from}`);
      tied.add(`${c.from} ${hex(c.root)} ${c.to}`);
    });
    const under = all.filter((h) => this.pieces.some((p) => p.head === h)).sort((a, b) => (a.size < b.size ? -1 : a.size > b.size ? 1 : 0));
    under.forEach((h, i) => {
      const last = under[i - 1];
      if (last === undefined || last.size === h.size || tied.has(`${last.size} ${hex(last.root)} ${h.size}`)) return;
      this.missing("log", `nothing ties its checkpoints of sizes ${last.size} and ${h.size}`);
    });
  }

  private quorum(): void {
    for (const h of this.heads.values()) {
      const over = this.pieces.filter((p) => p.head === h);
      if (over.length === 0) continue;
      const want = this.policy.witnesses;
      if (h.seen.length < want) this.missing("log", `${h.seen.length} of the policy's witnesses cosigned its checkpoint of size ${h.size} by then, ${want} are needed`);
      const seen = want > 0 ? h.seen[want - 1] : undefined;
      this.claim("log", over.map((p) => p.name), `The log ${h.origin} holds ${over.length} of these statements under its signed checkpoint of size ${h.size}.`,
        want === 0 ? `No witness is asked for: ${ownWord}.` : seen === undefined ? `Too few witnesses: ${ownWord}.` : "Witnesses show one history, and not that it is complete.",
        { not_after: seen === undefined ? undefined : { time: iso(seen), source: `${want} of the policy's witnesses` } });
    }
  }

  private later(t: number): boolean {
    return t > this.at + CLOCKS_DIFFER;
  }

  private signedByKey(p: Piece, s: Signed, k: Key): boolean {
    if (signedBy(s, k)) return true;
    this.refuse(p, `its signature does not verify${this.taken(p)}`);
    return false;
  }

  /** taken says that the relay took it all the same (4.15). */
  private taken(p: Piece): string {
    if (p.index !== undefined) return `; the relay logged it all the same, as leaf ${p.index}`;
    return p.promise !== undefined ? "; the relay promised to log it all the same" : "";
  }

  private stranger(p: Piece, s: Signed): string {
    const relay = this.policy.relayKeys.some((k) => signedBy(s, k));
    return (relay ? `: it is the relay's statement key, which may sign no ${s.kind}` : "") + this.taken(p);
  }

  private senderKey(app: string, id: Uint8Array): Key | undefined {
    return this.policy.senders.find((s) => s.app === app && equal(s.key.id, id))?.key;
  }

  // 4.4
  commitment(): void {
    for (const { p, s, v } of this.commitments) {
      const k = this.senderKey(v.app, s.keyID);
      if (k === undefined) this.refuse(p, `signed by ${short(s.keyID)}, which is no key of ${v.app} in the policy${this.stranger(p, s)}`);
      else if (this.signedByKey(p, s, k)) this.known(p, v);
    }
    if (this.commitments.length === 0) this.missing("commitment", "it is not in the bundle");
    const good = this.commitments.filter((c) => !c.p.spoilt);
    if (good.length > 1) this.find(verdict.DIVERGED, good[1]!.p.name, "two commitments of one message");
  }

  private known(p: Piece, v: st.Commitment): void {
    const { size, root } = v.known;
    if (size === 0n) return;
    if (p.index !== undefined && size > p.index) this.refuse(p, `it names a head of size ${size} and stands at leaf ${p.index}`);
    if ([...this.heads.values()].some((h) => h.size === size && !equal(h.root, root))) this.refuse(p, `the head of size ${size} that it names is not the log's`);
  }

  private sent(): Of<st.Commitment> | undefined {
    const c = this.commitments[0];
    return c === undefined || c.p.spoilt ? undefined : c;
  }

  // 4.5
  keys(): void {
    const c = this.sent();
    for (const e of this.events) {
      const k = this.senderKey(e.v.app, e.s.keyID);
      if (c !== undefined && e.v.app !== c.v.app) this.refuse(e.p, `a key event of another app, ${e.v.app}`);
      else if (k === undefined) this.refuse(e.p, `signed by ${short(e.s.keyID)}, which is no key of ${e.v.app} in the policy${this.stranger(e.p, e.s)}`);
      else if (this.signedByKey(e.p, e.s, k) && e.v.device !== undefined) this.enrol(e, c);
    }
    const revocations = this.events.filter((e) => !e.p.spoilt && e.v.event === 2);
    for (const e of revocations.filter((x) => x.v.subject === 2)) {
      const d = this.devices.get(hex(e.v.key.id));
      if (d !== undefined && (d.revoked === undefined || before(e.p, d.revoked))) d.revoked = e.p;
    }
    const revokedBefore = (key: Uint8Array, p: Piece): Piece | undefined =>
      revocations.find((r) => !r.p.spoilt && r.v.subject === 1 && equal(r.v.key.id, key) && r.p.index !== undefined && p.index !== undefined && r.p.index < p.index)?.p;
    for (const e of this.events) {
      const by = revokedBefore(e.s.keyID, e.p);
      if (by !== undefined) this.refuse(e.p, `the key that signed it is revoked at leaf ${by.index}, before it`);
    }
    if (c === undefined) return;
    const by = revokedBefore(c.s.keyID, c.p);
    if (by !== undefined) this.refuse(c.p, `its key is revoked at leaf ${by.index}, before it`);
    this.sender(c);
    for (const d of this.devices.values()) {
      if (d.enrol.p.spoilt) continue;
      const { v, p } = d.enrol;
      this.claim("key", [p.name], `The sender ${c.v.app} enrolled the ${v.key.alg} key ${short(v.key.id)} (assurance: ${assurance[v.device!.assurance]}) as a device of this message's recipient.`,
        "Whose hand the device is in is the sender's word. " + this.revocation(d.revoked) + this.limitOfOrder(), { not_after: this.latest(p) });
    }
  }

  private revocation(by: Piece | undefined): string {
    return by === undefined ? "No revocation is shown in this bundle." : `Its key is revoked at leaf ${by.index ?? "(not shown)"}.`;
  }

  private enrol(e: Of<st.KeyEvent>, c: Of<st.Commitment> | undefined): void {
    if (c !== undefined && !equal(e.v.device!.recipient, c.v.recipient)) {
      this.refuse(e.p, "it enrols a device of another recipient");
      return;
    }
    const id = hex(e.v.key.id);
    const old = this.devices.get(id);
    if (old === undefined || !before(old.enrol.p, e.p)) this.devices.set(id, { enrol: e }); // the first enrolment counts
  }

  private sender(c: Of<st.Commitment>): void {
    let revoked: Piece | undefined;
    for (const e of this.events) {
      if (e.p.spoilt || e.v.subject !== 1 || !equal(e.v.key.id, c.s.keyID)) continue;
      if (e.v.event === 1 && !before(e.p, c.p)) this.refuse(c.p, `its key is enrolled at leaf ${e.p.index}, after it`);
      if (e.v.event === 2) revoked = e.p;
    }
    if (c.p.spoilt) return;
    this.claim("sender", [c.p.name], `The sender ${c.v.app} signed this message's commitment with its ${c.s.alg} key ${short(c.s.keyID)}, made at ${iso(c.v.created)} and expiring at ${iso(c.v.expires)} by its own clock.`,
      "It does not show that anybody received it. " + this.revocation(revoked) + this.limitOfOrder(), { not_after: this.latest(c.p) });
  }

  // 4.6
  roster(): void {
    const c = this.sent();
    this.bundle.rosters.forEach((b, i) => {
      try {
        const r = parseRoster(b);
        if (c === undefined) return;
        if (equal(r.digest, c.v.roster)) {
          this.members = r;
          this.explain(c, r);
        } else must(this.received.some((x) => equal(x.v.roster, r.digest)), "neither the commitment nor a receipt names it");
      } catch (e) {
        this.find(verdict.REFUSED, `roster ${i}`, reason(e));
      }
    });
    if (c !== undefined && this.members === undefined) this.missing("roster", "the preimage that the commitment names is not in the bundle");
  }

  private explain(c: Of<st.Commitment>, r: Roster): void {
    let explained = true;
    let senders = 0;
    const devices: Device[] = [];
    for (const m of r.members) {
      if (equal(m.device, c.s.keyID)) {
        senders++;
        continue;
      }
      const d = this.devices.get(hex(m.device));
      if (d === undefined) {
        explained = false;
        this.missing("roster", `it names the device ${short(m.device)}, and no key event for it is in the bundle: a ghost device is not excluded`);
      } else if (!equal(d.enrol.v.device!.leaf.raw, m.leaf)) {
        explained = false;
        this.find(verdict.REFUSED, "roster", `the leaf of device ${short(m.device)} is not the one that the sender enrolled`);
      } else {
        explained &&= !d.enrol.p.spoilt;
        devices.push(d);
      }
    }
    if (senders > 1) {
      explained = false;
      this.find(verdict.REFUSED, "roster", `${senders} leaves are the sender's`);
    }
    if (!explained) return;
    this.claim("roster", [c.p.name, "roster", ...devices.map((d) => d.enrol.p.name)],
      `The sender sealed the message to these devices and no other: ${devices.map((d) => short(d.enrol.v.key.id)).join(", ")}.`,
      "It shows for whom the sender sealed it, and not who opened it.");
  }

  // 4.7
  disclosure(): void {
    const c = this.sent();
    const d = this.bundle.disclosed;
    if (c === undefined || d === undefined) return;
    const open = (what: () => string, limit: string): void => {
      try {
        this.claim("content", [c.p.name, "disclosure"], what(), limit);
      } catch (e) {
        this.find(verdict.REFUSED, "disclosure", reason(e));
      }
    };
    if ("payload" in d) {
      open(() => {
        const p = parsePayload(d.payload);
        opens(p, c.v);
        this.payload = p;
        return `The sender committed to exactly this text: ${JSON.stringify(p.text)}.`;
      }, "It shows what was committed to, and not that it is true.");
      return;
    }
    for (const f of d.fields) {
      open(() => {
        opensDisclosedField(f, d.slots, c.v);
        return `The sender committed to the field ${JSON.stringify(f.name)} with the value ${JSON.stringify(f.value)}.`;
      }, "The other fields and the text stay hidden.");
    }
  }

  // 4.8
  receipts(): void {
    const c = this.sent();
    if (c === undefined) return; // there is nothing to hold them against
    for (const r of this.received) {
      if (r.p.spoilt) continue;
      const d = this.devices.get(hex(r.v.key));
      if (!equal(r.v.key, r.s.keyID)) this.refuse(r.p, `it names key ${short(r.v.key)} and is signed by ${short(r.s.keyID)}${this.stranger(r.p, r.s)}`);
      else if (d === undefined) this.missing(r.p.name, `no key event enrols the device ${short(r.v.key)}`);
      else if (this.signedByKey(r.p, r.s, d.enrol.v.key) && !d.enrol.p.spoilt) this.receipt(r, d, c);
    }
  }

  private receipt(r: Of<st.Receipt>, d: Device, c: Of<st.Commitment>): void {
    const { v, p } = r;
    const device = d.enrol.v.device!;
    const refuse = (wrong: boolean, why: string): void => {
      if (wrong) this.refuse(p, why);
    };
    refuse(!before(d.enrol.p, p), "its device is enrolled after it");
    refuse(d.revoked !== undefined && d.revoked.index !== undefined && p.index !== undefined && d.revoked.index < p.index, `its device is revoked at leaf ${d.revoked?.index}, before it`);
    refuse(!equal(v.commitment, c.s.hash), "it is about another commitment");
    refuse(!before(c.p, p), "it stands before the commitment");
    if (v.level <= 4) {
      refuse(!equal(v.blob, c.v.blob), "it is about another ciphertext");
      refuse(!equal(v.roster, c.v.roster) && !(v.level === 1 && st.isZero(v.roster)), "it is about another roster");
      refuse(this.members !== undefined && !this.members.members.some((m) => equal(m.device, v.key)), "its device is not in the roster");
    }
    refuse(v.opened !== undefined && device.assurance < c.v.leastAssurance, "the device's key is weaker than the commitment demands");
    if (v.opened !== undefined && this.payload !== undefined) {
      const opened = hmacSHA256(this.payload.opening, encode(["sealpost/opened/v1", c.s.hash, v.key, BigInt(v.level)]));
      refuse(!equal(opened, v.opened), "it is not by a holder of the opening");
    }
    if (p.spoilt) return;
    const held = this.heads.get(v.checkpoint);
    const first = held?.seen[0];
    this.claim("device", [p.name, d.enrol.p.name], `The device ${short(v.key)} asserts ${levelWords[v.level]} of this message.`,
      "It is the device's word, and no person's." + (v.opened !== undefined && this.payload === undefined ? " That it held the opening is not checked: opening not disclosed." : "") + " " + this.revocation(d.revoked) + this.limitOfOrder(),
      { not_before: first === undefined ? undefined : { time: iso(first), source: "the earliest cosignature on the checkpoint that it carries" }, not_after: this.latest(p) });
    if (p.index === undefined || d.enrol.p.index === undefined || c.p.index === undefined) return; // its place in the order is not shown
    if (device.assurance < this.policy.leastAssurance) this.weak.add(v.level);
    else if (this.members !== undefined) this.shown.add(v.level);
  }

  private byRelay(x: Of<unknown>): boolean {
    const k = this.policy.relayKeys.find((r) => equal(r.id, x.s.keyID));
    if (k === undefined) {
      this.refuse(x.p, `signed by ${short(x.s.keyID)}, which is no relay key of the policy`);
      return false;
    }
    return this.signedByKey(x.p, x.s, k);
  }

  // 4.9
  carriers(): void {
    const c = this.sent();
    for (const a of this.attempts) {
      if (!this.byRelay(a) || c === undefined) continue;
      if (!equal(a.v.commitment, c.s.hash)) this.refuse(a.p, "it is about another commitment");
      else if (!before(c.p, a.p)) this.refuse(a.p, "it stands before the commitment");
      else if (!c.v.carriers.includes(a.v.carrier)) this.refuse(a.p, `the sender did not allow the carrier ${a.v.carrier}`);
      else if (a.v.started > c.v.expires) this.refuse(a.p, "it began after the message expired");
      if (a.p.spoilt) continue;
      this.claim("carrier", [a.p.name], `The relay says that its attempt ${a.v.number} over carrier ${a.v.carrier} ended with result ${a.v.result}.`,
        "A carrier's answer is no delivery; it is the relay's word.", { not_after: this.latest(a.p) });
    }
    for (const x of this.carrierClaims) {
      if (!this.byRelay(x) || c === undefined) continue;
      if (!before(c.p, x.p)) this.refuse(x.p, "it stands before the commitment");
      else if (!c.v.carriers.includes(x.v.carrier)) this.refuse(x.p, `the sender did not allow the carrier ${x.v.carrier}`);
      if (x.p.spoilt) continue; // 5.4
      this.claim("carrier", [x.p.name], `The relay says that carrier ${x.v.carrier} made claim ${x.v.claim}.`,
        "A carrier's claim is no delivery; it is the carrier's word as told by the relay.", { not_after: this.latest(x.p) });
    }
  }

  // 4.10
  outcome(): void {
    const c = this.sent();
    const good = this.outcomes.filter((o) => this.byRelay(o) && !o.p.spoilt);
    if (good.length > 1) this.find(verdict.DIVERGED, good[1]!.p.name, "two outcomes of one message");
    if (this.outcomes.length === 0) this.missing("outcome", "it is not in the bundle");
    for (const o of good) {
      if (c !== undefined && !equal(o.v.commitment, c.s.hash)) this.refuse(o.p, "it is about another commitment");
      if (c !== undefined && !before(c.p, o.p)) this.refuse(o.p, "it stands before the commitment");
      const receipts = this.counted(o);
      const wrong = c === undefined ? undefined : unreasoned(o.v, c.v, receipts);
      if (wrong !== undefined) this.refuse(o.p, wrong);
      if (o.p.spoilt) continue;
      this.claim("outcome", [o.p.name], `The relay says that the message ended: ${endWords[o.v.end]}, at ${iso(o.v.decided)} by its own clock.`,
        "The outcome is the relay's word on what it counted.", { not_after: this.latest(o.p) });
    }
  }

  /** counted gives the receipts that an outcome counts, undefined where not all that it counts is here, logged and in good standing. */
  private counted(o: Of<st.Outcome>): Of<st.Receipt>[] | undefined {
    let complete = true;
    const found = <T>(hashes: Uint8Array[], all: Of<T>[]): Of<T>[] =>
      hashes.flatMap((h) => {
        const x = all.find((y) => equal(y.s.hash, h));
        if (x === undefined) {
          complete = false;
          this.missing(o.p.name, `it counts ${short(h)}, which is not in the bundle`);
          return [];
        }
        if (!before(x.p, o.p)) this.refuse(o.p, `it counts ${x.p.name}, which stands after it`);
        if (x.p.index === undefined || x.p.spoilt) complete = false;
        return [x];
      });
    found(o.v.attempts, this.attempts);
    found(o.v.claims, this.carrierClaims);
    const receipts = found(o.v.receipts, this.received);
    return complete ? receipts : undefined;
  }

  // 4.11
  promises(): void {
    for (const p of this.pieces) {
      if (p.promise === undefined || p.spoilt || (p.signed?.kind !== "commitment" && p.index !== undefined)) continue;
      this.claim("promise", [p.name], `The relay promised at ${iso(p.promise.accepted)} that the ${p.signed?.kind} will be in the log by ${iso(p.promise.logBy)}.`,
        "A promise shows what the relay owes, and not that it was kept.", { not_after: { time: iso(p.promise.accepted), source: "the relay's own clock" } });
    }
  }

  // 6.1, 6.2
  private readSpan(): void {
    const s = this.bundle.span;
    if (s === undefined) return;
    try {
      const head = this.head(s.checkpoint);
      const read = { from: s.from, head, leaves: spanLeaves(s, head) };
      this.span = s.later === undefined ? read : { ...read, later: byRelay(parseSigned(s.later), this.policy.relayKeys, this.policy.log.name) };
    } catch (e) {
      this.find(verdict.REFUSED, "span", reason(e));
    }
  }

  /** reached is how far the log was at some time after a deadline, and what says so, where that is shown (6.3). */
  private reached(p: st.Promise_, deadline: number): Reach | undefined {
    const { later, head } = this.span!;
    if (later !== undefined && later.accepted > deadline && p.treeSize <= later.treeSize && later.treeSize <= head.size) return { end: later.treeSize, by: LATER };
    const want = this.policy.witnesses;
    return want > 0 && head.seen.filter((t) => t > deadline).length >= want ? { end: head.size, by: "span" } : undefined;
  }

  // 6.4, 6.5
  kept(): void {
    const s = this.span;
    if (s === undefined) return;
    for (const p of this.pieces) {
      if (p.promise === undefined || p.spoilt || p.promise.treeSize < s.from) continue;
      const r = this.reached(p.promise, p.promise.logBy);
      const index = s.leaves.get(p.leaf);
      if (r !== undefined) this.keptOrBroken(p, r, index !== undefined && index < r.end, [], "that it will be in the log", p.promise.logBy);
      else if (p.index === undefined) this.missing("span", `nothing in it shows that the checkpoint is of after ${iso(p.promise.logBy)}`);
      const c = this.commitments.find((x) => x.p === p);
      if (c !== undefined) this.ended(p, c, c.v.expires + OUTCOME_GRACE);
    }
  }

  private ended(p: Piece, c: Of<st.Commitment>, by: number): void {
    const s = this.span!;
    const r = this.reached(p.promise!, by);
    if (r === undefined) return;
    const shown = this.outcomes.filter((o) => !o.p.spoilt && equal(o.v.commitment, c.s.hash));
    const inTime = shown.find((o) => {
      const index = s.leaves.get(o.p.leaf);
      return (index !== undefined && index < r.end) || (o.p.index !== undefined && o.p.index < s.from);
    });
    const told = inTime ?? shown.at(-1);
    if (told !== undefined) this.keptOrBroken(p, r, inTime !== undefined, [told.p.name], "that an outcome will be in the log", by);
    else this.claim("promise", [p.name, r.by], `The relay promised that an outcome will be in the log by ${iso(by)}, and none is shown.`, "One that is kept back and one that does not exist look the same in a log of salted leaves.");
  }

  private keptOrBroken(p: Piece, r: Reach, kept: boolean, others: string[], what: string, by: number): void {
    this.claim("promise", kept ? [p.name, ...others, r.by] : [p.name, r.by, ...others], `The relay promised ${what} by ${iso(by)}, and ${kept ? "kept it" : "did not keep it"}.`,
      "How far the log was then is the relay's own word in a later promise, or that of the policy's witnesses. A relay whose clock was set wrong meanwhile looks the same as one that broke its word.");
    if (!kept) this.find(verdict.DIVERGED, p.name, `a broken promise: ${what} by ${iso(by)}`);
  }

  // 4.12
  requirement(): void {
    const want = this.policy.require;
    if (want === "outcome") return; // 4.10 has held every end to its rules
    const level = levelWords.indexOf(want);
    if (this.shown.has(level)) return;
    if (this.weak.has(level)) this.find(verdict.REFUSED, "requirement", `${want} is asserted by a weaker device only; the policy wants ${assurance[this.policy.leastAssurance]}`);
    else this.missing("requirement", `no logged receipt of level ${want} by a device of the roster`);
  }

  // 4.14: it finds and does not spoil, so that every other check is made all the same.
  notYet(): void {
    const date = (p: Piece, t: number, what: string): void => {
      if (p.spoilt || !this.later(t)) return;
      this.early.add(p.name);
      this.missing(p.name, `${what} at ${iso(t)}: at the time of judgement it could not be proven yet`);
    };
    for (const p of this.pieces) if (p.promise !== undefined) date(p, p.promise.accepted, "its promise was given");
    for (const c of this.commitments) date(c.p, c.v.created, "the sender made it");
    for (const a of this.attempts) date(a.p, a.v.ended, "the attempt ended");
    for (const x of this.carrierClaims) date(x.p, x.v.received, "the relay received it");
    for (const o of this.outcomes) date(o.p, o.v.decided, "the relay decided it");
    const word = this.span?.later;
    if (word !== undefined && this.later(word.accepted)) this.early.add(LATER); // no exhibit: what the others prove lacks nothing
  }
}

/** unreasoned says what is wrong with an end, given the receipts that it counts, where all of those can be judged (receipt 6.2). */
function unreasoned(o: st.Outcome, c: st.Commitment, receipts: Of<st.Receipt>[] | undefined): string | undefined {
  if (o.end === 2 && o.decided < c.expires) return "expired, and decided before that";
  if (receipts === undefined) return undefined;
  const opened = receipts.some((r) => r.v.level >= 2 && r.v.level <= 4);
  if (o.end === 1 && !opened) return "delivered, and no receipt that it counts is of level 2 to 4";
  if (o.end === 4 && !receipts.some((r) => r.v.level === 5 || r.v.level === 7)) return "refused, and no receipt that it counts is of level 5 or 7";
  return o.end !== 1 && opened ? "it counts a receipt of level 2 to 4 and is not delivered" : undefined;
}

/** reason is what a reader says is wrong. Anything else is a defect of this judge, and thrown. */
function reason(e: unknown): string {
  if (e instanceof Malformed) return e.message;
  throw e;
}
