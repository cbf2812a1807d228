// The verdict (bundle 5).
export const PROVEN = 0;
export const INCOMPLETE = 10;
export const TRUST_EXPIRED = 20;
export const DIVERGED = 30;
export const REFUSED = 40;
export type Status = 0 | 10 | 20 | 30 | 40;

export const words: Record<Status, string> = { 0: "proven", 10: "incomplete", 20: "trust expired", 30: "diverged", 40: "refused" };

/** worst orders statuses from best to worst (5.1). */
export const worst: Status[] = [PROVEN, INCOMPLETE, TRUST_EXPIRED, REFUSED, DIVERGED];

export type About = "sender" | "log" | "key" | "roster" | "device" | "carrier" | "outcome" | "content" | "promise";

/** A Bound is one end of the time in which something happened, by somebody's word. */
export interface Bound {
  time: string;
  source: string;
}

export interface Claim {
  about: About;
  what: string;
  evidence: string[];
  limit: string;
  not_before?: Bound;
  not_after?: Bound;
}

export interface Finding {
  status: Status;
  where: string;
  why: string;
}

export interface Verdict {
  status: string;
  exit_code: Status;
  at: string;
  claims: Claim[];
  findings: Finding[];
}
