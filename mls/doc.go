// Package mls is the group encryption that carries every notification:
// Messaging Layer Security, RFC 9420, on the standard library's cryptography and,
// for suite 3, on ChaCha20-Poly1305 of golang.org/x/crypto.
// A comment such as "6.3.1" names a section of RFC 9420.
//
// # Contract
//
// A [Group] is one member's view of one group in its current epoch. [Create]
// makes a group of one, [Group.Commit] with its short forms [Group.Add] and
// [Group.Remove] stages a Commit, [Group.Apply] enters the epoch it starts, [Join]
// enters it from a Welcome. [Group.Propose] asks others to commit a change. Who is
// outside enters by [ExternalJoin] and proposes by [ExternalProposal] and
// [SelfAddProposal]. [Group.ReInit] and [Group.Branch] make a group from another
// one, [JoinFrom] enters it.
// [Group.Protect] seals one application message, [Group.Process] opens one
// message of any kind. Process is all or nothing: on an error the group is
// exactly what it was. A Commit that it opens is staged: the group changes only
// when the caller has judged its [Summary] and applies it.
//
// A caller that wants to survive a crash gives the group a [Store], which it
// writes to before it lets a result out, or stores [Group.Marshal] durably itself
// after Protect, Process, Propose, Commit, Apply or SkipTo: before the ciphertext
// is sent, before the plaintext is shown. Then a restored group can neither use a
// generation twice nor open a message twice. A caller that sends first and stores
// later gives up both.
//
// Three results are for the caller to keep with the group, since a crash leaves
// no other copy. An own Commit is stored before Apply, and sent after it if the
// group is then in its epoch. A proposal that may not have been sent is made again
// after DropProposals. A plaintext whose opening was stored, and which nobody saw
// before the crash, is lost: its key is gone.
//
// A Group is for one goroutine at a time.
//
// # Units
//
// Leaves count from 0, generations from 0 within an epoch, lifetimes are Unix
// seconds, sizes are bytes.
//
// # Errors
//
// An error matches one of the sentinels of this package, which say what a
// caller may conclude: [ErrMalformed] (not the one encoding of a message),
// [ErrRefused] (read, and a check failed), [ErrReplay], [ErrTooFarAhead],
// [ErrWrongEpoch], [ErrWrongGroup], [ErrOwnMessage], [ErrStale], [ErrRemoved],
// [ErrNoSigner], [ErrUnsupported], [ErrNotForUs]. Anything else comes from the
// caller's own signer, validator, store or source of randomness.
//
// # What it keeps secret, and for how long
//
// Every secret is deleted once something was derived from it that is in use.
// Neither a group nor its marshalled state can open a message it has opened
// before, or one it has sent. Keys of messages that were skipped are kept, so
// that they may still arrive, up to [Policy.SkippedKeys] for each sender; the
// oldest go first. Secrets of a past epoch are gone when the next one starts,
// unless [Policy.PastEpochs] keeps what opens its late application messages: the
// sender data secret and what is left of the secret tree. That leads neither to
// the next epoch nor to a handshake message.
//
// Deleted means overwritten, as far as Go allows: the standard library's keys and
// cipher states, and what the runtime moves while a stack or a buffer grows, are out
// of this package's reach. A [Staged] that is not applied, a [KeyPackageSecrets] and
// a marshalled state are secrets until the caller drops them and they are collected.
//
// # What it will never do
//
// Read the clock, open a file or a socket, log, keep global state, or send the
// same key and generation twice. It does not stop a member from sending the
// same content again as a new message: receivers deduplicate by an identifier
// in the authenticated data (RFC 9750).
//
// # Not audited
//
// No outside party has reviewed this code. See the README beside it.
package mls
