package mls

import (
	"bytes"
	"fmt"
	"slices"
)

// groupSecrets is GroupSecrets, 12.4.3.1.
type groupSecrets struct {
	joiner     []byte
	pathSecret []byte // nil when absent
	psks       []pskID
}

func (x *groupSecrets) read(r *reader) {
	x.joiner = r.vec()
	if r.optional() {
		x.pathSecret = r.vec()
	}
	x.psks = readPSKs(r)
}

func (x *groupSecrets) write(w *writer) {
	w.vec(x.joiner)
	w.present(x.pathSecret != nil)
	if x.pathSecret != nil {
		w.vec(x.pathSecret)
	}
	w.nested(func(w *writer) {
		for i := range x.psks {
			x.psks[i].write(w)
		}
	})
}

// forget overwrites the secrets once an epoch was derived from them.
func (x *groupSecrets) forget() {
	clear(x.joiner)
	clear(x.pathSecret)
}

// encryptedSecrets is EncryptedGroupSecrets, 12.4.3.1.
type encryptedSecrets struct {
	newMember []byte // KeyPackageRef
	sealed    hpkeCiphertext
}

// welcome is Welcome, 12.4.3.1.
type welcome struct {
	suite     Suite
	secrets   []encryptedSecrets
	groupInfo []byte // encrypted
}

func (x *welcome) read(r *reader) {
	x.suite = Suite(r.u16())
	r.list(func(r *reader) {
		s := encryptedSecrets{newMember: r.vec()}
		s.sealed.read(r)
		x.secrets = append(x.secrets, s)
	})
	x.groupInfo = r.vec()
}

func (x *welcome) write(w *writer) {
	w.u16(uint16(x.suite))
	w.nested(func(w *writer) {
		for i := range x.secrets {
			w.vec(x.secrets[i].newMember)
			x.secrets[i].sealed.write(w)
		}
	})
	w.vec(x.groupInfo)
}

// openSecrets finds and opens the entry for one KeyPackage.
func (x *welcome) openSecrets(k *keyPackagePrivate, items int) (*groupSecrets, error) {
	if x.suite != k.suite.id {
		return nil, refused("welcome of cipher suite %d, key package of %d", x.suite, k.suite.id)
	}
	at := slices.IndexFunc(x.secrets, func(s encryptedSecrets) bool { return bytes.Equal(s.newMember, k.ref) })
	if at < 0 {
		return nil, ErrNotForUs
	}
	plain, err := k.suite.open(k.init, "Welcome", x.groupInfo, x.secrets[at].sealed)
	if err != nil {
		return nil, err
	}
	secrets := new(groupSecrets)
	return secrets, decode(plain, items, secrets.read)
}

// openGroupInfo decrypts the GroupInfo under the Welcome's key.
func (x *welcome) openGroupInfo(cs *cryptoSuite, member []byte, items int) (*groupInfo, error) {
	key, nonce := cs.welcomeKey(member)
	aead, err := cs.content(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nonce, x.groupInfo, nil)
	if err != nil {
		return nil, refused("group info does not decrypt")
	}
	gi := new(groupInfo)
	return gi, decode(plain, items, gi.read)
}

// Join enters a group from a Welcome that carries the ratchet tree. The
// KeyPackage's secrets must then be deleted, once the group is durable, unless
// the package is a last resort. The caller refuses a group id it is already
// using (12.4.3.1): this package knows of no other group.
func Join(welcome []byte, kp *KeyPackageSecrets, sg Signer, v Validator, p Policy) (*Group, error) {
	return JoinWithTree(welcome, nil, kp, sg, v, p)
}

// JoinWithTree is Join with a ratchet tree that came by another way (12.4.3.3);
// tree may be nil if the Welcome carries it. The tree need not be trusted: the
// Welcome names its hash.
func JoinWithTree(welcome, ratchetTree []byte, kp *KeyPackageSecrets, sg Signer, v Validator, p Policy) (*Group, error) {
	return join(nil, welcome, ratchetTree, kp, sg, v, p)
}

// join enters a group that follows old, or follows none if that is nil.
func join(old *epoch, welcome, ratchetTree []byte, kp *KeyPackageSecrets, sg Signer, v Validator, p Policy) (*Group, error) {
	p = p.withDefaults()
	m, err := readMessage(welcome, p.Limits)
	if err != nil {
		return nil, fmt.Errorf("read welcome: %w", err)
	}
	if m.welcome == nil {
		return nil, malformed("message is no welcome")
	}
	if _, err := p.suite(kp.k().suite.id); err != nil {
		return nil, err
	}
	if !bytes.Equal(sg.Public(), kp.k().kp.leaf.signatureKey) {
		return nil, refused("signer is not that of the key package")
	}
	if len(ratchetTree) > p.Limits.Message {
		return nil, malformed("ratchet tree of %d bytes", len(ratchetTree))
	}
	j := &joining{k: kp.k(), v: v, p: &p, external: bytes.Clone(ratchetTree), old: old}
	e, err := j.join(m.welcome)
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	return newGroup(e, &side{sg, v, p})
}

// joining is one Welcome on its way to an epoch, 12.4.3.1.
type joining struct {
	k        *keyPackagePrivate
	v        Validator
	p        *Policy
	external []byte // ratchet tree from elsewhere, or nil
	old      *epoch // that the new group is to follow, or nil
	origin   *origin
}

func (j *joining) join(w *welcome) (*epoch, error) {
	cs := j.k.suite
	secrets, err := w.openSecrets(j.k, j.p.Limits.Items)
	if err != nil {
		return nil, err
	}
	defer secrets.forget()
	psk, err := j.pskSecret(secrets.psks)
	if err != nil {
		return nil, err
	}
	defer clear(psk)
	member := cs.memberSecret(secrets.joiner, psk)
	defer clear(member)
	gi, err := w.openGroupInfo(cs, member, j.p.Limits.Items)
	if err != nil {
		return nil, err
	}
	t, err := gi.openTree(cs, j.external, j.v, j.p)
	if err != nil {
		return nil, err
	}
	own, ok := t.find(&j.k.kp.leaf)
	if !ok {
		return nil, refused("own leaf is not in the tree")
	}
	privs, err := j.privateKeys(t, own, gi.signer, secrets.pathSecret)
	if err != nil {
		return nil, err
	}
	keys, encryption := cs.enterEpoch(member, gi.context.encode())
	if !cs.checkMAC(keys.confirmation, gi.context.confirmed, gi.confirmationTag) {
		return nil, refused("confirmation tag of the group info")
	}
	if j.origin != nil {
		if err := j.origin.check(&gi.context, t, j.v); err != nil {
			return nil, err
		}
	}
	e := newEpoch(cs, gi.context, t, own, privs, keys, encryption)
	e.confirmationTag = gi.confirmationTag
	e.interim = cs.interimHash(gi.context.confirmed, gi.confirmationTag)
	return e, nil
}

// pskSecret finds the pre-shared keys of a Welcome. Of those that link the group to
// another there may be one, and a Welcome to a group that follows has it.
func (j *joining) pskSecret(ids []pskID) (_ []byte, err error) {
	for _, id := range ids {
		if !id.isOrigin() {
			continue
		}
		if j.origin != nil {
			return nil, refused("welcome to a group that follows two others")
		}
		if j.origin, err = j.originOf(id); err != nil {
			return nil, err
		}
	}
	if j.old != nil && j.origin == nil {
		return nil, refused("welcome to a group that does not follow the old one")
	}
	return j.k.suite.pskSecret(ids, func(id pskID) ([]byte, error) {
		if j.origin.is(&id) {
			return j.origin.psk, nil
		}
		return j.p.externalPSK(id)
	})
}

// privateKeys are the keys of the joiner's leaf and, with a path secret, of the
// nodes from the common ancestor with the committer upward.
func (j *joining) privateKeys(t *tree, own, signer uint32, pathSecret []byte) (map[nodeIndex][]byte, error) {
	privs := map[nodeIndex][]byte{leafNodeIndex(own): bytes.Clone(j.k.leaf)}
	if pathSecret == nil {
		return privs, t.coveredBy(privs, own)
	}
	if signer == own {
		return nil, refused("the joiner signed its own welcome")
	}
	from := commonAncestor(own, signer)
	if t.nodes[from].blank() {
		return nil, refused("path secret for a blank node")
	}
	if _, err := t.climb(j.k.suite, from, pathSecret, privs); err != nil {
		return nil, err
	}
	return privs, t.coveredBy(privs, own)
}

// coveredBy says that a member has the key of every node above its leaf, or stands
// among the node's unmerged leaves (4.1.2, 7.4). Whoever lacks one could not follow
// the others.
func (t *tree) coveredBy(privs map[nodeIndex][]byte, own uint32) error {
	for _, x := range t.direct(own) {
		if p := t.nodes[x].parent; p != nil && privs[x] == nil && !contains(p.unmerged, own) {
			return refused("welcome without the key of node %d", x)
		}
	}
	return nil
}
