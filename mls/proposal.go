package mls

// Proposal types, 17.4.
const (
	proposalAdd               = 1
	proposalUpdate            = 2
	proposalRemove            = 3
	proposalPSK               = 4
	proposalReInit            = 5
	proposalExternalInit      = 6
	proposalContextExtensions = 7
)

func isDefaultProposal(t uint16) bool { return t >= proposalAdd && t <= proposalContextExtensions }

// isPrivateUse says that applications may give a proposal type a meaning, 17.4.
// The content of such a proposal is one opaque vector here, as in other engines.
func isPrivateUse(t uint16) bool { return t >= 0xf000 }

// A proposal is Proposal, 12.1; the field that kind names is set.
type proposal struct {
	kind       uint16
	add        *keyPackage
	update     *leafNode
	remove     uint32
	psk        pskID
	reInit     reInit
	kemOutput  []byte // proposalExternalInit
	extensions extensions
	custom     []byte // of a type for private use
	bare       bool   // the type alone, see SignedProposal
}

// reInit is ReInit, 12.1.5.
type reInit struct {
	groupID    []byte
	version    uint16
	suite      uint16
	extensions extensions
}

func (x *reInit) read(r *reader) {
	x.groupID = r.vec()
	x.version = r.u16()
	x.suite = r.u16()
	x.extensions.read(r)
}

func (x *reInit) write(w *writer) {
	w.vec(x.groupID)
	w.u16(x.version)
	w.u16(x.suite)
	x.extensions.write(w)
}

func (x *proposal) read(r *reader) {
	switch x.kind = r.u16(); x.kind {
	case proposalAdd:
		x.add = new(keyPackage)
		x.add.read(r)
	case proposalUpdate:
		x.update = new(leafNode)
		x.update.read(r)
	case proposalRemove:
		x.remove = r.u32()
	case proposalPSK:
		x.psk.read(r)
	case proposalReInit:
		x.reInit.read(r)
	case proposalExternalInit:
		x.kemOutput = r.vec()
	case proposalContextExtensions:
		x.extensions.read(r)
	default:
		if !isPrivateUse(x.kind) {
			r.fail("proposal type %d", x.kind)
		}
		x.custom = r.vec()
	}
}

func (x *proposal) write(w *writer) {
	w.u16(x.kind)
	switch x.kind {
	case proposalAdd:
		x.add.write(w)
	case proposalUpdate:
		x.update.write(w)
	case proposalRemove:
		w.u32(x.remove)
	case proposalPSK:
		x.psk.write(w)
	case proposalReInit:
		x.reInit.write(w)
	case proposalExternalInit:
		w.vec(x.kemOutput)
	case proposalContextExtensions:
		x.extensions.write(w)
	default:
		if !x.bare {
			w.vec(x.custom)
		}
	}
}

// leaf is the one that the proposal would put into the tree, or nil.
func (x *proposal) leaf() *leafNode {
	switch x.kind {
	case proposalAdd:
		return &x.add.leaf
	case proposalUpdate:
		return x.update
	}
	return nil
}

// needsPath says that a Commit with this proposal must carry a path, 12.4 and
// 17.4. A proposal without effect on the group needs none.
func (x *proposal) needsPath() bool {
	switch x.kind {
	case proposalUpdate, proposalRemove, proposalExternalInit, proposalContextExtensions:
		return true
	}
	return false
}

// proposalOrRef is ProposalOrRef, 12.4.
type proposalOrRef struct {
	proposal *proposal // nil for a reference
	ref      []byte
}

func (x *proposalOrRef) read(r *reader) {
	switch kind := r.u8(); kind {
	case 1:
		x.proposal = new(proposal)
		x.proposal.read(r)
	case 2:
		x.ref = r.vec()
	default:
		r.fail("proposal or reference type %d", kind)
	}
}

func (x *proposalOrRef) write(w *writer) {
	if x.proposal != nil {
		w.u8(1)
		x.proposal.write(w)
		return
	}
	w.u8(2)
	w.vec(x.ref)
}

// updatePathNode and updatePath are UpdatePathNode and UpdatePath, 7.6.
type updatePathNode struct {
	encryptionKey []byte
	encrypted     []hpkeCiphertext
}

type updatePath struct {
	leaf  leafNode
	nodes []updatePathNode
}

func (x *updatePath) read(r *reader) {
	x.leaf.read(r)
	r.list(func(r *reader) {
		n := updatePathNode{encryptionKey: r.vec()}
		r.list(func(r *reader) {
			var ct hpkeCiphertext
			ct.read(r)
			n.encrypted = append(n.encrypted, ct)
		})
		x.nodes = append(x.nodes, n)
	})
}

func (x *updatePath) write(w *writer) {
	x.leaf.write(w)
	w.nested(func(w *writer) {
		for _, n := range x.nodes {
			w.vec(n.encryptionKey)
			w.nested(func(w *writer) {
				for i := range n.encrypted {
					n.encrypted[i].write(w)
				}
			})
		}
	})
}

// commit is Commit, 12.4.
type commit struct {
	proposals []proposalOrRef
	path      *updatePath
}

// commitProposalsMax bounds the proposals of one Commit: it may add or remove
// everybody, and the smallest proposal takes a hundred times its bytes in memory.
const commitProposalsMax = 1 << 14

func (x *commit) read(r *reader) {
	r.list(func(r *reader) {
		if len(x.proposals) == commitProposalsMax {
			r.fail("more than %d proposals in a commit", commitProposalsMax)
			return
		}
		var p proposalOrRef
		p.read(r)
		x.proposals = append(x.proposals, p)
	})
	if r.optional() {
		x.path = new(updatePath)
		x.path.read(r)
	}
}

func (x *commit) write(w *writer) {
	w.nested(func(w *writer) {
		for i := range x.proposals {
			x.proposals[i].write(w)
		}
	})
	w.present(x.path != nil)
	if x.path != nil {
		x.path.write(w)
	}
}
