package clienttest

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/mls"
)

// Recipients. Nobody has no device.
var (
	alice  = sealpost.Recipient(sha256.Sum256([]byte("alice")))
	bob    = sealpost.Recipient(sha256.Sum256([]byte("bob")))
	nobody = sealpost.Recipient(sha256.Sum256([]byte("nobody")))
)

// A world makes honest statements for a rig.
type world struct {
	*testing.T
	Rig
	group *mls.Group
}

func newWorld(t *testing.T, r Rig) *world {
	t.Helper()
	w := &world{T: t, Rig: r}
	var seed [32]byte
	_, err := rand.Read(seed[:])
	w.must(err)
	signer, err := mls.NewEd25519Signer(seed[:])
	w.must(err)
	w.group, err = mls.Create(mls.X25519AES128, []byte("group"), mls.BasicCredential([]byte(r.App)), signer, anyLeaf{}, mls.DefaultPolicy())
	w.must(err)
	return w
}

// anyLeaf accepts every leaf: nobody opens what this group seals.
type anyLeaf struct{}

func (anyLeaf) Validate(mls.Credential, []byte) error { return nil }
func (anyLeaf) Successor(_, _ mls.Credential) error   { return nil }

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// refused wants a problem of one type, and a Problem.
func (w *world) refused(what string, err error, want *api.Problem) {
	w.Helper()
	if p, typed := errors.AsType[*api.Problem](err); !typed || !p.Is(want) {
		w.Errorf("%s: %v, want the problem %q", what, err, want.Title)
	}
}

// verdicts wants one verdict for each item, in order; a nil problem is an
// accepted item, the pair of which is exactly one.
func (w *world) verdicts(what string, got []api.Verdict, want ...*api.Problem) {
	w.Helper()
	if len(got) != len(want) {
		w.Fatalf("%s: %d verdicts on %d items", what, len(got), len(want))
	}
	for i, v := range got {
		switch {
		case (v.Accepted == nil) == (v.Problem == nil):
			w.Errorf("%s, item %d: accepted %v and problem %v, want exactly one", what, i, v.Accepted, v.Problem)
		case want[i] == nil && v.Problem != nil:
			w.Errorf("%s, item %d: %v", what, i, v.Problem)
		case want[i] != nil && (v.Problem == nil || !v.Problem.Is(want[i])):
			w.Errorf("%s, item %d: %v, want the problem %q", what, i, v.Problem, want[i].Title)
		}
	}
}

// promised checks the relay's promise of a statement.
func (w *world) promised(what string, salt, promise, statement []byte) {
	w.Helper()
	p, err := sealpost.ParsePromised(promise)
	if err == nil && len(salt) != len(sealpost.Salt{}) {
		err = errors.New("a salt of another size")
	}
	if err == nil {
		_, err = p.Check(w.Relay, sealpost.Salt(salt), statement)
	}
	if err != nil {
		w.Errorf("%s: its promise: %v", what, err)
	}
}

func (w *world) newKey() *sealpost.PrivateKey {
	w.Helper()
	k, err := sealpost.GenerateKey(sealpost.EdDSA, rand.Reader)
	w.must(err)
	return k
}

func (w *world) sign(s sealpost.Statement, by sealpost.Signer) []byte {
	w.Helper()
	signed, err := sealpost.Sign(s, by)
	w.must(err)
	return signed.Bytes()
}

// A phone is a device with its keys and its end of the relay.
type phone struct {
	Device
	key, leaf *sealpost.PrivateKey
	id        sealpost.KeyID
	recipient sealpost.Recipient
	invited   api.Invited
	event     []byte // that enrolled it
}

func (w *world) newPhone(r sealpost.Recipient) *phone {
	p := &phone{key: w.newKey(), leaf: w.newKey(), recipient: r}
	p.id, p.Device = p.key.Public().ID(), w.Device(p.key)
	return p
}

// lastResort makes a KeyPackage of last resort of a phone.
func (w *world) lastResort(p *phone) []byte {
	w.Helper()
	signer, err := mls.NewEd25519Signer(p.leaf.Seed())
	w.must(err)
	pkg, _, err := mls.NewKeyPackage(mls.X25519AES128, mls.BasicCredential(p.id[:]), signer, mls.KeyPackageOptions{NotAfter: 1 << 40, LastResort: true})
	w.must(err)
	return pkg
}

func (w *world) invite(r sealpost.Recipient) api.Invited {
	w.Helper()
	hash := sha256.Sum256([]byte("secret"))
	in, err := w.Sender.Invite(w.Context(), api.Invitation{Recipient: r[:], SecretHash: hash[:]})
	w.must(err)
	return in
}

// answerTo is a phone's honest answer to an invitation.
func (w *world) answerTo(in api.Invited, p *phone) api.Answer {
	w.Helper()
	pair := sealpost.KeyPair(w.App, p.recipient, p.key.Public(), p.leaf.Public())
	byKey, err := p.key.Sign(pair)
	w.must(err)
	byLeaf, err := p.leaf.Sign(pair)
	w.must(err)
	return api.Answer{ID: in.ID, Key: p.key.Public().COSE(), Leaf: p.leaf.Public().COSE(), ByKey: byKey, ByLeaf: byLeaf,
		Assurance: sealpost.AssuranceSoftware, MAC: make([]byte, 32), KeyPackages: []api.Bytes{[]byte("first"), []byte("second")},
		Endpoints: []api.DeviceEndpoint{{Carrier: sealpost.FCM, Kind: sealpost.EndpointFCMToken, Value: "token"}}}
}

// enrolEvent is the sender's event over a phone's answer.
func (w *world) enrolEvent(in api.Invited, p *phone) sealpost.KeyEvent {
	w.Helper()
	a := w.answerTo(in, p)
	return sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectDevice, App: w.App, Created: w.Now(), Key: p.key.Public(),
		Challenge: in.Challenge, Device: &sealpost.DeviceKey{Recipient: p.recipient, Leaf: p.leaf.Public(), ByKey: a.ByKey, ByLeaf: a.ByLeaf,
			Assurance: sealpost.AssuranceSoftware}}
}

// enrol takes a phone through its whole enrolment.
func (w *world) enrol(r sealpost.Recipient) *phone {
	w.Helper()
	p := w.newPhone(r)
	p.invited = w.invite(r)
	w.must(p.Answer(w.Context(), w.answerTo(p.invited, p)))
	p.event = w.sign(w.enrolEvent(p.invited, p), w.Key)
	_, err := w.Sender.PostKeyEvent(w.Context(), p.event)
	w.must(err)
	w.Until(func() error {
		_, err := p.Enrolment(w.Context())
		return err
	})
	return p
}

func (w *world) revokeEvent(p *phone) []byte {
	w.Helper()
	return w.sign(sealpost.KeyEvent{Event: sealpost.Revoke, Subject: sealpost.SubjectDevice, App: w.App, Created: w.Now(), Key: p.key.Public()}, w.Key)
}

// A draft is a submission before it is signed, for tests to spoil.
type draft struct {
	sealpost.Commitment
	by      sealpost.Signer
	commits [][]byte // in the envelope
}

// message seals an honest message, or one that is spoiled before it is signed. It
// is released when it is held.
func (w *world) message(r sealpost.Recipient, spoil ...func(*draft)) sealpost.Sealed {
	w.Helper()
	now := w.Now()
	id, err := sealpost.NewMessageID(now, rand.Reader)
	w.must(err)
	d := draft{by: w.Key, Commitment: sealpost.Commitment{ID: id, App: w.App, Transaction: "t-1", Created: now, Expires: now.Add(time.Hour),
		Canonicalization: sealpost.Canonicalization, Recipient: r, HashAlg: sealpost.SHA256, Roster: sealpost.Hash{7},
		Pattern: sealpost.PatternA, Carriers: []sealpost.Carrier{sealpost.FCM}, LeastPrivacy: sealpost.SealedBlob,
		Release: sealpost.ReleaseHeld, LeastAssurance: sealpost.AssuranceSoftware}}
	for _, s := range spoil {
		s(&d)
	}
	_, err = sealpost.NewPayload(&d.Commitment, sealpost.Content{Text: "Your code is 123456"}, sealpost.Sequence{Number: 1}, "otp", rand.Reader)
	w.must(err)
	message, err := w.group.Protect(d.AAD(), make([]byte, 600))
	w.must(err)
	blob, err := sealpost.EncodeEnvelope(sealpost.Envelope{Commits: d.commits, Message: message})
	w.must(err)
	d.Blob = sha256.Sum256(blob)
	signed, err := sealpost.Sign(d.Commitment, d.by)
	w.must(err)
	sealed, err := sealpost.NewSealed(signed, blob)
	w.must(err)
	return sealed
}

// send submits an honest message.
func (w *world) send(r sealpost.Recipient) (sealpost.Sealed, *api.Accepted) {
	w.Helper()
	s := w.message(r)
	got := w.Sender.Submit(w.Context(), []sealpost.Sealed{s})
	w.verdicts("an honest message", got, nil)
	if w.Failed() {
		w.FailNow()
	}
	return s, got[0].Accepted
}

// receiptOf is a phone's receipt for a message, or one that is spoiled before it is
// signed.
func (w *world) receiptOf(s sealpost.Sealed, p *phone, level sealpost.Level, spoil ...func(*sealpost.Receipt)) []byte {
	w.Helper()
	c := s.Commitment()
	r := sealpost.Receipt{ID: c.ID, Commitment: s.Statement().Hash(), Blob: c.Blob, Roster: c.Roster, Level: level, Key: p.id, DeviceTime: w.Now()}
	if level.Positive() {
		r.Opened = make([]byte, 32)
	}
	for _, s := range spoil {
		s(&r)
	}
	return w.sign(r, p.key)
}
