package sealpost

import (
	"bytes"
	"crypto/sha256"
	"slices"
)

// A RosterMember is one leaf of an MLS group: its signature key as MLS writes
// it, and the device key that a signed key event ties to it. The sender's own
// leaf has its signing key's id.
type RosterMember struct {
	_      struct{} `cbor:",toarray"`
	Leaf   []byte
	Device KeyID
}

// A Roster is who can open a message: one MLS group at one epoch, and whose
// devices its leaves are. A relay that adds a device changes the digest that
// the sender signed and that the device recomputes from its own MLS state.
type Roster struct {
	_        struct{} `cbor:",toarray"`
	Group    []byte
	Epoch    uint64
	TreeHash []byte
	Members  []RosterMember // ascending by leaf, then device
}

// NewRoster sorts the members.
func NewRoster(group []byte, epoch uint64, treeHash []byte, members []RosterMember) Roster {
	members = slices.Clone(members)
	slices.SortFunc(members, compareMembers)
	return Roster{Group: group, Epoch: epoch, TreeHash: treeHash, Members: members}
}

func compareMembers(a, b RosterMember) int {
	if c := bytes.Compare(a.Leaf, b.Leaf); c != 0 {
		return c
	}
	return bytes.Compare(a.Device[:], b.Device[:])
}

// Encode is the preimage of the digest; both ends keep it for the bundle.
func (r Roster) Encode() []byte { return mustEncode(r) }

// Digest is SHA-256 of the preimage.
func (r Roster) Digest() Hash { return sha256.Sum256(r.Encode()) }

// ParseRoster reads a preimage: members sorted, no leaf twice.
func ParseRoster(b []byte) (r Roster, err error) {
	if err := Decode(b, &r); err != nil {
		return r, err
	}
	if len(r.Members) == 0 || len(r.Members) > DevicesMax+1 {
		return r, malformed("roster: %d members", len(r.Members))
	}
	for i := 1; i < len(r.Members); i++ {
		if bytes.Compare(r.Members[i-1].Leaf, r.Members[i].Leaf) >= 0 {
			return r, malformed("roster: members are not sorted by distinct leaves")
		}
	}
	return r, nil
}

// Has says whether a device's key stands in the roster.
func (r Roster) Has(device KeyID) bool {
	return slices.ContainsFunc(r.Members, func(m RosterMember) bool { return m.Device == device })
}
