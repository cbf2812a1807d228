package liar

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/mls"
)

// A ghost that is let into a group reads: without this, that it reads nothing
// under a lie would show nothing.
func TestGhostReadsWhereItIsLetIn(t *testing.T) {
	for _, let := range []bool{true, false} {
		g, err := newGhost(time.Now)
		if err != nil {
			t.Fatal(err)
		}
		other, err := newGhost(time.Now)
		if err != nil {
			t.Fatal(err)
		}
		guest := g
		if !let {
			guest = other
		}
		pack, err := guest.pack(sealpost.KeyID{1})
		if err != nil {
			t.Fatal(err)
		}
		sender, err := sealpost.GenerateKey(sealpost.EdDSA, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := mls.NewEd25519Signer(sender.Seed())
		if err != nil {
			t.Fatal(err)
		}
		group, err := mls.Create(mls.X25519AES128, []byte("group"), mls.BasicCredential([]byte("sender")), signer, anybody{}, mls.DefaultPolicy())
		if err != nil {
			t.Fatal(err)
		}
		staged, err := group.Add(pack)
		if err == nil {
			err = group.Apply(staged)
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range []string{"first", "second"} {
			message, err := group.Protect(nil, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			e := sealpost.Envelope{Message: message}
			if i == 0 {
				e.Welcome = staged.Welcome
			}
			blob, err := sealpost.EncodeEnvelope(e)
			if err != nil {
				t.Fatal(err)
			}
			g.read(blob)
		}
		if read := g.texts(); let != slices.Equal(read, []string{"first", "second"}) || !let && len(read) != 0 {
			t.Errorf("let in %v: read %q", let, read)
		}
	}
}

// Lies are found by their names and say what they try.
func TestLiesHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range Lies() {
		if l.Name == "" || seen[l.Name] || !strings.Contains(l.Tries, " ") || l.tell == nil {
			t.Errorf("%+v", l)
		}
		seen[l.Name] = true
	}
}
