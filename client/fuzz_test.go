package client

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost"
)

// An invitation that is accepted re-encodes to itself.
func FuzzInvite(f *testing.F) {
	key, err := sealpost.NewPrivateKey(sealpost.EdDSA, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		f.Fatal(err)
	}
	vkey, err := note.NewEd25519VerifierKey("log.example/test", key.Public().Bytes())
	if err != nil {
		f.Fatal(err)
	}
	for _, in := range []invite{{URL: "https://relay.example", App: "bank", Sender: key.Public(), Relay: key.Public(), Log: vkey, LeafAlg: sealpost.ES256}} {
		token, err := in.token()
		if err != nil {
			f.Fatal(err)
		}
		if _, err := parseInvite(token.Reveal()); err != nil {
			f.Fatalf("the honest invitation: %v", err)
		}
		f.Add(token.Reveal())
		f.Add(token.Reveal() + "\n")
	}
	f.Add(invitePrefix + "gA")
	f.Add(invitePrefix + "g\nA")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		in, err := parseInvite(text)
		if err != nil {
			return
		}
		if again := must(in.token())(t); again.Reveal() != text {
			t.Errorf("accepted text re-encodes to another")
		}
	})
}

// What comes as a push never does more than be refused.
func FuzzPush(f *testing.F) {
	f.Add([]byte{})
	f.Add(must2(sealpost.Encode(wireSealed{[]byte{0xd2, 0x84}, []byte("blob")})))
	f.Fuzz(func(t *testing.T, raw []byte) {
		signed, _, blob, err := takeApart(raw)
		if err != nil {
			return
		}
		if again := must2(sealpost.Encode(wireSealed{signed.Bytes(), blob})); !bytes.Equal(again, raw) {
			t.Errorf("accepted bytes re-encode to others")
		}
	})
}

func must2(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// The address of an MLS message is read within its bounds.
func FuzzAddress(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 1, 'g', 0, 0, 0, 0, 0, 0, 0, 7, 1})
	f.Add([]byte{0, 1, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		group, _, err := mlsAddress(b)
		if err == nil && (len(group) == 0 || len(group) >= groupIDMax || !bytes.Contains(b, group)) {
			t.Errorf("group id of %d bytes", len(group))
		}
	})
}

// A checkpoint that is accepted says in one way only what it says.
func FuzzCheckpoint(f *testing.F) {
	secret, vkey, err := note.GenerateKey(zeros{}, "log.example/test")
	if err != nil {
		f.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		f.Fatal(err)
	}
	log, err := newLogView(vkey, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("log.example/test\n7\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n")
	f.Add("log.example/test\n07\nAAAA\n")
	f.Add("log.example/test\n7\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\nextension\n")
	f.Fuzz(func(t *testing.T, text string) {
		raw, err := note.Sign(&note.Note{Text: text}, signer)
		if err != nil {
			return
		}
		c, err := log.read(raw)
		if err != nil {
			return
		}
		again := fmt.Sprintf("log.example/test\n%d\n%s\n", c.Head.Size, base64.StdEncoding.EncodeToString(c.Head.Root[:]))
		if c.Note != string(raw) || !strings.HasPrefix(text, again) {
			t.Errorf("%q is accepted and begins %q", text, again)
		}
	})
}

// zeros is no randomness at all.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// The id at the end of a store's key has one spelling.
func FuzzIDKey(f *testing.F) {
	f.Add("0102030405060708090a0b0c0d0e0f10")
	f.Add("0102030405060708090A0B0C0D0E0F10")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := parseIDKey(s); err == nil && hex.EncodeToString(id[:]) != s {
			t.Errorf("%q is accepted and is written %x", s, id[:])
		}
	})
}
