// Package relay is the road of one notification through this server, one file
// for each step (DESIGN section 3):
//
//	2 check    accept.go, envelope.go, verify.go   nothing is durable; a bad request changes nothing
//	4 promise  prepare.go                          signed before the commit, given out after it
//	3 hold     prepare.go, hold.go                 blobs synced, one group commit; after this a crash is a retry
//	5 log      project.go, publish.go              the log follows the store in seq order
//	6 release  release.go                          a carrier or a device hears of it
//	7 attempt  release.go                          a statement of its own
//	9 receipt  receipts.go                         checked, held, promised
//	10 outcome outcome.go                          one for each message
//
// Beside the road stand what a sender reads (read.go), enrolment and keys of
// devices (directory.go, keyevents.go, packages.go), what a device asks
// (device.go), API keys (keys.go) and who is asking (gate.go).
//
// # Contract
//
// Every statement is held by one goroutine, so that the store's order is the
// only order there is. A caller is answered when its statement is durable. The
// same bytes get the same answer, however often they come; other bytes under
// the same id get a conflict and change nothing. A caller is refused with 429
// or 503 before its statement is accepted and never after; where the store does
// not say what became of a group, the group is held again, which the store
// recognises, and a caller that is turned away then repeats its bytes.
//
// Nothing acts on a key before its event is in the log, and a key that is
// revoked signs nothing that is held later (DESIGN section 12, Keys in time).
//
// # Units
//
// Times are Unix milliseconds of [Config.Now], sizes are bytes, a log of size n
// has leaves 0 to n-1, and a statement's seq is its leaf's index.
//
// # Errors
//
// What a caller outside may act on is an [api.Problem]; anything else is a fault
// of ours or of a neighbour. Run returns [ErrDiverged] where log and store are
// not one history: nothing was changed, and a person must look.
//
// # What it will never do
//
// Hold a plaintext or a device's key, enrol a device that no sender signed for,
// speak SQL or HTTP, log content or identifiers, or hand a carrier anything but
// a [sealpost.Sealed].
package relay
