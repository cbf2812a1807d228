// Package relaytest has memory neighbours of the relay for tests: a store and a
// log that fail the test when they are misused, and that fail on demand in the
// two ways there are, lost and done but not acknowledged.
//
// They are held to the contracts in the relay's ports and keep no promise beyond
// them. They are no store for anything but tests: nothing is durable. Every log,
// this one too, passes [LogContract]; every store, this one too, passes the
// contract in internal/store/storetest. Rooms do not import each other, so the
// store's is run where they meet, in cmd/sealpost/rooms_test.go.
package relaytest
