// Package fcm carries sealed messages over Firebase Cloud Messaging, HTTP v1.
//
// It sends data-only messages of high priority to one device: {"b": sealed bytes}
// in base64url where they fit into the vendor's 4,096 bytes of data, {"t": claim
// ticket} where they do not. It never sets a notification, a topic, an analytics
// label or any text.
//
// # Honesty level
//
// L2: the vendor's wire schema (discovery document fcm v1, revision 20261023, and
// the public error reference) against our own strict loopback server in
// internal/lab. It has not been run against the real service by our tests.
//
// # Errors
//
// The result of a Send is a [dispatch.Result] whose code is one of the vendor's
// error codes, one of the Code constants here, or HTTP_ and a status. Accepted means
// that the vendor took the message, not that a device has it.
//
// # What it will never do
//
// Print a token, a key or an endpoint; follow a redirect; speak plain HTTP to
// anything but a loopback address; read more than a bounded answer.
package fcm
