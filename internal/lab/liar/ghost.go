package liar

import (
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/mls"
)

// packageLife is how long before and after now the ghost's KeyPackages hold.
const packageLife = 24 * time.Hour

// A ghost is the operator's own device: keys that nobody enrolled, and every
// KeyPackage that was ever made of them, in the hope of a Welcome.
type ghost struct {
	now       func() time.Time
	key, leaf *sealpost.PrivateKey
	signer    mls.Signer

	mu      sync.Mutex
	secrets []*mls.KeyPackageSecrets
	groups  []*mls.Group
	opened  []string
}

func newGhost(now func() time.Time) (*ghost, error) {
	g := &ghost{now: now}
	var err error
	if g.key, err = sealpost.GenerateKey(sealpost.EdDSA, rand.Reader); err != nil {
		return nil, err
	}
	if g.leaf, err = sealpost.GenerateKey(sealpost.EdDSA, rand.Reader); err != nil {
		return nil, err
	}
	g.signer, err = mls.NewEd25519Signer(g.leaf.Seed())
	return g, err
}

func (g *ghost) id() sealpost.KeyID { return g.key.Public().ID() }

// pack makes a KeyPackage of the ghost's under somebody's name.
func (g *ghost) pack(name sealpost.KeyID) ([]byte, error) {
	o := mls.KeyPackageOptions{NotBefore: uint64(g.now().Add(-packageLife).Unix()), NotAfter: uint64(g.now().Add(packageLife).Unix())}
	public, secrets, err := mls.NewKeyPackage(mls.X25519AES128, mls.BasicCredential(name[:]), g.signer, o)
	if err != nil {
		return nil, fmt.Errorf("make a KeyPackage: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.secrets = append(g.secrets, secrets)
	return public, nil
}

// answers is the ghost's answer to an invitation. All of it is right but the
// MAC, which is made with all that the operator knows of the secret: its hash.
func (g *ghost) answers(id sealpost.EnrolmentID, app string, in api.Invitation, challenge [32]byte) (api.Answer, error) {
	recipient := sealpost.Recipient(in.Recipient)
	pair := sealpost.KeyPair(app, recipient, g.key.Public(), g.leaf.Public())
	byKey, err := g.key.Sign(pair)
	if err != nil {
		return api.Answer{}, err
	}
	byLeaf, err := g.leaf.Sign(pair)
	if err != nil {
		return api.Answer{}, err
	}
	pack, err := g.pack(g.id())
	if err != nil {
		return api.Answer{}, err
	}
	mac := sealpost.EnrolMAC([32]byte(in.SecretHash), challenge, recipient, g.key.Public(), g.leaf.Public())
	return api.Answer{ID: id, Key: g.key.Public().COSE(), Leaf: g.leaf.Public().COSE(), ByKey: byKey, ByLeaf: byLeaf,
		Assurance: sealpost.AssuranceSoftware, MAC: mac[:], KeyPackages: []api.Bytes{pack}}, nil
}

// read tries to open an envelope, in every group that the ghost is in and with
// every KeyPackage that it has.
func (g *ghost) read(blob []byte) {
	e, err := sealpost.ParseEnvelope(blob)
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.secrets {
		joined, err := mls.Join(e.Welcome, s, g.signer, anybody{}, mls.DefaultPolicy())
		if err == nil {
			g.groups = append(g.groups, joined)
		}
	}
	for _, group := range g.groups {
		event, err := group.Process(e.Message)
		if err != nil {
			continue
		}
		if m, is := event.(mls.Application); is {
			g.opened = append(g.opened, textIn(m.Plaintext))
		}
	}
}

// textIn is what a payload says, and the bytes as they are where it is none.
func textIn(plaintext []byte) string {
	p, err := sealpost.DecodePayload(plaintext)
	if err != nil {
		return string(plaintext)
	}
	return p.Content.Text
}

func (g *ghost) texts() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.opened)
}

// anybody may be in a group, as far as a ghost cares.
type anybody struct{}

// Validate takes every leaf.
func (anybody) Validate(mls.Credential, []byte) error { return nil }

// Successor lets every leaf follow another.
func (anybody) Successor(_, _ mls.Credential) error { return nil }
