package evidence_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/evidence/evidencetest"
)

// Whoever holds the log's key may sign a checkpoint that says the same in another
// form; two judges must not be told apart by it (leaf 3.2).
func TestCheckpointHasOneForm(t *testing.T) {
	w := evidencetest.New().Tell()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize)) // evidencetest's log
	v, err := note.NewVerifier(w.Log.Key())
	if err != nil {
		t.Fatal(err)
	}
	under := func(text string) evidence.Verdict {
		sig := append(binary.BigEndian.AppendUint32(nil, v.KeyHash()), ed25519.Sign(key, []byte(text))...)
		checkpoint := fmt.Sprintf("%s\n— %s %s\n", text, v.Name(), base64.StdEncoding.EncodeToString(sig))
		b := w.Bundle()
		for i := range b.Exhibits {
			path, _, _ := bytes.Cut(b.Exhibits[i].Proof, []byte("\n\n"))
			b.Exhibits[i].Proof = slices.Concat(path, []byte("\n\n"), []byte(checkpoint))
		}
		return evidence.Verify(encode(t, b), w.Policy(), at)
	}
	honest, _, _ := strings.Cut(string(w.Log.Checkpoint(w.Log.Size())), "\n\n")
	honest += "\n"
	want(t, under(honest), evidence.Proven, "")
	want(t, under(honest+"an extension\n"), evidence.Proven, "")
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	last := len(honest) - len("x=\n") // its two lowest bits are spare
	for name, text := range map[string]string{
		"a zero in front of the size":  strings.Replace(honest, "\n14\n", "\n014\n", 1),
		"a spare bit set in the root":  honest[:last] + string(alphabet[strings.IndexByte(alphabet, honest[last])+1]) + "=\n",
		"a line break inside the root": honest[:len(honest)-5] + "\r" + honest[len(honest)-5:],
	} {
		t.Run(name, func(t *testing.T) {
			if text == honest {
				t.Fatal("nothing is spoilt")
			}
			want(t, under(text), evidence.Refused, "checkpoint: ")
		})
	}
}

// A witness may sign any 64 bits of seconds. Those that no clock shows are later
// than any judgement, and never before 1970 (leaf 3.7).
func TestCosignatureBeyondAllTime(t *testing.T) {
	w := evidencetest.New()
	honest := w.Log.AddWitness("witness.example/a", 40, evidencetest.Start)
	far := w.Log.AddWitness("witness.example/b", 41, -1000) // 2^64-1 seconds
	w.Tell()
	p := w.Policy()
	p.Witnesses, p.WitnessKeys = 1, []string{honest, far}
	want(t, evidence.Verify(encode(t, w.Bundle()), p, at), evidence.Proven, "")
	p.Witnesses = 2
	want(t, evidence.Verify(encode(t, w.Bundle()), p, at), evidence.Incomplete, "1 of the policy's witnesses cosigned it (1 more only after the time of judgement)")
}

// A witness's key with another key's hash, or in another form, is a slip that the
// policy's author should hear of (policy 1.2).
func TestWitnessKeyHasOneForm(t *testing.T) {
	w := evidencetest.New()
	p := w.Policy()
	honest := w.Log.AddWitness("witness.example/a", 40, at)
	p.WitnessKeys = []string{honest}
	if err := p.Check(); err != nil {
		t.Fatalf("honest key: %v", err)
	}
	name, rest, _ := strings.Cut(honest, "+")
	hash, key, _ := strings.Cut(rest, "+")
	for what, spoilt := range map[string]string{
		"another hash":      name + "+00000000+" + key,
		"no hash":           name + "+zzzzzzzz+" + key,
		"another name":      "witness.example/b+" + hash + "+" + key,
		"a break in it":     name + "+" + hash + "+" + key[:8] + "\n" + key[8:],
		"nothing of a hash": name + "++" + key,
	} {
		p.WitnessKeys = []string{spoilt}
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), "witness_keys[0]: not a verifier key of a cosigner") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
