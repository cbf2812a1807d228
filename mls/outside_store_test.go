package mls_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/sealpost/sealpost/mls"
	"github.com/sealpost/sealpost/mls/mlstest"
)

type anybody struct{}

func (anybody) Validate(mls.Credential, []byte) error { return nil }
func (anybody) Successor(_, _ mls.Credential) error   { return errors.New("another name") }

// TestNewGroupsAreStored: a group that an outsider enters, that follows another or
// branches off it is in its store when the call returns; where the call fails,
// nothing is.
func TestNewGroupsAreStored(t *testing.T) {
	signer := func(seed byte) mls.Signer {
		sg, err := mls.NewEd25519Signer(bytes.Repeat([]byte{seed}, 32))
		check(err)
		return sg
	}
	bankKey, phoneKey := signer(1), signer(2)
	bankName, phoneName := mls.BasicCredential([]byte("bank")), mls.BasicCredential([]byte("phone"))
	policy := mls.DefaultPolicy()
	policy.AllowExternal = true
	create := func() *mls.Group {
		g, err := mls.Create(mls.X25519AES128, []byte("group"), bankName, bankKey, anybody{}, policy)
		check(err)
		return g
	}
	pub, secrets, err := mls.NewKeyPackage(mls.X25519AES128, phoneName, phoneKey, mls.KeyPackageOptions{NotAfter: 1 << 40})
	check(err)
	pair := func() (bank, phone *mls.Group) {
		bank = create()
		staged, err := bank.Add(pub)
		check(err)
		check(bank.Apply(staged))
		phone, err = mls.Join(staged.Welcome, secrets, phoneKey, anybody{}, policy)
		check(err)
		return bank, phone
	}
	closed := func() (bank, phone *mls.Group) {
		bank, phone = pair()
		staged, err := bank.Commit(mls.CommitOptions{Proposals: []mls.Proposal{mls.ReInitProposal([]byte("next"), mls.X25519AES128, nil)}})
		check(err)
		check(bank.Apply(staged))
		ev, err := phone.Process(staged.Commit)
		check(err)
		check(phone.Apply(ev.(*mls.Staged)))
		return bank, phone
	}
	external := func(p mls.Policy) (*mls.Group, error) {
		gi, err := create().GroupInfo(mls.GroupInfoOptions{External: true})
		check(err)
		g, commit, err := mls.ExternalJoin(gi, nil, phoneName, phoneKey, anybody{}, p, mls.ExternalOptions{})
		if (err == nil) != (g != nil && commit != nil) {
			t.Errorf("%v %d bytes, %v", g, len(commit), err)
		}
		return g, err
	}
	from := func(g *mls.Group, welcome []byte, err error) (*mls.Group, error) {
		if (err == nil) != (g != nil && welcome != nil) {
			t.Errorf("%v %d bytes, %v", g, len(welcome), err)
		}
		return g, err
	}
	others := mls.ResumeOptions{KeyPackages: [][]byte{pub}}
	wrong := mls.ResumeOptions{KeyPackages: [][]byte{pub, pub}}
	for name, c := range map[string]struct {
		sg   mls.Signer
		make func(p mls.Policy) (*mls.Group, error)
	}{
		"an outsider": {phoneKey, external},
		"a reinit": {bankKey, func(p mls.Policy) (*mls.Group, error) {
			bank, _ := closed()
			if _, err := from(bank.ReInit(bankName, bankKey, anybody{}, p, wrong)); err == nil {
				t.Error("one member twice in the group that follows")
			} else if records, _ := p.Store.Load(); len(records) > 0 {
				t.Error("what failed is in the store")
			}
			return from(bank.ReInit(bankName, bankKey, anybody{}, p, others))
		}},
		"a branch": {bankKey, func(p mls.Policy) (*mls.Group, error) {
			bank, _ := pair()
			return from(bank.Branch([]byte("sub"), bankName, bankKey, anybody{}, p, others))
		}},
		"a joiner of what follows": {phoneKey, func(p mls.Policy) (*mls.Group, error) {
			bank, phone := closed()
			_, welcome, err := bank.ReInit(bankName, bankKey, anybody{}, policy, others)
			check(err)
			return mls.JoinFrom(phone, welcome, nil, secrets, phoneKey, anybody{}, p)
		}},
	} {
		store := new(mlstest.Memory)
		p := policy
		p.Store = store
		store.Fail = func(mls.Change) (bool, error) { return false, errors.New("disk full") }
		if g, err := c.make(p); err == nil || g != nil {
			t.Errorf("%s: made although it cannot be stored: %v", name, err)
		}
		if records, err := store.Load(); err != nil || len(records) > 0 {
			t.Errorf("%s: %d records of what failed: %v", name, len(records), err)
		}
		store.Fail = nil
		g, err := c.make(p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want, err := g.Marshal()
		check(err)
		again, err := mls.Load(c.sg, anybody{}, p)
		if err != nil {
			t.Fatalf("%s: load: %v", name, err)
		}
		if have, err := again.Marshal(); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s: the store holds another state: %v", name, err)
		}
		if again.Epoch() != 1 {
			t.Errorf("%s: epoch %d", name, again.Epoch())
		}
	}
}
