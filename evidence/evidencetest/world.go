// Package evidencetest makes bundles without a server: a sender, its relay, a
// log in memory, two devices and one message whose story a test may spoil at
// any step. Everything follows from fixed seeds, so that the same story gives
// the same bytes.
//
// It panics where its own set-up is wrong. It is for tests and for the
// generator of spec/vectors.
package evidencetest

import (
	"crypto/sha256"
	"io"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
)

// Start is when the story begins.
const Start sealpost.UnixMilli = 1_790_000_000_000

// Origin is the name of the story's log.
const Origin = "log.sealpost.example/vectors"

// App is the story's tenant.
const App = "bank.example"

// A Device is one phone of the story.
type Device struct {
	Key, Leaf sealpost.Signer
	Assurance sealpost.Assurance
}

// An Entry is one statement of the story as it was logged.
type Entry struct {
	Signed  sealpost.Signed
	Salt    sealpost.Salt
	Promise []byte
	Index   uint64
}

// A World is the story of one message. Change its fields, then call Tell.
type World struct {
	Sender, Relay sealpost.Signer
	Devices       []Device
	Recipient     sealpost.Recipient
	HashAlg       sealpost.HashAlg
	Content       sealpost.Content
	Log           *Log

	// Steps are what happens, in the log's order. Honest is the default.
	Steps []string
	// Edit changes a step's statement before it is signed.
	Edit map[string]func(sealpost.Statement) sealpost.Statement
	// By has another key sign a step.
	By map[string]sealpost.Signer
	// Spoil changes a step's bytes after they are signed and before they are
	// logged; they must still parse.
	Spoil map[string]func([]byte)
	// Accepted is when the relay says that it accepted a step.
	Accepted map[string]sealpost.UnixMilli

	Message sealpost.MessageID
	Roster  sealpost.Roster
	Payload sealpost.Payload
	Entries map[string]Entry

	draft      sealpost.Commitment
	commitment sealpost.Hash
	random     io.Reader
}

// Honest are the steps of a message that is delivered to both devices and acted
// on upon the first.
var Honest = []string{"enrol-sender", "enrol-0", "enrol-1", "noise", "commitment", "attempt-0", "handed_over-0", "decrypted-0",
	"attempt-1", "decrypted-1", "outcome", "displayed-0", "acted-0", "noise"}

// New sets the scene: an Ed25519 sender and relay, one device with Ed25519 and
// one with ES256 keys.
func New() *World {
	w := &World{Log: NewLog(Origin, 9), HashAlg: sealpost.SHA256, Steps: slices.Clone(Honest),
		Edit: map[string]func(sealpost.Statement) sealpost.Statement{}, By: map[string]sealpost.Signer{}, Spoil: map[string]func([]byte){}, Accepted: map[string]sealpost.UnixMilli{}, Entries: map[string]Entry{},
		random: rand.NewChaCha8([32]byte{1: 's', 2: 'e', 3: 'a', 4: 'l'}),
		Content: sealpost.Content{Text: "Pay 12.00 EUR to Example Shop? Code 493817",
			Fields: []sealpost.Field{{Name: "amount", Value: "12.00 EUR"}, {Name: "payee", Value: "Example Shop"}, {Name: "code", Value: "493817"}}}}
	w.Sender, w.Relay = Key(sealpost.EdDSA, 1), Key(sealpost.EdDSA, 2)
	w.Devices = []Device{
		{Key(sealpost.EdDSA, 3), Key(sealpost.EdDSA, 4), sealpost.AssuranceSoftware},
		{Key(sealpost.ES256, 5), Key(sealpost.ES256, 6), sealpost.AssuranceSoftware},
	}
	w.Recipient = sealpost.Recipient(sha256.Sum256([]byte("recipient")))
	var err error
	w.Message, err = sealpost.NewMessageID(Start, w.random)
	check(err)
	return w
}

// Key is a key from a seed.
func Key(alg sealpost.Alg, seed byte) *sealpost.PrivateKey {
	k, err := sealpost.NewPrivateKey(alg, fill(seed))
	check(err)
	return k
}

// Tell runs the steps: each statement is made, signed, promised where a client
// posts it, and logged.
func (w *World) Tell() *World {
	w.seal()
	for i, step := range w.Steps {
		if step == "noise" {
			w.Log.Append(slices.Concat([]byte{sealpost.LeafVersion}, w.draw(32)))
			continue
		}
		st, by := w.make(step)
		if edit := w.Edit[step]; edit != nil {
			st = edit(st)
		}
		if other := w.By[step]; other != nil {
			by = other
		}
		signed, err := sealpost.Sign(st, by)
		check(err)
		if spoil := w.Spoil[step]; spoil != nil {
			raw := signed.Bytes()
			spoil(raw)
			signed, err = sealpost.Parse(raw)
			check(err)
		}
		accepted, told := w.Accepted[step]
		if !told {
			accepted = Start + sealpost.UnixMilli(i)*100
		}
		w.Add(step, signed, accepted)
	}
	return w
}

// Add logs a statement under a name.
func (w *World) Add(name string, signed sealpost.Signed, accepted sealpost.UnixMilli) {
	e := Entry{Signed: signed, Salt: sealpost.Salt(w.draw(32))}
	leaf := sealpost.MakeLeaf(e.Salt, signed.Bytes())
	switch signed.Kind() {
	case sealpost.KindCommitment, sealpost.KindReceipt, sealpost.KindKeyEvent:
		e.Promise = w.promise(signed, leaf, accepted)
	}
	e.Index = w.Log.Append(leaf[:])
	w.Entries[name] = e
	if name == "commitment" {
		w.commitment = signed.Hash()
	}
}

// Relog puts the same statements into a new log in another order, without
// promises.
func (w *World) Relog(order ...string) {
	w.Log = NewLog(Origin, 9)
	for _, name := range order {
		e := w.Entries[name]
		leaf := sealpost.MakeLeaf(e.Salt, e.Signed.Bytes())
		e.Index, e.Promise = w.Log.Append(leaf[:]), nil
		w.Entries[name] = e
	}
}

// promise signs a group of three entries, of which the statement is the second.
func (w *World) promise(signed sealpost.Signed, leaf sealpost.Leaf, accepted sealpost.UnixMilli) []byte {
	entry := sealpost.PromiseEntry{Leaf: leaf, Statement: signed.Hash()}
	if c, err := signed.Commitment(); err == nil {
		entry.OutcomeBy = int64(c.Expires.Add(sealpost.OutcomeGrace))
	}
	other := sealpost.PromiseEntry{Leaf: sealpost.Leaf(slices.Concat([]byte{sealpost.LeafVersion}, w.draw(32))), Statement: sealpost.Hash(w.draw(32))}
	all, err := sealpost.SignPromise([]sealpost.PromiseEntry{other, entry, other}, Origin, accepted, w.Log.Size(), sealpost.MergeDelay, w.Relay)
	check(err)
	return all[1].Encode()
}

// Later is a promise that the relay signs for something else, at a time and
// with the size of the log then.
func (w *World) Later(accepted sealpost.UnixMilli, size uint64) []byte {
	all, err := sealpost.SignPromise([]sealpost.PromiseEntry{{Statement: sealpost.Hash{1}}}, Origin, accepted, size, sealpost.MergeDelay, w.Relay)
	check(err)
	return all[0].Signed
}

// Dropped is a story in which the relay promised to log the commitment and did
// not: the log goes on with other leaves, 13 in all. The bundle is the sender's.
func Dropped() (*World, *evidence.Bundle) {
	w := New()
	w.Devices = w.Devices[:1]
	w.Steps = []string{"enrol-0", "noise", "noise", "commitment"}
	w.Accepted["commitment"] = Start
	w.Tell()
	x := w.Exhibit("commitment")
	x.Proof = nil
	w.Log = w.Log.Fork(w.Entries["commitment"].Index)
	for range 10 {
		w.Log.Append(slices.Concat([]byte{sealpost.LeafVersion}, w.draw(32)))
	}
	b := &evidence.Bundle{Version: evidence.Version, ID: w.Message, Rosters: [][]byte{w.Roster.Encode()}, Exhibits: []evidence.Exhibit{w.Exhibit("enrol-0"), x}}
	b.Span = w.Log.Span(3, 13)
	b.Span.Later = w.Later(Start+sealpost.UnixMilli(sealpost.MergeDelay.Milliseconds())+1, 13)
	return w, b
}

func (w *World) draw(n int) []byte {
	b := make([]byte, n)
	_, err := io.ReadFull(w.random, b)
	check(err)
	return b
}

// blob stands for the envelope; a judge sees its hash only.
var blob = sha256.Sum256([]byte("sealed envelope"))

// seal drafts the commitment with its payload and roster.
func (w *World) seal() {
	members := []sealpost.RosterMember{{Leaf: w.Sender.Public().Bytes(), Device: w.Sender.Public().ID()}}
	for _, d := range w.Devices {
		members = append(members, sealpost.RosterMember{Leaf: d.Leaf.Public().Bytes(), Device: d.Key.Public().ID()})
	}
	w.Roster = sealpost.NewRoster([]byte("group"), 3, fill(7), members)
	w.draft = sealpost.Commitment{ID: w.Message, App: App, Transaction: "txn-4711", Created: Start, Expires: Start + 300_000,
		Canonicalization: sealpost.Canonicalization, Recipient: w.Recipient, HashAlg: w.HashAlg, Blob: blob, Roster: w.Roster.Digest(),
		Pattern: sealpost.PatternA, Carriers: []sealpost.Carrier{sealpost.FCM}, LeastPrivacy: sealpost.SealedBlob,
		Release: sealpost.ReleaseLogged, LeastAssurance: sealpost.AssuranceSoftware}
	var err error
	w.Payload, err = sealpost.NewPayload(&w.draft, w.Content, sealpost.Sequence{Number: 1}, "payment", w.random)
	check(err)
}

// make is the honest statement of a step and who signs it.
func (w *World) make(step string) (sealpost.Statement, sealpost.Signer) {
	name, i := step, 0
	if n := len(step); step[n-2] == '-' {
		name, i = step[:n-2], int(step[n-1]-'0')
	}
	switch name {
	case "enrol-sender":
		return sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectSender, App: App, Created: Start, Key: w.Sender.Public()}, w.Sender
	case "revoke-sender":
		return sealpost.KeyEvent{Event: sealpost.Revoke, Subject: sealpost.SubjectSender, App: App, Created: Start, Key: w.Sender.Public()}, w.Sender
	case "enrol":
		return w.enrol(w.Devices[i]), w.Sender
	case "revoke":
		return sealpost.KeyEvent{Event: sealpost.Revoke, Subject: sealpost.SubjectDevice, App: App, Created: Start, Key: w.Devices[i].Key.Public()}, w.Sender
	case "commitment":
		c := w.draft
		c.NotBefore = sealpost.Head{Size: w.Log.Size(), Root: w.Log.Root(w.Log.Size())}
		return c, w.Sender
	case "attempt":
		id, err := sealpost.NewAttemptID(Start+1000, w.random)
		check(err)
		return sealpost.Attempt{Attempt: id, ID: w.Message, Commitment: w.commitment, Device: w.Devices[i].Key.Public().ID(), Carrier: sealpost.FCM,
			Number: 1, Started: Start + 1000, Ended: Start + 1100, Result: sealpost.Accepted, Code: "200"}, w.Relay
	case "claim":
		return sealpost.CarrierClaim{ID: w.Message, Attempt: sealpost.AttemptID(w.Message), Carrier: sealpost.FCM, Claim: sealpost.ClaimDelivered,
			Received: Start + 1500, Raw: sha256.Sum256([]byte("raw"))}, w.Relay
	case "outcome":
		return w.outcome(), w.Relay
	case "outcome-again":
		o := w.outcome()
		o.Decided++
		return o, w.Relay
	}
	return w.receipt(name, w.Devices[i]), w.Devices[i].Key
}

func (w *World) enrol(d Device) sealpost.KeyEvent {
	pair := sealpost.KeyPair(App, w.Recipient, d.Key.Public(), d.Leaf.Public())
	byKey, err := d.Key.Sign(pair)
	check(err)
	byLeaf, err := d.Leaf.Sign(pair)
	check(err)
	return sealpost.KeyEvent{Event: sealpost.Enrol, Subject: sealpost.SubjectDevice, App: App, Created: Start, Key: d.Key.Public(), Challenge: fill(8),
		Device: &sealpost.DeviceKey{Recipient: w.Recipient, Leaf: d.Leaf.Public(), ByKey: byKey, ByLeaf: byLeaf, Assurance: d.Assurance}}
}

// Levels of receipts by the names of their steps.
var levels = map[string]sealpost.Level{"handed_over": sealpost.HandedOver, "decrypted": sealpost.Decrypted, "displayed": sealpost.Displayed,
	"acted": sealpost.Acted, "mismatch": sealpost.Mismatch, "gap": sealpost.Gap, "decrypt-failed": sealpost.DecryptFailed}

func (w *World) receipt(name string, d Device) sealpost.Receipt {
	level, known := levels[name]
	if !known {
		panic("evidencetest: no step " + name)
	}
	key := d.Key.Public().ID()
	r := sealpost.Receipt{ID: w.Message, Commitment: w.commitment, Blob: blob, Roster: w.Roster.Digest(), Level: level, Key: key,
		DeviceTime: Start + 2000, Checkpoint: string(w.Log.Checkpoint(w.Log.Size()))}
	if level.Positive() {
		opened := sealpost.Opened(w.Payload.R, w.commitment, key, level)
		r.Opened = opened[:]
	}
	switch level {
	case sealpost.Mismatch:
		r.Reason = sealpost.ReasonCommitment
	case sealpost.DecryptFailed:
		r.Reason, r.Roster = sealpost.ReasonState, sealpost.Hash{}
	case sealpost.Gap:
		r.Reason = sealpost.ReasonMissing
	case sealpost.HandedOver:
		r.Roster = sealpost.Hash{}
	}
	return r
}

// outcome counts what is logged so far.
func (w *World) outcome() sealpost.Outcome {
	o := sealpost.Outcome{ID: w.Message, Commitment: w.commitment, End: sealpost.Undeliverable, Decided: Start + 3000,
		Attempts: []sealpost.Hash{}, Claims: []sealpost.Hash{}, Receipts: []sealpost.Hash{}}
	for _, e := range w.Entries {
		h := e.Signed.Hash()
		switch e.Signed.Kind() {
		case sealpost.KindAttempt:
			o.Attempts = append(o.Attempts, h)
		case sealpost.KindCarrierClaim:
			o.Claims = append(o.Claims, h)
		case sealpost.KindReceipt:
			o.Receipts = append(o.Receipts, h)
			if r, err := e.Signed.Receipt(); err == nil && r.Level.Positive() {
				o.End = sealpost.Delivered
			} else if err == nil && r.Level.Negative() && o.End != sealpost.Delivered {
				o.End = sealpost.Refused
			}
		}
	}
	for _, list := range [][]sealpost.Hash{o.Attempts, o.Claims, o.Receipts} {
		slices.SortFunc(list, func(a, b sealpost.Hash) int { return slices.Compare(a[:], b[:]) })
	}
	return o
}

// Exhibit is an entry with its proof under the newest checkpoint.
func (w *World) Exhibit(name string) evidence.Exhibit {
	e, ok := w.Entries[name]
	if !ok {
		panic("evidencetest: no entry " + name)
	}
	return evidence.Exhibit{Statement: e.Signed.Bytes(), Salt: e.Salt, Promise: e.Promise, Proof: w.Log.Prove(e.Index, w.Log.Size())}
}

// Bundle holds every entry but those named, and the roster.
func (w *World) Bundle(without ...string) *evidence.Bundle {
	b := &evidence.Bundle{Version: evidence.Version, ID: w.Message, Rosters: [][]byte{w.Roster.Encode()}}
	for _, name := range slices.Sorted(maps.Keys(w.Entries)) {
		if !slices.Contains(without, name) {
			b.Exhibits = append(b.Exhibits, w.Exhibit(name))
		}
	}
	return b
}

// Policy trusts the world's log, relay and sender, wants no witness, and a
// message that was opened.
func (w *World) Policy() evidence.Policy {
	return evidence.Policy{LogKey: w.Log.Key(), RelayKeys: []sealpost.PublicKey{w.Relay.Public()},
		Senders:        []evidence.Sender{{App: App, Key: w.Sender.Public()}},
		LeastAssurance: sealpost.AssuranceSoftware, Require: evidence.RequireDecrypted}
}
