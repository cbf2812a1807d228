package client

import (
	"fmt"
	"slices"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/mls"
)

// rosterOf is the roster that a group's MLS state alone gives. Each leaf's
// basic credential is the key id of its owner: a device's signing key, or for
// the sender's own leaf the sender's. So sender and device compute the same
// preimage, and a device that the relay would add shows in the digest that the
// sender signed.
func rosterOf(g *mls.Group) (sealpost.Roster, error) {
	var members []sealpost.RosterMember
	for _, m := range g.Members() {
		id, err := ownerOf(m.Credential)
		if err != nil {
			return sealpost.Roster{}, err
		}
		members = append(members, sealpost.RosterMember{Leaf: m.SignatureKey, Device: id})
	}
	return sealpost.NewRoster(g.GroupID(), g.Epoch(), g.TreeHash(), members), nil
}

// ownerOf reads the key id in a leaf's credential.
func ownerOf(c mls.Credential) (sealpost.KeyID, error) {
	if c.Type != mls.CredentialBasic || len(c.Identity) != len(sealpost.KeyID{}) {
		return sealpost.KeyID{}, fmt.Errorf("%w: a leaf's credential is not a key id", sealpost.ErrMalformed)
	}
	return sealpost.KeyID(c.Identity), nil
}

// sameOwner says whether both credentials are of one key id: a member changes its
// leaf key by enrolling again, never its name.
func sameOwner(before, after mls.Credential) error {
	was, err := ownerOf(before)
	if err != nil {
		return err
	}
	is, err := ownerOf(after)
	if err != nil {
		return err
	}
	if was != is {
		return fmt.Errorf("a leaf of %s became one of %s", was, is)
	}
	return nil
}

// credentialOf is the credential of a key's owner.
func credentialOf(id sealpost.KeyID) mls.Credential { return mls.BasicCredential(id[:]) }

// memberIs says whether a leaf belongs to a key id.
func memberIs(g *mls.Group, leaf uint32, id sealpost.KeyID) bool {
	return slices.ContainsFunc(g.Members(), func(m mls.Member) bool { return m.Leaf == leaf && isOf(m, id) })
}

// isOf says whether a member is the owner of a key id.
func isOf(m mls.Member, id sealpost.KeyID) bool {
	owner, err := ownerOf(m.Credential)
	return err == nil && owner == id
}
