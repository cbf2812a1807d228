package mls

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

const receiptType = 0xf002 // private use

// listing is a pair whose leaves list a proposal type.
func listing(t testing.TB, s Suite, kind uint16) (a, b *person, ga, gb *Group) {
	t.Helper()
	a, b = newPerson(t, s, "bank"), newPerson(t, s, "phone")
	a.policy.Support.Proposals, b.policy.Support.Proposals = []uint16{kind}, []uint16{kind}
	ga = a.create(t, s)
	pub, priv, err := NewKeyPackage(s, b.credential(), b.signer, KeyPackageOptions{NotAfter: 1 << 40, Support: b.policy.Support})
	if err != nil {
		t.Fatal(err)
	}
	staged, err := ga.Add(pub)
	if err != nil {
		t.Fatal(err)
	}
	if err := ga.Apply(staged); err != nil {
		t.Fatal(err)
	}
	return a, b, ga, b.join(t, staged.Welcome, priv)
}

// TestSignDetached: a signature holds for its leaf, label and content and for
// nothing else.
func TestSignDetached(t *testing.T) {
	for _, s := range []Suite{X25519AES128, P256AES128} {
		_, b, ga, gb := pair(t, s)
		before := digest(t, gb)
		sig, err := gb.SignDetached("receipt", []byte("seen"))
		if err != nil {
			t.Fatal(err)
		}
		if digest(t, gb) != before {
			t.Error("signing changed the group")
		}
		if err := ga.VerifyDetached(1, "receipt", []byte("seen"), sig); err != nil {
			t.Fatalf("suite %d: honest: %v", s, err)
		}
		if err := VerifyDetached(s, b.signer.Public(), "receipt", []byte("seen"), sig); err != nil {
			t.Fatalf("suite %d: honest, outside the group: %v", s, err)
		}
		for name, err := range map[string]error{
			"another leaf":     ga.VerifyDetached(0, "receipt", []byte("seen"), sig),
			"a blank leaf":     ga.VerifyDetached(2, "receipt", []byte("seen"), sig),
			"a far leaf":       ga.VerifyDetached(1<<31, "receipt", []byte("seen"), sig),
			"another label":    ga.VerifyDetached(1, "receipts", []byte("seen"), sig),
			"a shifted label":  ga.VerifyDetached(1, "receip", []byte("tseen"), sig),
			"no label":         ga.VerifyDetached(1, "", []byte("seen"), sig),
			"a long label":     ga.VerifyDetached(1, string(make([]byte, detachedLabelMax+1)), []byte("seen"), sig),
			"another content":  ga.VerifyDetached(1, "receipt", []byte("been"), sig),
			"no signature":     ga.VerifyDetached(1, "receipt", []byte("seen"), nil),
			"a cut signature":  ga.VerifyDetached(1, "receipt", []byte("seen"), sig[:len(sig)-1]),
			"signing no label": second(gb.SignDetached("", nil)),
		} {
			if !errors.Is(err, ErrRefused) {
				t.Errorf("suite %d: %s: %v", s, name, err)
			}
		}
		if err := VerifyDetached(99, b.signer.Public(), "receipt", nil, sig); !errors.Is(err, ErrUnsupported) {
			t.Errorf("unknown suite: %v", err)
		}
	}
}

// recorder keeps what it was asked to sign.
type recorder struct {
	Signer
	signed [][]byte
}

func (r *recorder) Sign(msg []byte) ([]byte, error) {
	r.signed = append(r.signed, bytes.Clone(msg))
	return r.Signer.Sign(msg)
}

// TestDetachedIsNoMessage: whatever label and content a caller takes, the bytes it
// has signed begin like no signature of RFC 9420 (5.1.2).
func TestDetachedIsNoMessage(t *testing.T) {
	_, _, ga, gb := pair(t, X25519AES128)
	r := &recorder{Signer: gb.s.signer}
	gb.s.signer = r
	own := []string{"FramedContentTBS", "LeafNodeTBS", "KeyPackageTBS", "GroupInfoTBS"}
	for _, label := range append(own, "MLS 1.0 FramedContentTBS", "\x00", string(make([]byte, detachedLabelMax))) {
		sig, err := gb.SignDetached(label, gb.cur().encoded)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range own {
			if gb.cur().cs.verify(r.Public(), l, gb.cur().encoded, sig) == nil {
				t.Errorf("label %q passes for %s", label, l)
			}
		}
	}
	for _, msg := range r.signed {
		rd := newReader(msg, 10)
		label := string(rd.vec())
		if !bytes.HasPrefix([]byte(label), []byte("MLS 1.0 \x0dMLS Component\x80\x00")) {
			t.Errorf("signed under %q", label)
		}
	}
	// And the other way: the signature of a message is no detached one.
	r.signed = nil
	if _, err := gb.Protect(nil, []byte("x")); err != nil {
		t.Fatal(err)
	}
	sig, err := r.Signer.Sign(r.signed[0])
	if err != nil {
		t.Fatal(err)
	}
	rd := newReader(r.signed[0], 10)
	rd.vec()
	if err := ga.VerifyDetached(1, "FramedContentTBS", rd.vec(), sig); !errors.Is(err, ErrRefused) {
		t.Errorf("a message passes for a detached signature: %v", err)
	}
}

// TestSignedProposal: a member says something in the form of an empty proposal
// (RCC.16); members and an auditor with the group's context verify it, and the
// group does not change by it.
func TestSignedProposal(t *testing.T) {
	for _, s := range []Suite{X25519AES128, P256AES128} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			_, b, ga, gb := listing(t, s, receiptType)
			said := []byte("message 7 delivered")
			msg, err := gb.SignedProposal(receiptType, said)
			if err != nil {
				t.Fatal(err)
			}
			context, err := ga.Context()
			if err != nil {
				t.Fatal(err)
			}
			audit := func(msg []byte) (SignedProposal, error) {
				return VerifySignedProposal(msg, receiptType, context, b.signer.Public())
			}
			before := digest(t, ga)
			for name, open := range map[string]func([]byte) (SignedProposal, error){
				"member":  func(m []byte) (SignedProposal, error) { return ga.OpenSignedProposal(m, receiptType) },
				"oneself": func(m []byte) (SignedProposal, error) { return gb.OpenSignedProposal(m, receiptType) },
				"auditor": audit,
			} {
				p, err := open(msg)
				if err != nil || p.Type != receiptType || p.Sender != 1 || p.Epoch != 1 || !bytes.Equal(p.AAD, said) {
					t.Fatalf("%s: %+v, %v", name, p, err)
				}
				for i := range msg {
					forged := bytes.Clone(msg)
					forged[i] ^= 1
					tag := i >= len(msg)-ga.cur().cs.nh()
					if p, err := open(forged); (err == nil) != (name == "auditor" && tag) {
						t.Fatalf("%s: byte %d of %d changed: %+v, %v", name, i, len(msg), p, err)
					}
					if _, err := open(msg[:i]); err == nil {
						t.Fatalf("%s: cut to %d bytes: opened", name, i)
					}
				}
				if _, err := open(append(bytes.Clone(msg), 0)); !errors.Is(err, ErrMalformed) {
					t.Errorf("%s: a byte too many: %v", name, err)
				}
			}
			if ev, err := ga.Process(msg); err == nil {
				t.Errorf("it is processed as %+v", ev)
			}
			if n := len(ga.cur().proposals); n != 0 || digest(t, ga) != before {
				t.Errorf("%d proposals wait after a statement", n)
			}
			converse(t, ga, gb) // nothing waits for a commit

			for name, c := range map[string]struct {
				err  error
				want error
			}{
				"another type":             {second(ga.OpenSignedProposal(msg, receiptType+1)), ErrMalformed},
				"a type of the RFC":        {second(ga.OpenSignedProposal(msg, proposalRemove)), ErrRefused},
				"making one of the RFC":    {second(gb.SignedProposal(proposalRemove, said)), ErrRefused},
				"making a type not listed": {second(gb.SignedProposal(receiptType+1, said)), ErrRefused},
				"making one too long":      {second(gb.SignedProposal(receiptType, make([]byte, DefaultLimits().Message))), ErrRefused},
				"an auditor's other key":   {second(VerifySignedProposal(msg, receiptType, context, ga.s.signer.Public())), ErrRefused},
				"an auditor's cut context": {second(VerifySignedProposal(msg, receiptType, context[1:], b.signer.Public())), ErrMalformed},
			} {
				if !errors.Is(c.err, c.want) {
					t.Errorf("%s: %v", name, c.err)
				}
			}
			spoiled := func(change func(*groupContext)) []byte {
				var ctx groupContext
				if err := decode(bytes.Clone(context), 100, ctx.read); err != nil {
					t.Fatal(err)
				}
				change(&ctx)
				return ctx.encode()
			}
			for name, ctx := range map[string][]byte{
				"group":      spoiled(func(c *groupContext) { c.groupID = []byte("x") }),
				"epoch":      spoiled(func(c *groupContext) { c.epoch++ }),
				"suite":      spoiled(func(c *groupContext) { c.suite ^= 3 }),
				"tree":       spoiled(func(c *groupContext) { c.treeHash[0] ^= 1 }),
				"transcript": spoiled(func(c *groupContext) { c.confirmed[0] ^= 1 }),
				"extensions": spoiled(func(c *groupContext) { c.extensions = extensions{{0xf00d, []byte{}}} }),
			} {
				want := map[string]error{"group": ErrWrongGroup, "epoch": ErrWrongEpoch}[name]
				if want == nil {
					want = ErrRefused
				}
				if _, err := VerifySignedProposal(msg, receiptType, ctx, b.signer.Public()); !errors.Is(err, want) {
					t.Errorf("an auditor with another %s: %v", name, err)
				}
			}
			// A leaf that does not list the type, and an epoch that is over.
			l := *ga.cur().tree.leaf(1)
			l.capabilities.proposals = nil
			ga.cur().tree.nodes[leafNodeIndex(1)] = node{leaf: &l}
			if _, err := ga.OpenSignedProposal(msg, receiptType); !errors.Is(err, ErrRefused) {
				t.Errorf("of a leaf that does not list it: %v", err)
			}
			staged, err := gb.Commit(CommitOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := gb.Apply(staged); err != nil {
				t.Fatal(err)
			}
			if _, err := gb.OpenSignedProposal(msg, receiptType); !errors.Is(err, ErrWrongEpoch) {
				t.Errorf("in the epoch after: %v", err)
			}
			if _, err := audit(msg); err != nil {
				t.Errorf("an auditor later: %v", err)
			}
		})
	}
}

// FuzzSignedProposal: an accepted statement is written back to the same bytes, and
// what is opened changes nothing.
func FuzzSignedProposal(f *testing.F) {
	_, _, ga, gb := listing(f, X25519AES128, receiptType)
	msg, err := gb.SignedProposal(receiptType, []byte("said"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg)
	before := digest(f, ga)
	f.Fuzz(func(t *testing.T, b []byte) {
		pm, err := readSignedProposal(b, receiptType, DefaultLimits())
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("decoder: %v", err)
			}
			return
		}
		if again := writeMessage(wirePublicMessage, pm.write); !bytes.Equal(again, b) {
			t.Fatalf("accepted %x, writes %x", b, again)
		}
		if _, err := ga.OpenSignedProposal(b, receiptType); err == nil && !bytes.Equal(b, msg) {
			t.Fatalf("opened %x", b)
		}
		if digest(t, ga) != before {
			t.Fatal("opening changed the group")
		}
	})
}
