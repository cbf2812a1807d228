// What a page or a program of another's needs: a policy, a bundle, a verdict.
export { verify } from "./judge.js";
export { parsePolicy, Unsupported, type Policy } from "./policy.js";
export { parseTime } from "./time.js";
export type { Bound, Claim, Finding, Status, Verdict } from "./verdict.js";
