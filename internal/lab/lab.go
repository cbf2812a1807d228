// Package lab is an ill-behaved world to test against: neighbours that check
// everything they are sent as strictly as the real ones do, keep what they saw,
// and fail or lie on demand.
//
// It holds an FCM HTTP v1 server ([FCM]) that is also the push transport of the
// phones in tests and in the demo; package liar is a relay that lies. FCM's rules are those of
// the vendor's discovery document (revision 20261023) and error reference; where
// the vendor publishes nothing, a comment says what the lab does instead.
//
// # Units
//
// Sizes are bytes. Times are those of the clock in the configuration.
//
// # Errors
//
// A request the vendor would refuse gets the vendor's answer and leaves an entry
// in the [Journal]. Go errors are for the caller of this package only.
//
// # What it will never do
//
// Reach another host, keep anything on disk, or be lenient: an unknown field is
// refused. Nothing here is meant for production.
package lab
