package interop_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/sealpost/sealpost/mls"
)

// A member is a client of some engine, ours or a foreign one, which is about to
// enter a group or is in one. Everything it takes and gives is what goes over the
// wire, as whole MLSMessages.
type member interface {
	name() string
	identity() string
	keyPackage() ([]byte, error)
	create(groupID []byte) error
	join(welcome, tree []byte) error
	commit(c change) (sent, error)
	propose(c change) ([]byte, error) // the one proposal that c is
	process(msg []byte) (received, error)
	seal(aad, plaintext []byte) ([]byte, error)
	state() (view, error)
	export(label string, context []byte, n int) ([]byte, error)
	groupInfo() ([]byte, error)
	externalJoin(groupInfo []byte) (commit []byte, err error)
}

// A change is what a commit is to do. The empty one gives its sender new keys and
// takes up the proposals that were received.
type change struct {
	add        [][]byte // KeyPackages
	remove     []seat
	psk        []byte          // id of an external pre-shared key
	resumption uint64          // epoch whose resumption key is injected
	encrypted  bool            // theirs as a PrivateMessage; ours follow the policy
	received   bool            // the commit is of received proposals
	noPath     bool            // ours: no fresh keys
	update     bool            // ours: a proposal to update the own leaf
	leaf       mls.LeafOptions // ours
	extensions []mls.Extension // those of the group from now on
	reInit     *successor      // the group ends and goes on as another
	aad        []byte          // ours: of the commit
	noTree     bool            // the Welcome comes without the ratchet tree
}

// A successor is the group as which one goes on.
type successor struct {
	group []byte
	suite mls.Suite
}

// A seat is a member as others name it.
type seat struct {
	Leaf     uint32
	Identity string
}

// sent is what comes of a commit; the tree is for those who get a Welcome without.
type sent struct{ Commit, Welcome, Tree []byte }

// received is what a message turned out to be: application, proposal, commit.
// Removed says that it put its receiver out of the group.
type received struct {
	Kind           string
	Plaintext, AAD []byte
	Removed        bool
}

// view is what two members of one epoch must agree on. An engine that does not
// give its authenticator away says nothing about it.
type view struct {
	Epoch         uint64
	Authenticator []byte
}

// ours is a client of package mls.
type ours struct {
	who, id string
	suite   mls.Suite
	cred    mls.Credential
	signer  mls.Signer
	policy  mls.Policy
	psks    map[string][]byte // by id
	secrets *mls.KeyPackageSecrets
	group   *mls.Group
}

// newSigner has a fresh key of the client's suite.
func (o *ours) newSigner(t *testing.T) mls.Signer {
	t.Helper()
	_, signer, err := freshKey(o.suite)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// freshKey is a signature key of a suite, to certify and to sign with.
func freshKey(suite mls.Suite) (crypto.Signer, mls.Signer, error) {
	ec, ok := map[mls.Suite]struct {
		curve elliptic.Curve
		maker func([]byte) (mls.Signer, error)
	}{
		mls.P256AES128: {elliptic.P256(), mls.NewP256Signer},
		mls.P384AES256: {elliptic.P384(), mls.NewP384Signer},
		mls.P521AES256: {elliptic.P521(), mls.NewP521Signer},
	}[suite]
	if !ok {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		signer, err := mls.NewEd25519Signer(key.Seed())
		return key, signer, err
	}
	key, err := ecdsa.GenerateKey(ec.curve, rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	scalar, err := key.Bytes()
	if err != nil {
		return nil, nil, err
	}
	signer, err := ec.maker(scalar)
	return key, signer, err
}

// anybody is an authentication service that takes everybody at their word.
type anybody struct{}

func (anybody) Validate(mls.Credential, []byte) error { return nil }

func (anybody) Successor(_, _ mls.Credential) error { return nil }

func newOurs(t *testing.T, suite mls.Suite, who, identity string) *ours {
	t.Helper()
	policy := mls.DefaultPolicy()
	policy.Now = time.Now // both engines look at lifetimes
	policy.AllowExternal = true
	policy.PastResumption = 4
	psks := make(map[string][]byte)
	policy.PSK = func(id []byte) ([]byte, bool) { psk, ok := psks[string(id)]; return psk, ok }
	o := &ours{who: who, id: identity, suite: suite, cred: mls.BasicCredential([]byte(identity)), policy: policy, psks: psks}
	o.signer = o.newSigner(t)
	return o
}

// certify gives the client a key with a certificate of its own making. Who may be
// trusted is the authentication service's question, not this test's.
func (o *ours) certify(t *testing.T) {
	t.Helper()
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: o.who},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	key, signer, err := freshKey(o.suite)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	o.signer, o.cred = signer, mls.X509Credential(der)
}

func (o *ours) name() string     { return o.who }
func (o *ours) identity() string { return o.id }

func (o *ours) keyPackage() (pub []byte, err error) {
	now := uint64(time.Now().Unix())
	pub, o.secrets, err = mls.NewKeyPackage(o.suite, o.cred, o.signer,
		mls.KeyPackageOptions{NotBefore: now - 3600, NotAfter: now + 28*86400})
	return pub, err
}

func (o *ours) create(groupID []byte) (err error) {
	o.group, err = mls.Create(o.suite, groupID, o.cred, o.signer, anybody{}, o.stored())
	return err
}

func (o *ours) join(welcome, tree []byte) (err error) {
	o.group, err = mls.JoinWithTree(welcome, tree, o.secrets, o.signer, anybody{}, o.stored())
	return err
}

func (o *ours) commit(c change) (sent, error) {
	staged, err := o.stage(c)
	if err != nil {
		return sent{}, err
	}
	if err := o.group.Apply(staged); err != nil {
		return sent{}, err
	}
	tree, err := o.group.RatchetTree()
	return sent{staged.Commit, staged.Welcome, tree}, err
}

func (o *ours) stage(c change) (*mls.Staged, error) {
	return o.group.Commit(mls.CommitOptions{Proposals: c.ours(), NoPath: c.noPath, Leaf: c.leaf, WithoutTree: c.noTree, AAD: c.aad})
}

// ours spells a change for package mls.
func (c change) ours() (out []mls.Proposal) {
	for _, kp := range c.add {
		out = append(out, mls.AddProposal(kp))
	}
	for _, s := range c.remove {
		out = append(out, mls.RemoveProposal(s.Leaf))
	}
	if c.psk != nil {
		out = append(out, mls.ExternalPSKProposal(c.psk))
	}
	if c.resumption != 0 {
		out = append(out, mls.ResumptionPSKProposal(c.resumption))
	}
	if c.extensions != nil {
		out = append(out, mls.ContextExtensionsProposal(c.extensions))
	}
	if n := c.reInit; n != nil {
		out = append(out, mls.ReInitProposal(n.group, n.suite, nil))
	}
	if c.update {
		out = append(out, mls.UpdateProposal(c.leaf))
	}
	return out
}

func (o *ours) propose(c change) ([]byte, error) { return o.group.Propose(c.ours()[0]) }

func (o *ours) process(msg []byte) (received, error) {
	ev, err := o.group.Process(msg)
	if err != nil {
		return received{}, err
	}
	switch ev := ev.(type) {
	case mls.Application:
		return received{Kind: "application", Plaintext: ev.Plaintext, AAD: ev.AAD}, nil
	case mls.ProposalReceived:
		return received{Kind: "proposal"}, nil
	case *mls.Staged:
		err = o.group.Apply(ev)
	}
	return received{Kind: "commit", Removed: o.group.Removed()}, err
}

func (o *ours) groupInfo() ([]byte, error) {
	return o.group.GroupInfo(mls.GroupInfoOptions{External: true})
}

func (o *ours) externalJoin(groupInfo []byte) (commit []byte, err error) {
	var again mls.ExternalOptions
	if o.group != nil { // it was a member before
		leaf := o.group.OwnLeaf()
		again.Resync = &leaf
	}
	o.group, commit, err = mls.ExternalJoin(groupInfo, nil, o.cred, o.signer, anybody{}, o.stored(), again)
	return commit, err
}

func (o *ours) seal(aad, plaintext []byte) ([]byte, error) { return o.group.Protect(aad, plaintext) }

func (o *ours) state() (view, error) {
	return view{o.group.Epoch(), o.group.EpochAuthenticator()}, nil
}

func (o *ours) export(label string, context []byte, n int) ([]byte, error) {
	return o.group.Export(label, context, n)
}

// encrypt has handshakes go as PrivateMessages from now on.
func (o *ours) encrypt() error {
	o.policy.EncryptHandshake = true
	return o.restart()
}

// restart is what a crash leaves: the group as its store has it.
func (o *ours) restart() (err error) {
	o.group, err = mls.Load(o.signer, anybody{}, o.policy)
	return err
}

// reread is a restart by the other way, of a caller that stores for itself.
func (o *ours) reread() error {
	b, err := o.group.Marshal()
	if err != nil {
		return err
	}
	o.group, err = mls.Unmarshal(b, o.signer, anybody{}, o.stored())
	return err
}

// stored is the policy with an empty store, for a group that begins.
func (o *ours) stored() mls.Policy {
	o.policy.Store = make(memory)
	return o.policy
}

// memory is a store of one group.
type memory map[string][]byte

func (m memory) Save(c mls.Change) error {
	if c.Whole {
		clear(m)
	}
	for _, key := range c.Delete {
		delete(m, key)
	}
	for _, r := range c.Put {
		m[r.Key] = bytes.Clone(r.Data)
	}
	return nil
}

func (m memory) Load() (out []mls.Record, err error) {
	for key, data := range m {
		out = append(out, mls.Record{Key: key, Data: bytes.Clone(data)})
	}
	return out, nil
}

// seats lists the members of the group.
func (o *ours) seats() (out []seat) {
	for _, m := range o.group.Members() {
		out = append(out, seat{m.Leaf, string(m.Credential.Identity)})
	}
	return out
}

// theirs is a client of a foreign engine.
type theirs struct {
	p       *peer
	who, id string
}

func theirClient(t *testing.T, p *peer, suite mls.Suite, who, identity string) *theirs {
	t.Helper()
	x := &theirs{p, who, identity}
	if err := x.ask("client", request{"suite": suite, "identity": identity}, nil); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *theirs) name() string     { return x.who }
func (x *theirs) identity() string { return x.id }

func (x *theirs) ask(do string, q request, answer any) error {
	if q == nil {
		q = request{}
	}
	q["do"], q["who"] = do, x.who
	return x.p.ask(q, answer)
}

func (x *theirs) keyPackage() ([]byte, error) {
	var a struct{ KeyPackage []byte }
	err := x.ask("keyPackage", nil, &a)
	return a.KeyPackage, err
}

func (x *theirs) create(groupID []byte) error { return x.ask("create", request{"group": groupID}, nil) }

func (x *theirs) join(welcome, tree []byte) error {
	return x.ask("join", request{"welcome": welcome, "tree": tree}, nil)
}

func (x *theirs) commit(c change) (out sent, err error) {
	err = x.ask("commit", request{"proposals": c.theirs(), "encrypted": c.encrypted, "received": c.received, "withoutTree": c.noTree}, &out)
	return out, err
}

// theirs spells a change for a peer.
func (c change) theirs() []request {
	out := []request{}
	for _, kp := range c.add {
		out = append(out, request{"type": "add", "keyPackage": kp})
	}
	for _, s := range c.remove {
		out = append(out, request{"type": "remove", "leaf": s.Leaf, "identity": s.Identity})
	}
	if c.psk != nil {
		out = append(out, request{"type": "psk", "id": c.psk})
	}
	if c.resumption != 0 {
		out = append(out, request{"type": "resumption", "epoch": c.resumption})
	}
	if c.extensions != nil {
		out = append(out, request{"type": "extensions"})
	}
	if n := c.reInit; n != nil {
		out = append(out, request{"type": "reinit", "group": n.group, "suite": n.suite})
	}
	return out
}

func (x *theirs) propose(c change) ([]byte, error) {
	var a struct{ Message []byte }
	err := x.ask("propose", request{"proposal": c.theirs()[0], "encrypted": c.encrypted}, &a)
	return a.Message, err
}

// psk tells the engine a pre-shared key.
func (x *theirs) psk(id, secret []byte) error {
	return x.ask("psk", request{"id": id, "secret": secret}, nil)
}

func (x *theirs) groupInfo() ([]byte, error) {
	var a struct{ GroupInfo []byte }
	err := x.ask("groupInfo", nil, &a)
	return a.GroupInfo, err
}

func (x *theirs) externalJoin(groupInfo []byte) ([]byte, error) {
	var a struct{ Commit []byte }
	err := x.ask("externalJoin", request{"groupInfo": groupInfo}, &a)
	return a.Commit, err
}

func (x *theirs) askToJoin(groupInfo []byte) ([]byte, error) {
	var a struct{ Message []byte }
	err := x.ask("askToJoin", request{"groupInfo": groupInfo}, &a)
	return a.Message, err
}

func (x *theirs) process(msg []byte) (out received, err error) {
	err = x.ask("process", request{"message": msg}, &out)
	return out, err
}

func (x *theirs) seal(aad, plaintext []byte) ([]byte, error) {
	var a struct{ Message []byte }
	err := x.ask("seal", request{"aad": aad, "plaintext": plaintext}, &a)
	return a.Message, err
}

func (x *theirs) state() (out view, err error) {
	err = x.ask("state", nil, &out)
	return out, err
}

func (x *theirs) export(label string, context []byte, n int) ([]byte, error) {
	var a struct{ Secret []byte }
	err := x.ask("export", request{"label": label, "context": context, "length": n}, &a)
	return a.Secret, err
}
