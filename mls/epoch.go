package mls

import (
	"bytes"
	"maps"
	"slices"
)

// An epoch is everything one member holds in one epoch of a group. A Commit
// makes a new one; only the secret tree and the proposals change within it.
type epoch struct {
	cs              *cryptoSuite
	context         groupContext
	encoded         []byte // the context, encoded
	tree            *tree
	own             uint32
	privs           map[nodeIndex][]byte // HPKE private keys of the own leaf and nodes above it
	keys            *epochSecrets
	confirmationTag []byte
	interim         []byte // interim_transcript_hash
	secrets         *secretTree
	proposals       []cachedProposal
	past            []pastPSK    // ascending by epoch
	earlier         []*pastEpoch // ascending by epoch
	reInit          *reInit      // that closed the group: nothing may be sent any more, 12.1.5
	origin          *origin      // of epoch 0 of a group that follows another
}

func (e *epoch) closed() bool { return e.reInit != nil }

// cachedProposal waits for a Commit to name it by reference, 12.1.
type cachedProposal struct {
	ref      []byte
	sender   sender
	proposal *proposal
	encoded  []byte     // AuthenticatedContent
	own      *ownUpdate // of an update of our own
}

// ownUpdate is what an update of our own leaf puts to use once a Commit names it.
type ownUpdate struct {
	priv   []byte // HPKE private key
	signer Signer // nil after a restart, until SetSigner
}

// pastPSK is the resumption key of an epoch that is over, 8.6.
type pastPSK struct {
	epoch uint64
	psk   []byte
}

// pastAfter is the past as the next epoch sees it, the newest most entries.
func (e *epoch) pastAfter(most int) []pastPSK {
	past := append(slices.Clone(e.past), pastPSK{e.context.epoch, bytes.Clone(e.keys.resumption)})
	return past[max(0, len(past)-max(0, most)):]
}

// newEpoch takes the encryption secret over and derives the own ratchets at
// once, so that it never stays.
func newEpoch(cs *cryptoSuite, ctx groupContext, t *tree, own uint32, privs map[nodeIndex][]byte, keys *epochSecrets, encryption []byte) *epoch {
	e := &epoch{cs: cs, context: ctx, encoded: ctx.encode(), tree: t, own: own, privs: privs, keys: keys}
	e.secrets = newSecretTree(t.leaves(), encryption)
	e.secrets.derive(cs, own)
	return e
}

// keptPrivs are the private keys that still fit the tree.
func keptPrivs(privs map[nodeIndex][]byte, before, after *tree) map[nodeIndex][]byte {
	kept := maps.Clone(privs)
	maps.DeleteFunc(kept, func(x nodeIndex, _ []byte) bool {
		return int(x) >= len(after.nodes) || after.nodes[x].blank() ||
			!bytes.Equal(after.nodes[x].key(), before.nodes[x].key())
	})
	return kept
}

// erase overwrites what the epoch kept secret, except private keys that next
// (which may be nil) goes on using.
func (e *epoch) erase(next *epoch) {
	for _, s := range e.keys.all() {
		clear(*s)
	}
	e.secrets.erase()
	if next == nil {
		for _, p := range e.earlier {
			p.erase()
		}
	}
	for x, priv := range e.privs {
		if next == nil || !bytes.Equal(next.privs[x], priv) {
			clear(priv)
		}
	}
	for _, p := range e.past {
		if next == nil || len(next.past) == 0 || p.epoch < next.past[0].epoch {
			clear(p.psk)
		}
	}
	e.dropProposals()
}

// dropProposals forgets the waiting proposals and the private keys of own updates.
func (e *epoch) dropProposals() {
	for _, p := range e.proposals {
		if p.own != nil {
			clear(p.own.priv)
		}
	}
	e.proposals = nil
}

func (p *cachedProposal) sent() sentProposal { return sentProposal{p.sender, p.proposal, p.own} }

func (e *epoch) cachedProposal(ref []byte) *cachedProposal {
	for i := range e.proposals {
		if bytes.Equal(e.proposals[i].ref, ref) {
			return &e.proposals[i]
		}
	}
	return nil
}
