package client

import (
	"encoding/binary"
	"fmt"

	"github.com/sealpost/sealpost"
)

// groupIDMax bounds the group ids that a device looks up, bytes.
const groupIDMax = 64

// mlsAddress reads which group and epoch an MLSMessage belongs to, which MLS
// leaves readable: version, wire format 1 (PublicMessage) or 2
// (PrivateMessage), group id, epoch (RFC 9420 6, 6.2, 6.3).
func mlsAddress(m []byte) (group []byte, epoch uint64, err error) {
	bad := fmt.Errorf("%w: not an MLS message with a group and an epoch", sealpost.ErrMalformed)
	if len(m) < 5 || binary.BigEndian.Uint16(m) != 1 || (m[3] != 1 && m[3] != 2) || m[2] != 0 {
		return nil, 0, bad
	}
	n := int(m[4]) // a length below 64 takes one byte (RFC 9420 2.1.2)
	rest := m[5:]
	if n == 0 || n >= groupIDMax || len(rest) < n+8 {
		return nil, 0, bad
	}
	return rest[:n:n], binary.BigEndian.Uint64(rest[n:]), nil
}
