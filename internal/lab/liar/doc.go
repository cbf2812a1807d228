// Package liar is a relay whose operator has root and lies. Behind it stand the
// rooms of a real relay, with its store and its log; in its hand are the relay's
// keys and a way to hold whatever it likes on the real road. It speaks the whole
// API to senders and devices that do not know, and changes what one [Lie] says.
//
// # Contract
//
// Without a lie it is the relay behind it. With one, everything that the lie
// does not name stays honest, so that what a sender or a device then notices is
// the lie. Whatever passes, the liar tries to read, with every private key that
// it has; [Liar.Read] is what it could.
//
// # What it cannot do
//
// It has no key of a sender or a device, no enrolment secret, and no push: a
// carrier would bring honestly what it lies about.
//
// # What it will never do
//
// Serve production: it is a neighbour to test against.
package liar
