package mls

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
)

type protectionCase struct {
	Suite         Suite    `json:"cipher_suite"`
	GroupID       hexBytes `json:"group_id"`
	Epoch         uint64
	TreeHash      hexBytes `json:"tree_hash"`
	Confirmed     hexBytes `json:"confirmed_transcript_hash"`
	SignaturePriv hexBytes `json:"signature_priv"`
	SignaturePub  hexBytes `json:"signature_pub"`
	Encryption    hexBytes `json:"encryption_secret"`
	SenderData    hexBytes `json:"sender_data_secret"`
	MembershipKey hexBytes `json:"membership_key"`

	Proposal        hexBytes
	ProposalPub     hexBytes `json:"proposal_pub"`
	ProposalPriv    hexBytes `json:"proposal_priv"`
	Commit          hexBytes
	CommitPub       hexBytes `json:"commit_pub"`
	CommitPriv      hexBytes `json:"commit_priv"`
	Application     hexBytes
	ApplicationPriv hexBytes `json:"application_priv"`
}

// protectionSender is the leaf that sent every message in the file.
const protectionSender = 1

func checkProtection(c *protectionCase) error {
	cs, err := suiteOf(c.Suite)
	if err != nil {
		return err
	}
	sg, err := testSigner(cs, c.SignaturePriv)
	if err != nil {
		return err
	}
	ctx := groupContext{suite: c.Suite, groupID: c.GroupID, epoch: c.Epoch, treeHash: c.TreeHash, confirmed: c.Confirmed}
	context := ctx.encode()
	for _, m := range []struct {
		kind              uint8
		raw, pub, private hexBytes
	}{
		{contentProposal, c.Proposal, c.ProposalPub, c.ProposalPriv},
		{contentCommit, c.Commit, c.CommitPub, c.CommitPriv},
		{contentApplication, c.Application, nil, c.ApplicationPriv},
	} {
		if err := c.openPrivate(cs, context, m.private, m.raw); err != nil {
			return fmt.Errorf("private of kind %d: %w", m.kind, err)
		}
		if m.pub != nil {
			if err := c.openPublic(cs, context, m.pub, m.raw); err != nil {
				return fmt.Errorf("public of kind %d: %w", m.kind, err)
			}
		}
		if err := c.protect(cs, sg, context, m.kind, m.raw); err != nil {
			return fmt.Errorf("protect kind %d: %w", m.kind, err)
		}
	}
	return nil
}

func (c *protectionCase) openPrivate(cs *cryptoSuite, context, msg, want []byte) error {
	m, err := readMessage(msg, DefaultLimits())
	if err != nil {
		return err
	}
	sd, err := cs.openSenderData(c.SenderData, m.private)
	if err != nil {
		return err
	}
	t := newSecretTree(2, bytes.Clone(c.Encryption))
	d, err := t.view(cs, sd.leaf)
	if err != nil {
		return err
	}
	key, _, err := cs.ratchetOpen(*d.pair.of(m.private.kind), sd.generation, 100, 100)
	if err != nil {
		return err
	}
	a, err := cs.openContent(m.private, sd, key, 1000)
	if err != nil {
		return err
	}
	return errors.Join(a.verify(cs, c.SignaturePub, context), same("body", body(a), want))
}

func (c *protectionCase) openPublic(cs *cryptoSuite, context, msg, want []byte) error {
	m, err := readMessage(msg, DefaultLimits())
	if err != nil {
		return err
	}
	a, err := cs.openPublic(m.public, c.MembershipKey, context)
	if err != nil {
		return err
	}
	return errors.Join(a.verify(cs, c.SignaturePub, context), same("body", body(a), want))
}

// body is the content as the file gives it: application data without its length.
func body(a *authContent) []byte {
	if a.content.kind == contentApplication {
		return a.content.application
	}
	return encode(a.content.writeBody)
}

func (c *protectionCase) protect(cs *cryptoSuite, sg Signer, context []byte, kind uint8, raw []byte) error {
	a := &authContent{wire: wirePublicMessage, content: framedContent{
		groupID: c.GroupID, epoch: c.Epoch, sender: sender{senderMember, protectionSender}, aad: []byte("aad"), kind: kind,
	}}
	if kind == contentApplication {
		a.content.application = raw
	} else if err := decode(raw, 1000, a.content.readBody); err != nil {
		return err
	}
	if kind == contentCommit {
		a.auth.confirmationTag = cs.zero()
	}
	if err := a.sign(sg, context); err != nil {
		return err
	}
	pm, err := cs.publicFrom(a, c.MembershipKey, context)
	if (err == nil) == (kind == contentApplication) {
		return fmt.Errorf("as a public message: %v", err)
	}
	if err == nil {
		if err := c.openPublic(cs, context, writeMessage(wirePublicMessage, pm.write), raw); err != nil {
			return err
		}
	}
	a.wire = wirePrivateMessage
	if err := a.sign(sg, context); err != nil {
		return err
	}
	d, err := newSecretTree(2, bytes.Clone(c.Encryption)).view(cs, protectionSender)
	if err != nil {
		return err
	}
	p := DefaultPolicy().withDefaults()
	s := &sealing{cs, c.SenderData, *d.pair.of(kind), func(int) int { return 7 }, p.Rand}
	private, _, err := s.private(a)
	if err != nil {
		return err
	}
	return c.openPrivate(cs, context, writeMessage(wirePrivateMessage, private.write), raw)
}

type treeValidationCase struct {
	Suite       Suite `json:"cipher_suite"`
	Tree        hexBytes
	GroupID     hexBytes `json:"group_id"`
	Resolutions [][]uint32
	TreeHashes  []hexBytes `json:"tree_hashes"`
}

func checkTreeValidation(c *treeValidationCase) error {
	cs, err := suiteOf(c.Suite)
	if err != nil {
		return err
	}
	t, err := readTree(c.Tree, DefaultLimits())
	if err != nil {
		return err
	}
	for x := range t.nodes {
		if !slices.Equal(t.resolution(nodeIndex(x)), c.Resolutions[x]) {
			return fmt.Errorf("resolution of node %d", x)
		}
		if err := same("tree hash", t.hash(cs, nodeIndex(x)), c.TreeHashes[x]); err != nil {
			return err
		}
	}
	return errors.Join(t.validate(cs, c.GroupID, requiredCapabilities{}), same("tree", t.encode(), c.Tree))
}

type treeOperationsCase struct {
	Suite    Suite    `json:"cipher_suite"`
	Before   hexBytes `json:"tree_before"`
	Proposal hexBytes
	Sender   uint32   `json:"proposal_sender"`
	Hash     hexBytes `json:"tree_hash_before"`
	After    hexBytes `json:"tree_after"`
	HashNow  hexBytes `json:"tree_hash_after"`
}

func checkTreeOperations(c *treeOperationsCase) error {
	cs, err := suiteOf(c.Suite)
	if err != nil {
		return err
	}
	t, err := readTree(c.Before, DefaultLimits())
	if err != nil {
		return err
	}
	if err := same("hash before", t.rootHash(cs), c.Hash); err != nil {
		return err
	}
	p := new(proposal)
	if err := decode(c.Proposal, 1000, p.read); err != nil {
		return err
	}
	switch p.kind {
	case proposalAdd:
		_, err = t.add(&p.add.leaf)
	case proposalUpdate:
		t.update(c.Sender, p.update)
	case proposalRemove:
		t.remove(p.remove)
	}
	return errors.Join(err, same("tree", t.encode(), c.After), same("hash after", t.rootHash(cs), c.HashNow))
}

type treeKEMCase struct {
	Suite     Suite    `json:"cipher_suite"`
	GroupID   hexBytes `json:"group_id"`
	Epoch     uint64
	Confirmed hexBytes `json:"confirmed_transcript_hash"`
	Tree      hexBytes `json:"ratchet_tree"`
	Private   []struct {
		Index         uint32
		Encryption    hexBytes `json:"encryption_priv"`
		SignaturePriv hexBytes `json:"signature_priv"`
		PathSecrets   []struct {
			Node   uint32
			Secret hexBytes `json:"path_secret"`
		} `json:"path_secrets"`
	} `json:"leaves_private"`
	Paths []struct {
		Sender      uint32
		Path        hexBytes   `json:"update_path"`
		PathSecrets []hexBytes `json:"path_secrets"`
		Commit      hexBytes   `json:"commit_secret"`
		HashAfter   hexBytes   `json:"tree_hash_after"`
	} `json:"update_paths"`
}

func checkTreeKEM(c *treeKEMCase) error {
	cs, err := suiteOf(c.Suite)
	if err != nil {
		return err
	}
	before, err := readTree(c.Tree, DefaultLimits())
	if err != nil {
		return err
	}
	privs := make(map[uint32]map[nodeIndex][]byte)
	signers := make(map[uint32]Signer)
	for _, l := range c.Private {
		m := map[nodeIndex][]byte{leafNodeIndex(l.Index): l.Encryption}
		for _, s := range l.PathSecrets {
			if m[s.Node], _, err = cs.pathKey(s.Secret); err != nil {
				return err
			}
		}
		for x, priv := range m {
			pub, err := cs.publicOf(priv)
			if err != nil {
				return err
			}
			if err := same("private key of the tree", pub, before.nodes[x].key()); err != nil {
				return err
			}
		}
		privs[l.Index] = m
		if signers[l.Index], err = testSigner(cs, l.SignaturePriv); err != nil {
			return err
		}
	}
	context := func(t *tree) []byte {
		ctx := groupContext{suite: c.Suite, groupID: c.GroupID, epoch: c.Epoch, treeHash: t.rootHash(cs), confirmed: c.Confirmed}
		return ctx.encode()
	}
	everyone := func(t *tree, from uint32, path *updatePath, steps []pathStep, commit []byte) error {
		for leaf, m := range privs {
			if leaf == from {
				continue
			}
			have, err := t.openPath(cs, leaf, path, steps, nil, maps.Clone(m), context(t))
			if err != nil {
				return fmt.Errorf("leaf %d opens the path of %d: %w", leaf, from, err)
			}
			if err := same("commit secret", have, commit); err != nil {
				return err
			}
		}
		return nil
	}
	for _, p := range c.Paths {
		path := new(updatePath)
		if err := decode(p.Path, 10000, path.read); err != nil {
			return err
		}
		t := before.clone()
		if err := path.leaf.validateAlone(cs, c.GroupID, p.Sender); err != nil {
			return err
		}
		steps, err := t.mergePath(cs, p.Sender, path)
		if err != nil {
			return err
		}
		if err := same("tree hash", t.rootHash(cs), p.HashAfter); err != nil {
			return err
		}
		if err := everyone(t, p.Sender, path, steps, p.Commit); err != nil {
			return err
		}
		if c.Suite >= P521AES256 && os.Getenv("SEALPOST_LONG") == "" {
			continue // making paths over the large curves takes seconds
		}
		ours := before.clone()
		random := DefaultPolicy().withDefaults().Rand
		fresh, err := ours.newPath(cs, p.Sender, *before.leaf(p.Sender), c.GroupID, signers[p.Sender], random)
		if err != nil {
			return err
		}
		made, err := fresh.seal(cs, ours, nil, context(ours))
		if err != nil {
			return err
		}
		theirs := before.clone()
		if steps, err = theirs.mergePath(cs, p.Sender, made); err != nil {
			return err
		}
		if err := everyone(theirs, p.Sender, made, steps, fresh.commit); err != nil {
			return fmt.Errorf("our own path: %w", err)
		}
		if err := theirs.validateParents(cs); err != nil {
			return fmt.Errorf("our own path: %w", err)
		}
	}
	return nil
}

type passiveCase struct {
	Suite Suite `json:"cipher_suite"`
	PSKs  []struct {
		ID  hexBytes `json:"psk_id"`
		PSK hexBytes `json:"psk"`
	} `json:"external_psks"`
	KeyPackage     hexBytes `json:"key_package"`
	SignaturePriv  hexBytes `json:"signature_priv"`
	EncryptionPriv hexBytes `json:"encryption_priv"`
	InitPriv       hexBytes `json:"init_priv"`
	Welcome        hexBytes
	Tree           hexBytes `json:"ratchet_tree"`
	Authenticator  hexBytes `json:"initial_epoch_authenticator"`
	Epochs         []struct {
		Proposals     []hexBytes
		Commit        hexBytes
		Authenticator hexBytes `json:"epoch_authenticator"`
	}
}

// padded restores the leading zeros of a scalar that some generators drop.
func padded(cs *cryptoSuite, priv []byte) []byte {
	size := map[Suite]int{P521AES256: 66, P384AES256: 48}[cs.id]
	return append(make([]byte, max(0, size-len(priv))), priv...)
}

// anyCredential is the validator of the vectors: they have no authentication
// service. A member may say more about itself, and keeps its name.
type anyCredential struct{}

func (anyCredential) Validate(Credential, []byte) error { return nil }

func (anyCredential) Successor(before, after Credential) error {
	if before.Type != after.Type || !bytes.HasPrefix(after.Identity, before.Identity) {
		return errors.New("another name")
	}
	return nil
}

// checkPassive joins a group and follows it, storing and restoring the whole
// state after every message.
func checkPassive(c *passiveCase) error {
	cs, err := suiteOf(c.Suite)
	if err != nil {
		return err
	}
	sg, err := testSigner(cs, c.SignaturePriv)
	if err != nil {
		return err
	}
	m, err := readMessage(c.KeyPackage, DefaultLimits())
	if err != nil {
		return err
	}
	kp, err := newKeyPackageSecrets(encode(m.keyPackage.write), padded(cs, c.InitPriv), padded(cs, c.EncryptionPriv))
	if err != nil {
		return err
	}
	p := DefaultPolicy()
	p.AllowExternal, p.PastResumption = true, 100
	p.PSK = func(id []byte) ([]byte, bool) {
		for _, k := range c.PSKs {
			if bytes.Equal(k.ID, id) {
				return k.PSK, true
			}
		}
		return nil, false
	}
	g, err := JoinWithTree(c.Welcome, c.Tree, kp, sg, anyCredential{}, p)
	if err != nil {
		return err
	}
	if err := same("initial authenticator", g.EpochAuthenticator(), c.Authenticator); err != nil {
		return err
	}
	for i, e := range c.Epochs {
		for _, msg := range append(slices.Clone(e.Proposals), e.Commit) {
			ev, err := g.Process(msg)
			if s, is := ev.(*Staged); is {
				err = g.Apply(s)
			}
			if err != nil {
				return fmt.Errorf("epoch %d: %w", i, err)
			}
			state, err := g.Marshal()
			if err != nil {
				return fmt.Errorf("epoch %d: %w", i, err)
			}
			if g, err = Unmarshal(state, sg, anyCredential{}, p); err != nil {
				return fmt.Errorf("epoch %d: %w", i, err)
			}
		}
		if err := same("authenticator", g.EpochAuthenticator(), e.Authenticator); err != nil {
			return fmt.Errorf("epoch %d: %w", i, err)
		}
	}
	return nil
}
