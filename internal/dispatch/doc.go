// Package dispatch hands sealed messages to carriers: it decides when an attempt
// is made, over which route, how often, and until when. The carriers themselves
// are folders below it.
//
// # Contract
//
// A [Dispatcher] takes due work from one [Queue] per route, gives each piece to
// the route's [Carrier] once, and reports what came of it. Every route has its own
// workers, rate limit and breaker, so that a dead route cannot starve another.
// No attempt begins at or after the deadline of its work, none begins after the
// lease that covers it, and no retry is due at or after the deadline. A crash may
// repeat an attempt whose result was not reported: devices deduplicate by message
// id, carriers do not. A stop leaves no lease behind but of attempts that were begun
// and whose result could not be reported.
//
// # Units
//
// Durations are time.Durations, rates are attempts per second, attempt numbers
// start at 1.
//
// # Errors
//
// A carrier does not return errors but a [Result]: an outcome that is signed
// into the attempt statement, and a code from a closed alphabet that can hold no
// identifier. [Dispatcher.Run] returns an error only for a set-up that cannot run.
//
// # What it will never do
//
// Hold a plaintext or a key, print an endpoint, read SQL, choose a route that
// policy did not choose, or give a carrier anything but a [sealpost.Sealed].
package dispatch
