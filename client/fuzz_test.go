package client

import (
	"bytes"
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
	}
	f.Add(invitePrefix + "gA")
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
