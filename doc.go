// Package sealpost is the vocabulary that every room shares: identifiers,
// limits, keys, hiding commitments, and the statements of the road with their
// one encoding. It implements spec/commitment.md, spec/receipt.md and
// spec/leaf.md; a comment such as "commitment 3" names a section there.
//
// # Statements
//
// A statement is a COSE_Sign1 (RFC 9052 4.2) over deterministic CBOR (RFC 8949
// 4.2.1). One value has one encoding: a decoder accepts exactly the bytes that
// the encoder writes, so that two readers can never see two meanings. Parsing
// never allocates more than its input and a constant.
//
// # Units
//
// Times are Unix milliseconds and travel as RFC 3339 UTC text of exactly 24
// characters. Sizes are bytes. A tree of size n has leaves 0 to n-1.
//
// # Errors
//
// Decoders and checks return errors that match [ErrMalformed] (the bytes are
// not what the specification says) or [ErrSignature] (the bytes are well
// formed and the signature is not by that key). Neither changes anything.
//
// # What it will never do
//
// Open a socket or a file, read the clock, keep a private key in a printable
// form, or accept a second encoding of anything.
package sealpost
