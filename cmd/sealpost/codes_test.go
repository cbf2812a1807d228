package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/client"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/internal/store"
)

// codesInAll is how many codes of six digits there are.
const codesInAll = 1_000_000

// stored is every place in a heap of bytes, to be asked for by its first eight
// bytes: a digest that was cut short is found too.
type stored struct {
	maybe  []uint64 // a bit for each value of the first 24 bits of a mix
	places map[uint64]bool
	bytes  int
}

const storedBits = 24

func newStored(all ...[]byte) *stored {
	s := &stored{maybe: make([]uint64, 1<<(storedBits-6)), places: map[uint64]bool{}}
	for _, b := range all {
		s.bytes += len(b)
		for i := 0; i+8 <= len(b); i++ {
			head := binary.BigEndian.Uint64(b[i:])
			bit := storedBit(head)
			s.maybe[bit>>6] |= 1 << (bit & 63)
			s.places[head] = true
		}
	}
	return s
}

func storedBit(head uint64) uint64 { return head * 0x9E3779B97F4A7C15 >> (64 - storedBits) }

// has says whether the beginning of a digest stands anywhere.
func (s *stored) has(digest []byte) bool {
	head := binary.BigEndian.Uint64(digest)
	bit := storedBit(head)
	return s.maybe[bit>>6]&(1<<(bit&63)) != 0 && s.places[head]
}

// The MACs' inputs (spec commitment 3), written again as an attacker would.
type (
	guessedCommit struct {
		_                struct{} `cbor:",toarray"`
		Label            string
		Alg              sealpost.HashAlg
		Canonicalization uint8
		App              string
		ID               sealpost.MessageID
		Recipient        sealpost.Recipient
		Content          sealpost.Content
	}
	guessedField struct {
		_           struct{} `cbor:",toarray"`
		Label       string
		Alg         sealpost.HashAlg
		ID          sealpost.MessageID
		Name, Value string
	}
)

// A guess is a byte string that contains the code, and where.
type guess struct {
	what string
	b    []byte
	at   []int
}

// guesses are what an attacker who knows all but the code would hash or MAC.
func guesses(t *testing.T, c sealpost.Commitment, p sealpost.Payload) []guess {
	t.Helper()
	code := p.Content.Fields[0].Value
	encode := func(v any) []byte {
		b, err := sealpost.Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	out := []guess{
		{what: "commitment input", b: encode(guessedCommit{Label: "sealpost/commit/v1", Alg: c.HashAlg, Canonicalization: c.Canonicalization, App: c.App, ID: c.ID, Recipient: c.Recipient, Content: p.Content})},
		{what: "field input", b: encode(guessedField{Label: "sealpost/field/v1", Alg: c.HashAlg, ID: c.ID, Name: "code", Value: code})},
		{what: "content", b: encode(p.Content)},
		{what: "text", b: []byte(p.Content.Text)},
		{what: "field", b: encode(p.Content.Fields[0])},
		{what: "code", b: []byte(code)},
	}
	for i, g := range out {
		for at := 0; at+len(code) <= len(g.b); at++ {
			if string(g.b[at:at+len(code)]) == code {
				out[i].at = append(out[i].at, at)
			}
		}
		if len(out[i].at) == 0 {
			t.Fatalf("%s does not hold the code", g.what)
		}
	}
	return out
}

// put writes a code into a copy of a guess.
func (g guess) put(b []byte, code []byte) {
	for _, at := range g.at {
		copy(b[at:], code)
	}
}

// A disclosedCode is a one-time code that its sender has opened.
type disclosedCode struct {
	commitment sealpost.Commitment
	payload    sealpost.Payload
	bundle     []byte // without the opening
}

func discloseCode(t *testing.T, dir string, id sealpost.MessageID) (d disclosedCode) {
	t.Helper()
	s, err := openSender(filepath.Join(dir, senderDir))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if d.bundle, err = s.bundle(id, client.Disclose{}); err != nil {
		t.Fatal(err)
	}
	open, err := s.Bundle(id, client.Disclose{All: true})
	if err != nil {
		t.Fatal(err)
	}
	if d.payload, err = sealpost.DecodePayload(open.Disclosed.Payload); err != nil {
		t.Fatal(err)
	}
	for _, e := range open.Exhibits {
		signed, err := sealpost.Parse(e.Statement)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := signed.Commitment(); err == nil {
			d.commitment = c
		}
	}
	if d.commitment.ID != id || d.payload.Opens(d.commitment) != nil {
		t.Fatal("the sender's opening does not open its commitment")
	}
	return d
}

// everythingStored is every file of the relay, its keys besides, and what those
// keys open of one message: what an attacker with root on the relay has.
func everythingStored(t *testing.T, dir string, app string, id sealpost.MessageID) (all [][]byte, records []sealpost.Record) {
	t.Helper()
	cfg, err := readConfig(filepath.Join(dir, relayFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{cfg.Data, cfg.Keys, filepath.Join(dir, "logs", "relay.log")} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				var b []byte
				b, err = os.ReadFile(path)
				all = append(all, b)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	keys, err := store.NewFileKeys(cfg.storeKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), store.Config{Dir: cfg.Data, Keys: keys, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if records, err = db.Records(t.Context(), app, id); err != nil || len(records) == 0 {
		t.Fatalf("the store holds %d statements of %s: %v", len(records), id, err)
	}
	for _, r := range records {
		all = append(all, r.Statement, r.Salt[:], r.Leaf[:])
	}
	return all, records
}

// R4: all 10^6 codes fit what the relay and the log hold of a message equally
// well. Whoever has the opening, and only that, finds the one.
func TestCodesAreHidden(t *testing.T) {
	q := quietFolders(t)
	for _, c := range []struct {
		what string
		id   sealpost.MessageID
		keys int // how many of the known keys are tried in the default suite
	}{{"delivered", q.delivered[0], 6}, {"still in the spool", q.waiting[0], 2}} {
		t.Run(c.what, func(t *testing.T) {
			dir, id := q.copyOf(t), c.id
			d := discloseCode(t, dir, id)
			all, records := everythingStored(t, dir, townApp, id)
			heap := newStored(append(all, d.bundle)...)
			tries := guesses(t, d.commitment, d.payload)

			// Had anybody stored a plain hash of the text, this is what it would come to.
			want := d.payload.Content.Fields[0].Value
			plain := sha256.Sum256([]byte(d.payload.Content.Text))
			if found := enumerate(tries[3:4], []func() hash.Hash{sha256.New}, newStored(plain[:16]).has); len(found) != 1 || found[0] != "text "+want {
				t.Fatalf("a hash that was planted: found %v", found)
			}

			// With the opening exactly one code fits, and the search does find what is there.
			r := d.payload.R
			if !heap.has(d.commitment.C) {
				t.Fatal("the commitment itself is not found in what is stored: the search shows nothing")
			}
			fits := enumerate(tries[:1], []func() hash.Hash{func() hash.Hash { return hmac.New(sha256.New, r[:]) }},
				func(digest []byte) bool { return bytes.Equal(digest, d.commitment.C) })
			if len(fits) != 1 || fits[0] != "commitment input "+want {
				t.Fatalf("with the opening these codes fit: %v; want %s alone", fits, want)
			}

			// Without it none does, whatever known bytes are taken for a key.
			known := []func() hash.Hash{sha256.New}
			keys := knownKeys(t, d, records)
			if !long() {
				keys = keys[:c.keys]
			}
			for _, key := range keys {
				known = append(known, func() hash.Hash { return hmac.New(sha256.New, key) })
			}
			found := append(enumerate(tries[:2], known, heap.has), enumerate(tries[2:], known[:1], heap.has)...)
			if len(found) != 0 {
				t.Errorf("found in what is stored: %v", found)
			}
			t.Logf("%d bytes stored, %d keys tried", heap.bytes, len(known)-1)
		})
	}
}

// knownKeys are bytes that an attacker could take for the opening, the
// likeliest first.
func knownKeys(t *testing.T, d disclosedCode, records []sealpost.Record) [][]byte {
	t.Helper()
	c := d.commitment
	out := [][]byte{make([]byte, 32)}
	for _, r := range records {
		if r.Kind == sealpost.KindCommitment {
			out = append(out, r.Salt[:])
		}
	}
	b, err := evidence.ParseBundle(d.bundle)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range b.Exhibits {
		if s, err := sealpost.Parse(e.Statement); err == nil {
			if e, err := s.KeyEvent(); err == nil {
				out = append(out, e.Key.Bytes())
			}
		}
	}
	out = append(out, c.ID[:], c.C, c.Blob[:], c.Roster[:], c.Recipient[:], c.FieldRoot)
	for _, r := range records {
		out = append(out, r.Salt[:], r.Hash[:])
	}
	return out
}

// enumerate hashes each guess for each code with each function, and names those
// whose digest is hit.
func enumerate(guesses []guess, functions []func() hash.Hash, hit func(digest []byte) bool) (found []string) {
	var mu sync.Mutex
	var work sync.WaitGroup
	parts := runtime.GOMAXPROCS(0)
	for part := range parts {
		work.Go(func() {
			var digest, code []byte
			for _, g := range guesses {
				b := bytes.Clone(g.b)
				for _, make := range functions {
					h := make()
					for n := part; n < codesInAll; n += parts {
						code = appendCode(code[:0], n)
						g.put(b, code)
						h.Reset()
						h.Write(b)
						if digest = h.Sum(digest[:0]); hit(digest) {
							mu.Lock()
							found = append(found, g.what+" "+string(code))
							mu.Unlock()
						}
					}
				}
			}
		})
	}
	work.Wait()
	slices.Sort(found)
	return found
}

// appendCode writes a number below 10^6 in six digits.
func appendCode(b []byte, n int) []byte {
	for unit := codesInAll / 10; unit > 0; unit /= 10 {
		b = append(b, '0'+byte(n/unit%10))
	}
	return b
}
