// Package evidence decides, offline, what one bundle proves of one message:
// what was committed, when, by which key, and what which device asserts. It
// implements spec/bundle.md and spec/policy.md; a comment such as "bundle 2"
// or "policy 2" names a section there.
//
// # Units
//
// Times are Unix milliseconds as claimed by their signer; sizes and offsets
// are bytes; a tree of size n has leaves 0 to n-1. Order is the log's order of
// leaves and never that of clocks.
//
// # Verdicts
//
// [Verify] always answers. Its [Status] is also the exit code of a command:
// proven, incomplete, trust expired, diverged or refused. It never says that
// the check could not run: whoever cannot read a file says so itself.
// [ParseBundle] and [ParsePolicy] return errors that match
// [sealpost.ErrMalformed].
//
// # What it will never do
//
// Open a socket or a file, read the clock, hold a private key, take trust from
// the bundle that it judges, or claim more than its evidence.
package evidence
