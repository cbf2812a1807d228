package sealpost

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
)

// An Event is what happens to a key.
type Event uint8

// Events of keys.
const (
	Enrol Event = 1 + iota
	Revoke
)

// A Subject says whose key it is.
type Subject uint8

// Subjects of key events.
const (
	SubjectSender Subject = 1 + iota // the business's own signing key
	SubjectDevice                    // a device of one of its recipients
)

// A KeyEvent enrols or revokes a key. The sender signs it; for its own key the
// first one is signed by that key itself, and pinning it is the verifier's
// decision. A statement counts if its leaf lies after its key's enrol event
// and before its revocation: log order decides, never a clock.
type KeyEvent struct {
	Event     Event      `cbor:"1,keyasint"`
	Subject   Subject    `cbor:"2,keyasint"`
	App       string     `cbor:"3,keyasint"`
	Created   UnixMilli  `cbor:"4,keyasint"`
	Key       PublicKey  `cbor:"5,keyasint"`           // the signing key it is about
	Device    *DeviceKey `cbor:"6,keyasint,omitempty"` // of a device's enrol event
	Challenge []byte     `cbor:"7,keyasint,omitempty"` // 32 bytes: the single-use challenge of the enrolment
}

// A DeviceKey is what the enrol event of a device says beyond its signing key.
type DeviceKey struct {
	_         struct{} `cbor:",toarray"`
	Recipient Recipient
	Leaf      PublicKey // the device's MLS leaf signature key
	ByKey     []byte    // the signing key signs the pair
	ByLeaf    []byte    // the leaf key signs the pair
	Assurance Assurance
}

type pairInput struct {
	_         struct{} `cbor:",toarray"`
	Label     string
	App       string
	Recipient Recipient
	Key, Leaf PublicKey
}

// KeyPair is what the signing key and the MLS leaf key of a device each sign,
// so that neither can be claimed by another.
func KeyPair(app string, recipient Recipient, key, leaf PublicKey) []byte {
	return mustEncode(pairInput{Label: "sealpost/key-pair/v1", App: app, Recipient: recipient, Key: key, Leaf: leaf})
}

// EnrolMAC binds a device's keys to the enrolment secret that the sender gave
// its customer: HMAC-SHA256(T, "sealpost/enrol/v1" ‖ challenge ‖ recipient ‖
// keys), the keys as COSE_Keys (DESIGN section 11).
func EnrolMAC(secret, challenge [32]byte, recipient Recipient, key, leaf PublicKey) Hash {
	m := hmac.New(sha256.New, secret[:])
	m.Write([]byte("sealpost/enrol/v1"))
	m.Write(challenge[:])
	m.Write(recipient[:])
	m.Write(key.COSE())
	m.Write(leaf.COSE())
	return Hash(m.Sum(nil))
}

// Kind is KindKeyEvent.
func (KeyEvent) Kind() Kind { return KindKeyEvent }

func (e *KeyEvent) read(r *reader) {
	r.fields()
	r.field(1)
	e.Event = Event(r.uint8())
	r.field(2)
	e.Subject = Subject(r.uint8())
	r.field(3)
	e.App = r.text()
	r.field(4)
	e.Created = r.time()
	r.field(5)
	e.Key = r.publicKey()
	if r.has(6) {
		e.Device = new(DeviceKey)
		e.Device.read(r)
	}
	if r.has(7) {
		e.Challenge = r.some()
	}
}

func (d *DeviceKey) read(r *reader) {
	r.tuple(5)
	r.fixed(d.Recipient[:])
	d.Leaf = r.publicKey()
	d.ByKey = r.own()
	d.ByLeaf = r.own()
	d.Assurance = Assurance(r.uint8())
}

func (e KeyEvent) write(w *writer) {
	w.fields(5 + count(e.Device != nil, len(e.Challenge) > 0))
	w.field(1)
	w.uint8(uint8(e.Event))
	w.field(2)
	w.uint8(uint8(e.Subject))
	w.field(3)
	w.text(e.App)
	w.field(4)
	w.time(e.Created)
	w.field(5)
	w.publicKey(e.Key)
	if e.Device != nil {
		w.field(6)
		e.Device.write(w)
	}
	if len(e.Challenge) > 0 {
		w.field(7)
		w.bytes(e.Challenge)
	}
}

func (d *DeviceKey) write(w *writer) {
	w.tuple(5)
	w.bytes(d.Recipient[:])
	w.publicKey(d.Leaf)
	w.bytes(d.ByKey)
	w.bytes(d.ByLeaf)
	w.uint8(uint8(d.Assurance))
}

func (e KeyEvent) check() error {
	device := e.Subject == SubjectDevice && e.Event == Enrol
	if err := firstFault([]fault{
		{e.Event < Enrol || e.Event > Revoke, "event"},
		{e.Subject < SubjectSender || e.Subject > SubjectDevice, "subject"},
		{!isName(e.App), "app id"},
		{e.Key.IsZero(), "key: missing"},
		{device != (e.Device != nil), "device: present exactly where a device is enrolled"},
		{device != (len(e.Challenge) == 32), "challenge: 32 bytes exactly where a device is enrolled"},
	}); err != nil || e.Device == nil {
		return err
	}
	return e.Device.check(e.App, e.Key)
}

func (d *DeviceKey) check(app string, key PublicKey) error {
	if d.Leaf.IsZero() || d.Assurance < AssuranceSoftware || d.Assurance > AssuranceStrongBox {
		return malformed("device: leaf key or assurance")
	}
	pair := KeyPair(app, d.Recipient, key, d.Leaf)
	if err := key.Verify(pair, d.ByKey); err != nil {
		return fmt.Errorf("device: signing key over the pair: %w", err)
	}
	if err := d.Leaf.Verify(pair, d.ByLeaf); err != nil {
		return fmt.Errorf("device: leaf key over the pair: %w", err)
	}
	return nil
}
