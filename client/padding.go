package client

import "github.com/sealpost/sealpost"

// sealOverhead is what MLS adds to a payload inside the ciphertext, at most:
// two length headers and a signature, whose DER form for P-256 varies (RFC 9420
// 6.3.1). It is always filled up, so that a sealed message has one of three
// lengths and nothing inside shows in it.
const sealOverhead = 80

// payloadMax is the longest payload that a padded size holds.
var payloadMax = sealpost.PaddedSizes[len(sealpost.PaddedSizes)-1]

// padding is the number of zero bytes that bring n bytes of content and
// signature to the next padded size (DESIGN section 12, Commitment).
func padding(n int) int {
	size := sealpost.Padded(max(0, n-sealOverhead))
	if size == 0 {
		return 0 // longer than payloadMax: refused before it is sealed
	}
	return size + sealOverhead - n
}
