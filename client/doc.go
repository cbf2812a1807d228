// Package client is the SDK: a [Sender] that seals, commits and keeps its own
// evidence, and a [Device] that enrols, checks, opens and signs what it saw.
// Neither trusts the relay: the sender seals to no key it did not sign, the
// device shows nothing that its pinned sender key did not commit to, and both
// keep what they need to prove it without the relay.
//
// # What survives a crash
//
// Sender: the MLS state after sealing, the blob, the openings and the signed
// commitment become durable in one transaction before anything is posted; a
// retry posts the same bytes. Replicas of one sender share groups, and each leases
// the generations that it may use ([SenderConfig.Shared]). Device: the MLS state after opening, the content
// and the signed receipts become durable in one transaction before anything is
// shown or posted; a message that arrives again is answered from the inbox and
// never opened twice (DESIGN section 12, Crash).
//
// # What changes while messages are on their way
//
// A device that is added, removed, or enrolled again under other keys loses none:
// each keeps what opens the messages of past epochs and of groups before, and the
// sender bounds how many there are. A phone that is enrolled again keeps its old
// [Device] running until what was sent to that one has arrived.
//
// # Secrets
//
// Private keys, MLS states, enrolment secrets and contents live in the
// [Store]; [OpenStore] makes a file that only its owner can read. In memory
// they are of types that print as nothing.
//
// # Errors
//
// A [*Refusal] says that a device refused a message and signed why. An error
// that matches [ErrPending] says that a message is sealed and durable and not
// yet promised: [Sender.Flush] posts the same bytes again. An [*api.Problem]
// is the relay's answer. Anything else means that nothing was done.
//
// # Units
//
// Times are Unix milliseconds by the caller's clock, sizes are bytes, sequence
// numbers count from 1.
//
// # What it will never do
//
// Read a clock or a random source that it was not given, hand plaintext or a
// private key to the API, display a text whose commitment it did not
// recompute, or claim more than it saw.
package client
