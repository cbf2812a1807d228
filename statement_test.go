package sealpost

import (
	"crypto/rand"
	"testing"
)

func TestSmoke(t *testing.T) {
	k, _ := GenerateKey(EdDSA, rand.Reader)
	now := UnixMilli(1790000000000)
	id, _ := NewMessageID(now, rand.Reader)
	c := Commitment{ID: id, App: "bank", Transaction: "t1", Created: now, Expires: now + 60000, Canonicalization: 1, HashAlg: SHA256, Pattern: PatternA, Carriers: []Carrier{FCM}, LeastPrivacy: SealedBlob, Release: ReleaseLogged, LeastAssurance: AssuranceSoftware}
	p, err := NewPayload(&c, Content{Text: "code 123456", Fields: []Field{{Name: "code", Value: "123456"}}}, Sequence{Number: 1}, "otp", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := EncodePayload(p)
	if err != nil {
		t.Fatal(err)
	}
	q, err := DecodePayload(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Opens(c); err != nil {
		t.Fatal(err)
	}
	s, err := Sign(c, k)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(k.Public()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commitment(); err != nil {
		t.Fatal(err)
	}
	t.Logf("payload %d commitment %d %x", len(b), len(s.Bytes()), s.Bytes()[:60])
	e := PromiseEntry{Leaf: MakeLeaf(Salt{}, s.Bytes()), Statement: s.Hash()}
	ps, err := SignPromise([]PromiseEntry{e, e, e, e, e}, "log.example", now, 0, MergeDelay, k)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range ps {
		y, err := ParsePromised(x.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := y.Check(k.Public(), Salt{}, s.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	l, _ := GenerateKey(ES256, rand.Reader)
	pair := KeyPair("bank", Recipient{}, k.Public(), l.Public())
	s1, _ := k.Sign(pair)
	s2, _ := l.Sign(pair)
	ev, err := Sign(KeyEvent{Event: Enrol, Subject: SubjectDevice, App: "bank", Created: now, Key: k.Public(), Device: &DeviceKey{Leaf: l.Public(), ByKey: s1, ByLeaf: s2, Assurance: 1}, Challenge: make([]byte, 32)}, k)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ev.KeyEvent(); err != nil {
		t.Fatal(err)
	}
}
