package mls

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The official vectors of the MLS working group, used where they lie: this
// project keeps no copy.
const vectorsDefault = "../../shared/vectors/mls"

// hexBytes is a hex string in JSON; null is nil.
type hexBytes []byte

func (x *hexBytes) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil || s == nil {
		return err
	}
	raw, err := hex.DecodeString(*s)
	*x = raw
	return err
}

// skip is an error that says why a case was not run.
type skip string

func (s skip) Error() string { return string(s) }

// tally counts what became of a file's cases.
type tally struct {
	passed, failed int
	skipped        map[string]int
}

func vectorsFolder(t *testing.T) string {
	dir := os.Getenv("SEALPOST_MLS_VECTORS")
	if dir == "" {
		dir = vectorsDefault
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("official MLS vectors are not at %s: set SEALPOST_MLS_VECTORS to their folder", dir)
	}
	return dir
}

// runVectors runs every case of a file and prints one line about it.
func runVectors[T any](t *testing.T, file string, run func(c *T) error) {
	b, err := os.ReadFile(filepath.Join(vectorsFolder(t), file))
	if err != nil {
		t.Fatalf("read vectors: %v", err)
	}
	var cases []T
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	n := tally{skipped: make(map[string]int)}
	for i := range cases {
		err := run(&cases[i])
		if s, ok := errors.AsType[skip](err); ok {
			n.skipped[string(s)]++
		} else if err != nil {
			n.failed++
			t.Errorf("%s case %d: %v", file, i, err)
		} else {
			n.passed++
		}
	}
	n.print(t, file)
	if n.passed == 0 {
		t.Errorf("%s: no case passed", file)
	}
}

func (n *tally) print(t *testing.T, file string) {
	skipped := 0
	for _, k := range n.skipped {
		skipped += k
	}
	fmt.Printf("vectors %s passed=%d skipped=%d failed=%d\n", file, n.passed, skipped, n.failed)
	for _, why := range slices.Sorted(maps.Keys(n.skipped)) {
		fmt.Printf("vectors %s skipped %d: %s\n", file, n.skipped[why], why)
	}
}

// suiteOf finds the suite of a case.
func suiteOf(id Suite) (*cryptoSuite, error) {
	cs, err := lookupSuite(id)
	if err != nil {
		return nil, skip(fmt.Sprintf("suite %d: the standard library has no X448 or Ed448", id))
	}
	return cs, nil
}

func testSigner(cs *cryptoSuite, priv []byte) (Signer, error) {
	if s, ok := cs.sig.(ecdsaScheme); ok {
		size := (s.curve.Params().BitSize + 7) / 8
		if len(priv) < size { // some generators drop leading zeros
			priv = append(make([]byte, size-len(priv)), priv...)
		}
		return newECDSASigner(s, priv)
	}
	return NewEd25519Signer(priv[:32])
}

func same(what string, have, want []byte) error {
	if !bytes.Equal(have, want) {
		return fmt.Errorf("%s: have %x, want %x", what, have, want)
	}
	return nil
}

// TestVectors runs every official file. R2
func TestVectors(t *testing.T) {
	vectorsFolder(t)
	t.Run("tree-math", func(t *testing.T) { runVectors(t, "tree-math.json", checkTreeMath) })
	t.Run("crypto-basics", func(t *testing.T) { runVectors(t, "crypto-basics.json", checkCryptoBasics) })
	t.Run("deserialization", func(t *testing.T) { runVectors(t, "deserialization.json", checkDeserialization) })
	t.Run("key-schedule", func(t *testing.T) { runVectors(t, "key-schedule.json", checkKeySchedule) })
	t.Run("secret-tree", func(t *testing.T) { runVectors(t, "secret-tree.json", checkSecretTree) })
	t.Run("psk_secret", func(t *testing.T) { runVectors(t, "psk_secret.json", checkPSKSecret) })
	t.Run("transcript-hashes", func(t *testing.T) { runVectors(t, "transcript-hashes.json", checkTranscript) })
	t.Run("message-protection", func(t *testing.T) { runVectors(t, "message-protection.json", checkProtection) })
	t.Run("welcome", func(t *testing.T) { runVectors(t, "welcome.json", checkWelcome) })
	t.Run("messages", func(t *testing.T) { runVectors(t, "messages.json", checkMessages) })
	t.Run("tree-validation", func(t *testing.T) { runVectors(t, "tree-validation.json", checkTreeValidation) })
	t.Run("tree-operations", func(t *testing.T) { runVectors(t, "tree-operations.json", checkTreeOperations) })
	t.Run("treekem", func(t *testing.T) { runVectors(t, "treekem.json", checkTreeKEM) })
	passive, err := filepath.Glob(filepath.Join(vectorsFolder(t), "passive-client-*.json"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(vectorsFolder(t), "interop-passive", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(passive, more...) {
		file, err := filepath.Rel(vectorsFolder(t), path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(file, ".json"), func(t *testing.T) { runVectors(t, file, checkPassive) })
	}
}

type treeMathCase struct {
	Leaves  uint32    `json:"n_leaves"`
	Nodes   uint32    `json:"n_nodes"`
	Root    uint32    `json:"root"`
	Left    []*uint32 `json:"left"`
	Right   []*uint32 `json:"right"`
	Parent  []*uint32 `json:"parent"`
	Sibling []*uint32 `json:"sibling"`
}

func checkTreeMath(c *treeMathCase) error {
	if nodeCount(c.Leaves) != c.Nodes || rootOf(c.Leaves) != c.Root {
		return fmt.Errorf("%d leaves: nodes %d, root %d", c.Leaves, nodeCount(c.Leaves), rootOf(c.Leaves))
	}
	for x := range c.Nodes {
		for _, f := range []struct {
			name string
			want *uint32
			have func(nodeIndex) nodeIndex
			none bool
		}{
			{"left", c.Left[x], left, isLeaf(x)},
			{"right", c.Right[x], right, isLeaf(x)},
			{"parent", c.Parent[x], parentOf, x == c.Root},
			{"sibling", c.Sibling[x], siblingOf, x == c.Root},
		} {
			if (f.want == nil) != f.none || f.want != nil && f.have(x) != *f.want {
				return fmt.Errorf("%s of %d", f.name, x)
			}
		}
	}
	return nil
}

type cryptoBasicsCase struct {
	Suite   Suite `json:"cipher_suite"`
	RefHash struct {
		Label string
		Value hexBytes
		Out   hexBytes
	} `json:"ref_hash"`
	Expand struct {
		Secret  hexBytes
		Label   string
		Context hexBytes
		Length  int
		Out     hexBytes
	} `json:"expand_with_label"`
	Derive struct {
		Secret hexBytes
		Label  string
		Out    hexBytes
	} `json:"derive_secret"`
	DeriveTree struct {
		Secret     hexBytes
		Label      string
		Generation uint32
		Length     int
		Out        hexBytes
	} `json:"derive_tree_secret"`
	Sign struct {
		Priv      hexBytes
		Pub       hexBytes
		Content   hexBytes
		Label     string
		Signature hexBytes
	} `json:"sign_with_label"`
	Encrypt struct {
		Priv       hexBytes
		Pub        hexBytes
		Label      string
		Context    hexBytes
		Plaintext  hexBytes
		KEMOutput  hexBytes `json:"kem_output"`
		Ciphertext hexBytes
	} `json:"encrypt_with_label"`
}

func checkCryptoBasics(c *cryptoBasicsCase) error {
	cs, err := suiteOf(c.Suite)
	if err != nil {
		return err
	}
	sg, err := testSigner(cs, c.Sign.Priv)
	if err != nil {
		return err
	}
	sig, err := sign(sg, c.Sign.Label, c.Sign.Content)
	if err != nil {
		return err
	}
	x := &c.Encrypt
	opened, err := cs.open(x.Priv, x.Label, x.Context, hpkeCiphertext{x.KEMOutput, x.Ciphertext})
	if err != nil {
		return err
	}
	sealed, err := cs.seal(x.Pub, x.Label, x.Context, x.Plaintext)
	if err != nil {
		return err
	}
	again, err := cs.open(x.Priv, x.Label, x.Context, sealed)
	if err != nil {
		return err
	}
	return errors.Join(
		same("ref_hash", cs.refHash(c.RefHash.Label, c.RefHash.Value), c.RefHash.Out),
		same("expand", cs.expandLabel(c.Expand.Secret, c.Expand.Label, c.Expand.Context, c.Expand.Length), c.Expand.Out),
		same("derive", cs.derive(c.Derive.Secret, c.Derive.Label), c.Derive.Out),
		same("derive tree", cs.under(c.DeriveTree.Secret).deriveTree(c.DeriveTree.Label, c.DeriveTree.Generation, c.DeriveTree.Length), c.DeriveTree.Out),
		cs.verify(c.Sign.Pub, c.Sign.Label, c.Sign.Content, c.Sign.Signature),
		same("signer's public key", sg.Public(), c.Sign.Pub),
		cs.verify(c.Sign.Pub, c.Sign.Label, c.Sign.Content, sig),
		same("opened", opened, x.Plaintext),
		same("sealed and opened", again, x.Plaintext),
	)
}

type deserializationCase struct {
	Header hexBytes `json:"vlbytes_header"`
	Length int
}

func checkDeserialization(c *deserializationCase) error {
	r := newReader(c.Header, 0)
	if n := r.length(); r.finish() != nil || n != c.Length {
		return fmt.Errorf("have %d, want %d (%v)", n, c.Length, r.err)
	}
	w := &writer{}
	w.length(c.Length)
	return same("header", w.b, c.Header)
}

type keyScheduleCase struct {
	Suite   Suite    `json:"cipher_suite"`
	GroupID hexBytes `json:"group_id"`
	Init    hexBytes `json:"initial_init_secret"`
	Epochs  []struct {
		TreeHash      hexBytes `json:"tree_hash"`
		Commit        hexBytes `json:"commit_secret"`
		PSK           hexBytes `json:"psk_secret"`
		Confirmed     hexBytes `json:"confirmed_transcript_hash"`
		Context       hexBytes `json:"group_context"`
		Joiner        hexBytes `json:"joiner_secret"`
		Welcome       hexBytes `json:"welcome_secret"`
		Init          hexBytes `json:"init_secret"`
		SenderData    hexBytes `json:"sender_data_secret"`
		Encryption    hexBytes `json:"encryption_secret"`
		Exporter      hexBytes `json:"exporter_secret"`
		Authenticator hexBytes `json:"epoch_authenticator"`
		External      hexBytes `json:"external_secret"`
		Confirmation  hexBytes `json:"confirmation_key"`
		Membership    hexBytes `json:"membership_key"`
		Resumption    hexBytes `json:"resumption_psk"`
		ExternalPub   hexBytes `json:"external_pub"`
		Export        struct {
			Label   string
			Context hexBytes
			Length  int
			Secret  hexBytes
		} `json:"exporter"`
	}
}

func checkKeySchedule(c *keyScheduleCase) error {
	cs, err := suiteOf(c.Suite)
	if err != nil {
		return err
	}
	initSecret := []byte(c.Init)
	for i, e := range c.Epochs {
		ctx := groupContext{suite: c.Suite, groupID: c.GroupID, epoch: uint64(i), treeHash: e.TreeHash, confirmed: e.Confirmed}
		joiner := cs.joinerSecret(initSecret, e.Commit, ctx.encode())
		member := cs.memberSecret(joiner, e.PSK)
		k, encryption := cs.enterEpoch(member, ctx.encode())
		_, pub, err := cs.keyPair(k.external)
		if err != nil {
			return err
		}
		err = errors.Join(
			same("context", ctx.encode(), e.Context),
			same("joiner", joiner, e.Joiner),
			same("welcome", cs.derive(member, "welcome"), e.Welcome),
			same("init", k.init, e.Init),
			same("sender data", k.senderData, e.SenderData),
			same("encryption", encryption, e.Encryption),
			same("exporter", k.exporter, e.Exporter),
			same("authenticator", k.authenticator, e.Authenticator),
			same("external", k.external, e.External),
			same("confirmation", k.confirmation, e.Confirmation),
			same("membership", k.membership, e.Membership),
			same("resumption", k.resumption, e.Resumption),
			same("external pub", pub, e.ExternalPub),
			same("export", cs.export(k.exporter, e.Export.Label, e.Export.Context, e.Export.Length), e.Export.Secret),
		)
		if err != nil {
			return fmt.Errorf("epoch %d: %w", i, err)
		}
		initSecret = k.init
	}
	return nil
}

type secretTreeCase struct {
	Suite      Suite `json:"cipher_suite"`
	SenderData struct {
		Secret     hexBytes `json:"sender_data_secret"`
		Ciphertext hexBytes
		Key, Nonce hexBytes
	} `json:"sender_data"`
	Encryption hexBytes `json:"encryption_secret"`
	Leaves     [][]struct {
		Generation       uint32
		HandshakeKey     hexBytes `json:"handshake_key"`
		HandshakeNonce   hexBytes `json:"handshake_nonce"`
		ApplicationKey   hexBytes `json:"application_key"`
		ApplicationNonce hexBytes `json:"application_nonce"`
	}
}

// checkSecretTree goes through the leaves from both ends, so that the order in
// which ratchets are derived does not matter.
func checkSecretTree(c *secretTreeCase) error {
	cs, err := suiteOf(c.Suite)
	if err != nil {
		return err
	}
	k := cs.senderDataKey(c.SenderData.Secret, c.SenderData.Ciphertext)
	if err := errors.Join(same("sender data key", k.key, c.SenderData.Key), same("sender data nonce", k.nonce, c.SenderData.Nonce)); err != nil {
		return err
	}
	t := newSecretTree(uint32(len(c.Leaves)), bytes.Clone(c.Encryption))
	for n := range c.Leaves {
		leaf := n / 2
		if n%2 == 1 {
			leaf = len(c.Leaves) - 1 - n/2
		}
		for _, g := range c.Leaves[leaf] {
			for kind, want := range map[uint8][2]hexBytes{
				contentCommit:      {g.HandshakeKey, g.HandshakeNonce},
				contentApplication: {g.ApplicationKey, g.ApplicationNonce},
			} {
				d, err := t.view(cs, uint32(leaf))
				if err != nil {
					return err
				}
				key, after, err := cs.ratchetOpen(*d.pair.of(kind), g.Generation, 1<<20, 10)
				if err != nil {
					return err
				}
				t.accept(d, kind, after)
				if err := errors.Join(same("key", key.key, want[0]), same("nonce", key.nonce, want[1])); err != nil {
					return fmt.Errorf("leaf %d generation %d: %w", leaf, g.Generation, err)
				}
			}
		}
	}
	if len(t.nodes) != 0 {
		return fmt.Errorf("%d tree secrets are left although all leaves are derived", len(t.nodes))
	}
	return nil
}

type pskSecretCase struct {
	Suite Suite `json:"cipher_suite"`
	PSKs  []struct {
		ID    hexBytes `json:"psk_id"`
		PSK   hexBytes `json:"psk"`
		Nonce hexBytes `json:"psk_nonce"`
	}
	Secret hexBytes `json:"psk_secret"`
}

func checkPSKSecret(c *pskSecretCase) error {
	cs, err := suiteOf(c.Suite)
	if err != nil {
		return err
	}
	var ids []pskID
	var psks [][]byte
	for _, p := range c.PSKs {
		ids = append(ids, pskID{kind: pskExternal, id: p.ID, nonce: p.Nonce})
		psks = append(psks, p.PSK)
	}
	have, err := cs.pskSecret(ids, func(pskID) ([]byte, error) {
		next := psks[0]
		psks = psks[1:]
		return next, nil
	})
	return errors.Join(err, same("psk secret", have, c.Secret))
}

type transcriptCase struct {
	Suite           Suite    `json:"cipher_suite"`
	ConfirmationKey hexBytes `json:"confirmation_key"`
	Content         hexBytes `json:"authenticated_content"`
	Before          hexBytes `json:"interim_transcript_hash_before"`
	Confirmed       hexBytes `json:"confirmed_transcript_hash_after"`
	After           hexBytes `json:"interim_transcript_hash_after"`
}

func checkTranscript(c *transcriptCase) error {
	cs, err := suiteOf(c.Suite)
	if err != nil {
		return err
	}
	a := new(authContent)
	if err := decode(c.Content, 1000, a.read); err != nil {
		return err
	}
	if a.content.kind != contentCommit || !cs.checkMAC(c.ConfirmationKey, c.Confirmed, a.auth.confirmationTag) {
		return errors.New("not a commit, or its confirmation tag is wrong")
	}
	return errors.Join(
		same("confirmed", cs.confirmedHash(c.Before, a), c.Confirmed),
		same("interim", cs.interimHash(c.Confirmed, a.auth.confirmationTag), c.After),
	)
}

type welcomeCase struct {
	Suite      Suite    `json:"cipher_suite"`
	InitPriv   hexBytes `json:"init_priv"`
	SignerPub  hexBytes `json:"signer_pub"`
	KeyPackage hexBytes `json:"key_package"`
	Welcome    hexBytes `json:"welcome"`
}

func checkWelcome(c *welcomeCase) error {
	cs, err := suiteOf(c.Suite)
	if err != nil {
		return err
	}
	kp, err := readMessage(c.KeyPackage, DefaultLimits())
	if err != nil {
		return err
	}
	w, err := readMessage(c.Welcome, DefaultLimits())
	if err != nil {
		return err
	}
	k := &keyPackagePrivate{suite: cs, kp: kp.keyPackage, ref: kp.keyPackage.ref(cs), init: c.InitPriv}
	secrets, err := w.welcome.openSecrets(k, 1000)
	if err != nil {
		return err
	}
	member := cs.memberSecret(secrets.joiner, cs.zero())
	gi, err := w.welcome.openGroupInfo(cs, member, 1000)
	if err != nil {
		return err
	}
	keys, _ := cs.enterEpoch(member, gi.context.encode())
	return errors.Join(
		gi.verify(cs, c.SignerPub),
		same("confirmation tag", cs.mac(keys.confirmation, gi.context.confirmed), gi.confirmationTag),
		kp.keyPackage.validate(cs),
	)
}

type messagesCase map[string]hexBytes

// checkMessages: every encoding is read and written back to the same bytes.
func checkMessages(c *messagesCase) error {
	structs := map[string]func() codec{
		"mls_welcome":                       func() codec { return new(message) },
		"mls_group_info":                    func() codec { return new(message) },
		"mls_key_package":                   func() codec { return new(message) },
		"ratchet_tree":                      nil,
		"group_secrets":                     func() codec { return new(groupSecrets) },
		"add_proposal":                      func() codec { return &bareProposal{kind: proposalAdd} },
		"update_proposal":                   func() codec { return &bareProposal{kind: proposalUpdate} },
		"remove_proposal":                   func() codec { return &bareProposal{kind: proposalRemove} },
		"pre_shared_key_proposal":           func() codec { return &bareProposal{kind: proposalPSK} },
		"re_init_proposal":                  func() codec { return &bareProposal{kind: proposalReInit} },
		"external_init_proposal":            func() codec { return &bareProposal{kind: proposalExternalInit} },
		"group_context_extensions_proposal": func() codec { return &bareProposal{kind: proposalContextExtensions} },
		"commit":                            func() codec { return new(commit) },
		"public_message_application":        func() codec { return new(message) },
		"public_message_proposal":           func() codec { return new(message) },
		"public_message_commit":             func() codec { return new(message) },
		"private_message":                   func() codec { return new(message) },
	}
	if len(structs) != len(*c) {
		return fmt.Errorf("%d fields, want %d", len(*c), len(structs))
	}
	for name, b := range *c {
		if name == "ratchet_tree" {
			tr, err := readTree(b, DefaultLimits())
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if err := same(name, tr.encode(), b); err != nil {
				return err
			}
			continue
		}
		x := structs[name]()
		if err := decode(b, 10000, x.read); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := same(name, encode(x.write), b); err != nil {
			return err
		}
	}
	return nil
}

// codec is what every wire structure of the package can do.
type codec interface {
	read(*reader)
	write(*writer)
}

// bareProposal is a proposal without its type in front.
type bareProposal struct {
	kind uint16
	p    proposal
}

func (x *bareProposal) read(r *reader) {
	whole := encode(func(w *writer) { w.u16(x.kind); w.raw(r.b) })
	inner := newReader(whole, r.items)
	x.p.read(inner)
	r.b, r.err = inner.b, inner.err
}

func (x *bareProposal) write(w *writer) { w.raw(encode(x.p.write)[2:]) }

// write is only needed here: the package itself writes each kind apart.
func (x *message) write(w *writer) {
	w.raw(writeMessage(x.wire, func(w *writer) {
		switch x.wire {
		case wirePublicMessage:
			x.public.write(w)
		case wirePrivateMessage:
			x.private.write(w)
		case wireWelcome:
			x.welcome.write(w)
		case wireGroupInfo:
			x.groupInfo.write(w)
		case wireKeyPackage:
			x.keyPackage.write(w)
		}
	}))
}
