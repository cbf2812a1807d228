package mls

import (
	"bytes"
	"fmt"
	"slices"
)

// validate checks a tree received from another member, 12.4.3.1: hashes and
// unmerged lists, every leaf, and that keys are unique. Credentials are the
// validator's matter and are checked apart.
func (t *tree) validate(cs *cryptoSuite, groupID []byte, req requiredCapabilities) error {
	if err := t.validateParents(cs); err != nil {
		return err
	}
	for i := range t.leaves() {
		if l := t.leaf(i); l != nil {
			if err := l.validateAlone(cs, groupID, i); err != nil {
				return err
			}
		}
	}
	return t.validateMembers(req)
}

// validateMembers checks what leaves owe each other, 7.3: unique keys, the
// group's requirements, and credential types that all support.
func (t *tree) validateMembers(req requiredCapabilities) error {
	keys, signers := make(map[string]bool), make(map[string]bool)
	used := make(map[uint16]bool)
	var all []*leafNode
	for _, n := range t.nodes {
		if n.blank() {
			continue
		}
		if keys[string(n.key())] {
			return refused("an encryption key appears twice in the tree")
		}
		keys[string(n.key())] = true
		if n.leaf == nil {
			continue
		}
		if signers[string(n.leaf.signatureKey)] {
			return refused("a signature key appears twice in the tree")
		}
		signers[string(n.leaf.signatureKey)] = true
		used[n.leaf.credential.Type] = true
		all = append(all, n.leaf)
	}
	for _, l := range all {
		if err := req.meets(&l.capabilities); err != nil {
			return err
		}
		for kind := range used {
			if !slices.Contains(l.capabilities.credentials, kind) {
				return refused("a member does not support credential type %d", kind)
			}
		}
	}
	return nil
}

// validateParents checks unmerged lists and that each parent is covered by
// exactly one parent-hash chain, 7.9.2.
func (t *tree) validateParents(cs *cryptoSuite) error {
	for x := range nodeIndex(len(t.nodes)) {
		p := t.nodes[x].parent
		if p == nil {
			continue
		}
		if err := t.validateUnmerged(x, p); err != nil {
			return err
		}
		if t.linked(cs, p, left(x), right(x)) == t.linked(cs, p, right(x), left(x)) {
			return refused("parent node %d is not covered by one parent-hash chain", x)
		}
	}
	return nil
}

// validateUnmerged: every entry is a member below x, and every parent between
// the two lists it as well (12.4.3.1).
func (t *tree) validateUnmerged(x nodeIndex, p *parentNode) error {
	for _, l := range p.unmerged {
		if t.leaf(l) == nil || !inSubtree(leafNodeIndex(l), x) {
			return refused("unmerged leaf %d is no member below node %d", l, x)
		}
		for y := parentOf(leafNodeIndex(l)); y != x; y = parentOf(y) {
			if q := t.nodes[y].parent; q != nil && !contains(q.unmerged, l) {
				return refused("node %d does not list unmerged leaf %d", y, l)
			}
		}
	}
	return nil
}

// linked says that a node in the resolution of child c carries the parent hash of p
// with copath child s and was p's neighbour in the same update: all others there are
// unmerged leaves of p (7.9.2). That all of those are there, validateUnmerged says.
func (t *tree) linked(cs *cryptoSuite, p *parentNode, c, s nodeIndex) bool {
	apart := slices.DeleteFunc(t.resolution(c), func(d nodeIndex) bool { return isLeaf(d) && contains(p.unmerged, d/2) })
	if len(apart) != 1 {
		return false
	}
	have := t.storedParentHash(apart[0])
	return len(have) > 0 && bytes.Equal(have, t.parentHash(cs, p, s))
}

func (t *tree) storedParentHash(x nodeIndex) []byte {
	n := t.nodes[x]
	if n.parent != nil {
		return n.parent.parentHash
	}
	if n.leaf != nil && n.leaf.source == sourceCommit {
		return n.leaf.parentHash
	}
	return nil
}

// supports says that every member knows the extensions of the group, 13.4, and
// that they are such as a group's context may carry, 17.3.
func (t *tree) supports(group extensions) error {
	for _, e := range group {
		switch e.kind {
		case extApplicationID, extRatchetTree, extExternalPub:
			return refused("extension type %d does not belong into a group's context", e.kind)
		}
	}
	wanted := slices.DeleteFunc(group.kinds(), isDefaultExtension)
	for i := range t.leaves() {
		if l := t.leaf(i); l != nil {
			if e, lacks := missing(l.capabilities.extensions, wanted); lacks {
				return refused("leaf %d does not support group extension %d", i, e)
			}
		}
	}
	return nil
}

// validateCredentials asks the authentication service about every member.
func (t *tree) validateCredentials(v Validator) error {
	for i := range t.leaves() {
		if l := t.leaf(i); l != nil {
			if err := l.validateCredential(v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *leafNode) validateCredential(v Validator) error {
	if err := v.Validate(x.credential, x.signatureKey); err != nil {
		return fmt.Errorf("%w: validate credential: %w", ErrRefused, err)
	}
	return nil
}
