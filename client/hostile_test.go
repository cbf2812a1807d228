package client

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/mls"
)

// A spoil changes one step of sealing, so that a test can make what an honest
// sender never would. Its zero value changes nothing.
type spoil struct {
	payload    func(*sealpost.Payload)    // after C was computed from it
	aad        func([]byte) []byte        // before it is sealed
	commitment func(*sealpost.Commitment) // before it is signed
	blob       func(*sealpost.Envelope)   // before its hash is taken
	key        sealpost.Signer            // instead of the sender's
}

// craft seals one code to a customer with a spoiled step and gives the push.
func (w *world) craft(customer string, s spoil) (sealpost.MessageID, []byte) {
	w.t.Helper()
	x := must(w.sender.open(w.ctx, w.sender.Recipient(customer)))(w.t)
	tpl := w.sender.templates[TemplateOTP]
	content := must(tpl.Render(map[string]string{"code": "483920"}))(w.t)
	c := must(x.draft(Message{}, tpl, sealpost.Head{}))(w.t)
	p := must(sealpost.NewPayload(&c, content, sealpost.Sequence{Number: x.sequence.Number + 1, Previous: x.sequence.Previous}, tpl.Name, rand.Reader))(w.t)
	if s.payload != nil {
		s.payload(&p)
	}
	roster := must(rosterOf(x.group))(w.t)
	c.Roster = roster.Digest()
	aad := c.AAD()
	if s.aad != nil {
		aad = s.aad(bytes.Clone(aad))
	}
	blob := must(x.protect(aad, must(sealpost.EncodePayload(p))(w.t)))(w.t)
	if s.blob != nil {
		e := must(sealpost.ParseEnvelope(blob))(w.t)
		s.blob(&e)
		blob = must(sealpost.EncodeEnvelope(e))(w.t)
	}
	c.Blob = sha256.Sum256(blob)
	if s.commitment != nil {
		s.commitment(&c)
	}
	by := sealpost.Signer(w.key)
	if s.key != nil {
		by = s.key
	}
	signed := must(sealpost.Sign(c, by))(w.t)
	sealed := must(sealpost.NewSealed(signed, blob))(w.t)
	err := w.store.Update(func(tx Tx) error {
		return errors.Join(save(tx, groupKey(x.recipient), x.record),
			save(tx, sequenceKey(x.recipient), sequenceRecord{p.Sequence.Number, signed.Hash()}),
			save(tx, messageKey(c.ID), messageRecord{Recipient: x.recipient, Statement: signed.Bytes(), Payload: must(sealpost.EncodePayload(p))(w.t),
				Roster: roster.Encode(), Group: x.group.GroupID(), Epoch: x.group.Epoch()}))
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return c.ID, sealed.Bytes()
}

// DESIGN section 12, Binding: everything that a device checks before it
// displays, spoiled one at a time under the sender's own signature. Nothing is
// shown, and the device signs why.
func TestDeviceChecks(t *testing.T) {
	cases := map[string]struct {
		spoil  spoil
		level  sealpost.Level
		reason sealpost.Reason
	}{
		"other text than committed":  {spoil{payload: func(p *sealpost.Payload) { p.Content.Text = "Your code is 000000." }}, sealpost.Mismatch, sealpost.ReasonCommitment},
		"other field than committed": {spoil{payload: func(p *sealpost.Payload) { p.Content.Fields[0].Value = "000000" }}, sealpost.Mismatch, sealpost.ReasonCommitment},
		"another opening":            {spoil{payload: func(p *sealpost.Payload) { p.R[0] ^= 1 }}, sealpost.Mismatch, sealpost.ReasonCommitment},
		"a field's opening":          {spoil{payload: func(p *sealpost.Payload) { p.Openings[0].R[0] ^= 1 }}, sealpost.Mismatch, sealpost.ReasonCommitment},
		"a slot":                     {spoil{payload: func(p *sealpost.Payload) { p.Slots[(p.Openings[0].Slot+1)%8][0] ^= 1 }}, sealpost.Mismatch, sealpost.ReasonCommitment},
		"another sequence number":    {spoil{payload: func(p *sealpost.Payload) { p.Sequence.Replica = 9 }}, sealpost.Mismatch, sealpost.ReasonCommitment},
		"C of the commitment":        {spoil{commitment: func(c *sealpost.Commitment) { c.C = bytes.Clone(c.C); c.C[0] ^= 1 }}, sealpost.Mismatch, sealpost.ReasonAAD},
		"field root":                 {spoil{commitment: func(c *sealpost.Commitment) { c.FieldRoot[0] ^= 1 }}, sealpost.Mismatch, sealpost.ReasonCommitment},
		"id inside":                  {spoil{aad: func(b []byte) []byte { b[0] ^= 1; return b }}, sealpost.Mismatch, sealpost.ReasonAAD},
		"C inside":                   {spoil{aad: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }}, sealpost.Mismatch, sealpost.ReasonAAD},
		"edited roster":              {spoil{commitment: func(c *sealpost.Commitment) { c.Roster[0] ^= 1 }}, sealpost.Mismatch, sealpost.ReasonRoster},
		"a stronger key wanted":      {spoil{commitment: func(c *sealpost.Commitment) { c.LeastAssurance = sealpost.AssuranceTEE }}, sealpost.Mismatch, sealpost.ReasonAssurance},
		"dropped Welcome":            {spoil{blob: func(e *sealpost.Envelope) { e.Welcome = nil }}, sealpost.DecryptFailed, sealpost.ReasonState},
		"damaged ciphertext":         {spoil{blob: func(e *sealpost.Envelope) { e.Message[len(e.Message)-1] ^= 1 }}, sealpost.DecryptFailed, sealpost.ReasonState},
	}
	t.Run("honest", func(t *testing.T) {
		w := newWorld(t)
		p := w.enrol("c1", sealpost.EdDSA)
		_, push := w.craft("c1", spoil{})
		if n, err := p.Handle(w.ctx, push); err != nil || n.Text == "" {
			t.Fatalf("the honest case does not pass, so no case below proves anything: %v", err)
		}
	})
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.enrol("c1", sealpost.EdDSA)
			id, push := w.craft("c1", c.spoil)
			n, err := p.Handle(w.ctx, push)
			refusal, refused := errors.AsType[*Refusal](err)
			if !refused || refusal.Level != c.level || refusal.Reason != c.reason || n.Text != "" {
				t.Fatalf("got %+v, %v; want %v: %v", n, err, c.level, c.reason)
			}
			if inbox := must(p.Inbox())(t); len(inbox) != 0 {
				t.Errorf("a refused message is in the inbox")
			}
			p.wantSigned(t, id, sealpost.HandedOver, c.level)
			if err := p.Displayed(w.ctx, id); !errors.Is(err, ErrLevel) {
				t.Errorf("displayed: %v", err)
			}
			// It is final: the same bytes get the same answer and no new receipt.
			if _, err := p.Handle(w.ctx, push); !errors.As(err, &refusal) || !refusal.Again {
				t.Errorf("again: %v", err)
			}
			p.wantSigned(t, id, sealpost.HandedOver, c.level)
			// And it burns nothing: the next honest message opens.
			if c.level == sealpost.Mismatch {
				next := w.send(otp("c1", "555555"))
				if _, err := p.Handle(w.ctx, w.push(next)); err != nil {
					t.Errorf("the next message: %v", err)
				}
			}
		})
	}
}

func (p *phone) wantSigned(t *testing.T, id sealpost.MessageID, levels ...sealpost.Level) {
	t.Helper()
	var got []sealpost.Level
	for _, r := range must(p.Receipts(id))(t) {
		got = append(got, r.Level)
	}
	if !slices.Equal(got, levels) {
		t.Errorf("signed %v, want %v", got, levels)
	}
}

// A message that comes after expires is opened, refused and signed as expired.
func TestExpired(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	id := w.send(otp("c1", "483920"))
	w.pass(5 * time.Minute)
	_, err := p.Handle(w.ctx, w.push(id))
	if refusal, refused := errors.AsType[*Refusal](err); !refused || refusal.Reason != sealpost.ReasonExpired {
		t.Errorf("got %v, want expired", err)
	}
}

// A push with a forged commitment, or with another blob, is kept with a signed
// mismatch that is not posted, and the honest message is fetched instead.
func TestForgedPush(t *testing.T) {
	stranger := must(sealpost.GenerateKey(sealpost.EdDSA, rand.Reader))(t)
	for name, forge := range map[string]func(w *world, id sealpost.MessageID) []byte{
		"commitment by another key": func(w *world, id sealpost.MessageID) []byte {
			signed := must(sealpost.Parse(must(w.sender.message(id))(t).Statement))(t)
			c := must(signed.Commitment())(t)
			forged := must(sealpost.Sign(c, stranger))(t)
			return must(sealpost.Encode(wireSealed{forged.Bytes(), must(sealpost.ParseSealed(w.push(id)))(t).Blob()}))(t)
		},
		"another blob": func(w *world, id sealpost.MessageID) []byte {
			signed := must(sealpost.Parse(must(w.sender.message(id))(t).Statement))(t)
			return must(sealpost.Encode(wireSealed{signed.Bytes(), []byte("another")}))(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.enrol("c1", sealpost.EdDSA)
			id := w.send(otp("c1", "483920"))
			n, err := p.Handle(w.ctx, forge(w, id))
			if err != nil || n.Text == "" {
				t.Fatalf("the honest message was not fetched: %v", err)
			}
			p.wantSigned(t, id, sealpost.HandedOver, sealpost.Decrypted)
			faults := must(p.Faults())(t)
			if len(faults) != 1 || len(faults[0].Exhibits) != 2 {
				t.Fatalf("faults: %+v", faults)
			}
			r := must(must(sealpost.Parse(faults[0].Exhibits[1].Statement))(t).Receipt())(t)
			if r.Level != sealpost.Mismatch || (r.Reason != sealpost.ReasonSenderKey && r.Reason != sealpost.ReasonBlob) {
				t.Errorf("kept receipt: %+v", r)
			}
		})
	}
}

// Where the relay itself hands out another blob, the signed mismatch is posted.
func TestForgedByRelay(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	id := w.send(otp("c1", "483920"))
	w.relay.bend = func(call string, v any) {
		if a, is := v.(*api.Arrival); is {
			signed := must(sealpost.Parse(must(w.sender.message(id))(t).Statement))(t)
			a.Sealed = must(sealpost.Encode(wireSealed{signed.Bytes(), []byte("another")}))(t)
		}
	}
	got := must(p.Sync(w.ctx, 0))(t)
	if len(got) != 1 || got[0].Err == nil || got[0].Text != "" {
		t.Fatalf("sync: %+v", got)
	}
	w.wantReceipts(id, sealpost.Mismatch)
}

// A swapped KeyPackage: the relay offers keys of its own for an enrolled
// device. It gets no plaintext, and its package is kept.
func TestSwappedKeyPackage(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	ghost := must(sealpost.GenerateKey(sealpost.EdDSA, rand.Reader))(t)
	signer := must(mls.NewEd25519Signer(ghost.Seed()))(t)
	o := mls.KeyPackageOptions{NotBefore: uint64(w.now().Unix()) - 60, NotAfter: uint64(w.now().Unix()) + 3600}
	for name, c := range map[string]struct {
		owner  sealpost.KeyID
		signer mls.Signer
	}{
		"the device's name, another key": {p.ID(), signer},
		"another name, another key":      {ghost.Public().ID(), signer},
		"another name, the device's key": {ghost.Public().ID(), p.leaf},
	} {
		pub, _, err := mls.NewKeyPackage(mls.X25519AES128, credentialOf(c.owner), c.signer, o)
		if err != nil {
			t.Fatal(err)
		}
		w.relay.bend = func(call string, v any) {
			if list, is := v.(*[]api.ClaimedPackage); is {
				(*list)[0].KeyPackage = pub
			}
		}
		if _, err := w.sender.Send(w.ctx, otp("c1", "483920")); !errors.Is(err, ErrForeignPackage) || !errors.Is(err, ErrNoDevice) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(w.posted()) != 0 {
		t.Errorf("a message was sealed to a swapped KeyPackage")
	}
	if faults := must(w.sender.Faults())(t); len(faults) != 3 || len(faults[0].Parts[0]) == 0 {
		t.Errorf("faults: %+v", faults)
	}
	w.relay.bend = nil
	must(p.Handle(w.ctx, w.push(w.send(otp("c1", "483920")))))(t)
}

// A KeyPackage is used once; only the last resort is used again.
func TestKeyPackageUsedTwice(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	var first []byte
	w.relay.bend = func(call string, v any) {
		if list, is := v.(*[]api.ClaimedPackage); is {
			if first == nil {
				first = (*list)[0].KeyPackage
			}
			(*list)[0].KeyPackage = first
		}
	}
	must(p.Handle(w.ctx, w.push(w.send(otp("c1", "100001")))))(t)
	err := w.store.Update(func(tx Tx) error { return tx.Delete(groupKey(w.sender.Recipient("c1"))) }) // wants a fresh group
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.sender.Send(w.ctx, otp("c1", "100002")); !errors.Is(err, ErrForeignPackage) {
		t.Errorf("a used KeyPackage was taken: %v", err)
	}
}

// The last resort may be given again and again, as no other KeyPackage may; the
// sender is told, and before it that few are left.
func TestLastResort(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	var warned []PoolWarning
	w.sender.cfg.PoolLow = func(x PoolWarning) { warned = append(warned, x) }
	for _, left := range []int{poolLow, poolLow - 1, 0, 0, 0} {
		last := left == 0
		if d := w.relay.devices[p.ID()]; last {
			d.packages = nil
		} else {
			d.packages = d.packages[len(d.packages)-left-1:]
		}
		warned = nil
		if err := w.store.Update(func(tx Tx) error { return tx.Delete(groupKey(w.sender.Recipient("c1"))) }); err != nil {
			t.Fatal(err)
		}
		if n, err := p.Handle(w.ctx, w.push(w.send(otp("c1", "100001")))); err != nil || n.Text == "" {
			t.Fatalf("by the last resort: %v", err)
		}
		want := []PoolWarning{{Device: p.ID(), Left: left, LastResort: last}}
		if left >= poolLow {
			want = nil
		}
		if !slices.Equal(warned, want) {
			t.Errorf("%d left: warned of %v, want %v", left, warned, want)
		}
	}
}

// A KeyPackage opens one Welcome: a second one for it is refused by the device,
// whoever kept or guessed it. The last resort opens as many as come.
func TestSecondWelcome(t *testing.T) {
	for _, last := range []bool{false, true} {
		w := newWorld(t)
		p := w.enrol("c1", sealpost.EdDSA)
		d := w.relay.devices[p.ID()]
		pkg := d.packages[0]
		if last {
			pkg = d.resort
		}
		d.packages, d.resort = nil, pkg // the relay gives it out again and again
		for i := range 2 {
			err := w.store.Update(func(tx Tx) error { // the sender forgets its group, and what it claimed
				err := tx.Delete(groupKey(w.sender.Recipient("c1")))
				info := must(mls.ParseKeyPackage(pkg))(t)
				return errors.Join(err, tx.Delete(at("used", sumOf(info.Ref))))
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Handle(w.ctx, w.push(w.send(otp("c1", "100001"))))
			refusal, refused := errors.AsType[*Refusal](err)
			if i == 0 || last {
				if err != nil {
					t.Errorf("last resort %v, Welcome %d: %v", last, i, err)
				}
			} else if !refused || refusal.Level != sealpost.DecryptFailed {
				t.Errorf("a second Welcome for a used KeyPackage: %v", err)
			}
		}
	}
}

// A device that the relay enrols itself gets nothing: its answer has no MAC by
// the holder of the secret, and is kept.
func TestGhostAnswer(t *testing.T) {
	w := newWorld(t)
	in := must(w.sender.Invite(w.ctx, "c1"))(t)
	ghost := must(sealpost.GenerateKey(sealpost.EdDSA, rand.Reader))(t)
	leaf := must(sealpost.GenerateKey(sealpost.EdDSA, rand.Reader))(t)
	pair := sealpost.KeyPair("bank", in.Recipient, ghost.Public(), leaf.Public())
	e := w.relay.enrolments[0]
	// The relay knows the challenge and SHA-256 of the secret.
	mac := sealpost.EnrolMAC(e.SecretHash, e.Challenge, in.Recipient, ghost.Public(), leaf.Public())
	e.Answer = &sealpost.EnrolmentAnswer{Key: ghost.Public(), MAC: mac, Device: sealpost.DeviceKey{Recipient: in.Recipient, Leaf: leaf.Public(),
		ByKey: must(ghost.Sign(pair))(t), ByLeaf: must(leaf.Sign(pair))(t), Assurance: sealpost.AssuranceSoftware}}
	w.relay.devices[ghost.Public().ID()] = &heldDevice{}
	a := must(w.sender.Approve(w.ctx))(t)
	if len(a) != 1 || !errors.Is(a[0].Err, ErrAnswer) {
		t.Fatalf("approve: %+v", a)
	}
	if faults := must(w.sender.Faults())(t); len(faults) != 1 {
		t.Errorf("faults: %+v", faults)
	}
	if ids := must(w.sender.Devices(in.Recipient))(t); len(ids) != 0 {
		t.Errorf("a ghost is enrolled")
	}
	if again := must(w.sender.Approve(w.ctx))(t); len(again) != 0 {
		t.Errorf("a refused answer came up again: %+v", again)
	}
}

// An answer is spoiled one field at a time.
func TestAnswerChecks(t *testing.T) {
	other := must(sealpost.GenerateKey(sealpost.EdDSA, rand.Reader))(t)
	for name, spoilt := range map[string]func(*api.EnrolmentView){
		"MAC":                     func(v *api.EnrolmentView) { v.MAC[0] ^= 1 },
		"no MAC":                  func(v *api.EnrolmentView) { v.MAC = nil },
		"signing key":             func(v *api.EnrolmentView) { v.Key = other.Public().COSE() },
		"leaf key":                func(v *api.EnrolmentView) { v.Leaf = other.Public().COSE() },
		"signing key's signature": func(v *api.EnrolmentView) { v.ByKey[0] ^= 1 },
		"leaf key's signature":    func(v *api.EnrolmentView) { v.ByLeaf[0] ^= 1 },
		"assurance":               func(v *api.EnrolmentView) { v.Assurance = sealpost.AssuranceTEE },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.newPhone(sealpost.EdDSA)
			in := must(w.sender.Invite(w.ctx, "c1"))(t)
			if err := p.AcceptInvite(w.ctx, in.Token.Reveal(), nil); err != nil {
				t.Fatal(err)
			}
			w.relay.bend = func(call string, v any) {
				if list, is := v.(*[]api.EnrolmentView); is {
					spoilt(&(*list)[0])
				}
			}
			if a := must(w.sender.Approve(w.ctx))(t); len(a) != 1 || !errors.Is(a[0].Err, ErrAnswer) {
				t.Errorf("approve: %+v", a)
			}
		})
	}
}

// The device takes only a key event by the sender that it pinned, about itself.
func TestForeignKeyEvent(t *testing.T) {
	w := newWorld(t)
	p := w.newPhone(sealpost.EdDSA)
	in := must(w.sender.Invite(w.ctx, "c1"))(t)
	if err := p.AcceptInvite(w.ctx, in.Token.Reveal(), nil); err != nil {
		t.Fatal(err)
	}
	must(w.sender.Approve(w.ctx))(t)
	stranger := must(sealpost.GenerateKey(sealpost.EdDSA, rand.Reader))(t)
	w.relay.bend = func(call string, v any) {
		if x, is := v.(*api.Exhibit); is {
			e := must(must(sealpost.Parse(x.Statement))(t).KeyEvent())(t)
			x.Statement = must(sealpost.Sign(e, stranger))(t).Bytes()
		}
	}
	if done, err := p.Enrolled(w.ctx); done || err == nil {
		t.Errorf("enrolled by a stranger: %v, %v", done, err)
	}
	w.relay.bend = nil
	if done, err := p.Enrolled(w.ctx); !done || err != nil {
		t.Errorf("enrolled: %v, %v", done, err)
	}
}

// An acceptance without a promise that holds is no acceptance.
func TestUnpromised(t *testing.T) {
	for name, bend := range map[string]func(*api.Accepted){
		"none":            func(a *api.Accepted) { a.Promise = nil },
		"another salt":    func(a *api.Accepted) { a.Salt = bytes.Repeat([]byte{1}, 32) },
		"short salt":      func(a *api.Accepted) { a.Salt = a.Salt[:31] },
		"broken root":     func(a *api.Accepted) { a.Promise = slices.Clone(a.Promise); a.Promise[200] ^= 1 },
		"of another item": func(a *api.Accepted) { a.Promise = nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.enrol("c1", sealpost.EdDSA)
			w.relay.bend = func(call string, v any) {
				if x, is := v.(*api.Verdict); is {
					bend(x.Accepted)
				}
			}
			id, err := w.sender.Send(w.ctx, otp("c1", "483920"))
			if !errors.Is(err, ErrUnpromised) || !errors.Is(err, ErrPending) {
				t.Fatalf("send: %v", err)
			}
			if faults := must(w.sender.Faults())(t); len(faults) != 1 {
				t.Errorf("faults: %+v", faults)
			}
			w.relay.bend = nil
			sent := must(w.sender.Flush(w.ctx))(t)
			if len(sent) != 1 || sent[0].ID != id || sent[0].Err != nil {
				t.Errorf("flush: %+v", sent)
			}
		})
	}
}

// Evidence that does not hold is kept as a fault and does not count.
func TestForgedEvidence(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	id := w.send(otp("c1", "483920"))
	other := w.send(otp("c1", "483921"))
	must(p.Handle(w.ctx, w.push(id)))(t)
	must(p.Handle(w.ctx, w.push(other)))(t)
	w.relay.close(id)
	if _, err := w.sender.Sync(w.ctx, id); err != nil {
		t.Fatalf("honest evidence: %v", err)
	}
	stranger := must(sealpost.GenerateKey(sealpost.EdDSA, rand.Reader))(t)
	find := func(list []api.Exhibit, kind sealpost.Kind, level sealpost.Level) *api.Exhibit {
		for i := range list {
			signed := must(sealpost.Parse(list[i].Statement))(t)
			if r, err := signed.Receipt(); signed.Kind() == kind && (err != nil || r.Level == level) {
				return &list[i]
			}
		}
		t.Fatalf("no %v", kind)
		return nil
	}
	receipt := func(x *api.Exhibit, by sealpost.Signer, change func(*sealpost.Receipt)) {
		r := must(must(sealpost.Parse(x.Statement))(t).Receipt())(t)
		change(&r)
		x.Statement = must(sealpost.Sign(r, by))(t).Bytes()
		x.Promise, x.Proof = nil, nil
	}
	for name, bend := range map[string]func(list *[]api.Exhibit){
		"receipt by a stranger": func(list *[]api.Exhibit) {
			receipt(find(*list, sealpost.KindReceipt, sealpost.Decrypted), stranger, func(r *sealpost.Receipt) { r.Key = stranger.Public().ID() })
		},
		"receipt without the opening": func(list *[]api.Exhibit) {
			receipt(find(*list, sealpost.KindReceipt, sealpost.Decrypted), p.key, func(r *sealpost.Receipt) { r.Opened = make([]byte, 32) })
		},
		"receipt for another commitment": func(list *[]api.Exhibit) { // R59
			receipt(find(*list, sealpost.KindReceipt, sealpost.Decrypted), p.key, func(r *sealpost.Receipt) { r.Commitment[0] ^= 1 })
		},
		"outcome by a stranger": func(list *[]api.Exhibit) {
			x := find(*list, sealpost.KindOutcome, 0)
			o := must(must(sealpost.Parse(x.Statement))(t).Outcome())(t)
			x.Statement, x.Proof = must(sealpost.Sign(o, stranger))(t).Bytes(), nil
		},
		"another salt":  func(list *[]api.Exhibit) { (*list)[len(*list)-1].Salt = make([]byte, 32) },
		"another index": func(list *[]api.Exhibit) { (*list)[len(*list)-1].Seq++ },
		"a broken proof": func(list *[]api.Exhibit) {
			x := &(*list)[len(*list)-1]
			x.Proof = bytes.Replace(x.Proof, []byte("\nindex "), []byte("\nindex 1"), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(must(w.sender.Faults())(t))
			w.relay.bend = func(call string, v any) {
				if list, is := v.(*[]api.Exhibit); is {
					bend(list)
				}
			}
			defer func() { w.relay.bend = nil }()
			st, err := w.sender.Sync(w.ctx, id)
			if !errors.Is(err, ErrExhibit) {
				t.Errorf("sync: %v", err)
			}
			if after := len(must(w.sender.Faults())(t)); after != before+1 {
				t.Errorf("%d faults were kept, want one", after-before)
			}
			if !st.Complete {
				t.Errorf("what was good before is gone: %+v", st)
			}
		})
	}
}

// TestRFC9750_InsiderReplay: MLS lets a member seal the same content again as a new
// message, under a new generation. The message id, which the AAD and the signed
// commitment carry, tells it: the id is taken, and nothing is shown twice.
func TestRFC9750_InsiderReplay(t *testing.T) {
	w := newWorld(t)
	p := w.enrol("c1", sealpost.EdDSA)
	id, push := w.craft("c1", spoil{})
	first := must(p.Handle(w.ctx, push))(t)
	same, push := w.craft("c1", spoil{
		aad:        func(b []byte) []byte { copy(b, id[:]); return b },
		commitment: func(c *sealpost.Commitment) { c.ID = id },
	})
	if same != id {
		t.Fatal("another id")
	}
	if again, err := p.Handle(w.ctx, push); err == nil || again.Text != "" || first.Text == "" || !strings.Contains(err.Error(), "id is taken") {
		t.Errorf("the same message in a new generation: %+v, %v", again, err)
	}
	if n := len(must(p.Inbox())(t)); n != 1 {
		t.Errorf("%d messages in the inbox", n)
	}
	_, push = w.craft("c1", spoil{}) // the same words under an id of their own are another message
	if n, err := p.Handle(w.ctx, push); err != nil || n.Again || len(must(p.Inbox())(t)) != 2 {
		t.Errorf("another message: %+v, %v", n, err)
	}
}
