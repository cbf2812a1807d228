// Package store is the relay's write-ahead log and the only room with SQL. It
// holds every statement of the road with its salt and promise, gives each the
// dense seq that is its leaf's index in the log, and keeps what the road needs
// to go on after a crash: messages and their routes, commits of MLS epochs,
// devices, enrolments, KeyPackages, nonces and API keys. It follows DESIGN
// sections 3, 11 and 12; a comment such as "11" names a section there.
//
// # Durability
//
// A method that writes returns nil only when its change survives the loss of
// power. [DB.Spool] writes the blobs of a group and syncs them, [DB.Hold] then
// commits the one transaction that refers to them. If it is unknown
// whether a commit happened, the error matches [ErrUncertain] and the DB
// refuses every further write until it is opened again.
//
// # At rest
//
// Statements and salts are AES-256-GCM ciphertext under a data key of one tenant,
// one day and one opening of the store, which [Keys] wraps; promises and what
// routes a message are under a key of the store, which it wraps too. A data
// key never outlives the process that drew it nor a failed transaction, so a
// nonce made of seq and column never comes twice. Columns to look things up by
// are HMACs under a wrapped key. Leaves, times, sizes and states are in clear.
// Blobs are sealed end to end and lie in the spool, never in a table (R8).
//
// # Units
//
// Times are Unix milliseconds, sizes and offsets bytes, a seq counts from 0.
//
// # Concurrency
//
// Every method may be called concurrently. One writer goes at a time; small
// writes that wait together share one commit. Readers see committed state and
// wait for no writer. A context is looked at before the work begins; a write
// that has begun runs to its end.
//
// # Errors
//
// sealpost.ErrNotFound, sealpost.ErrConflict and sealpost.ErrEnded, and
// [ErrFull] where a named limit is reached: nothing changed. [ErrDamaged]: a
// row or blob is not what was written. Every other error is of the machine.
//
// # What it will never do
//
// Sign, talk to a network, decide policy, read a clock other than the one it
// was given, or keep a plaintext name, recipient, endpoint or message id in a
// file.
package store
