package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"path"
	"slices"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/evidence/evidencetest"
	"github.com/sealpost/sealpost/spec/vectors"
)

// folders hold the files that the index names.
var folders = []string{"statements", "malformed", "openings", "bundles"}

// A maker gathers the files and the index.
type maker struct {
	files map[string][]byte
	index vectors.Index
}

// Files makes every file of the vectors, by its path.
func Files() map[string][]byte {
	m := &maker{files: map[string][]byte{}, index: vectors.Index{Version: 1}}
	m.statements()
	m.spoiltStatements()
	m.malformed()
	m.openings()
	m.promises()
	m.bundles()
	m.files["index.json"] = encodeJSON(m.index)
	m.files["signatures.json"] = encodeJSON(signatures())
	return m.files
}

func encodeJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	check(e.Encode(v))
	return b.Bytes()
}

// check stops a generator whose own set-up is wrong.
func check(err error) {
	if err != nil {
		panic("generate: " + err.Error())
	}
}

// put keeps a file; two of one name would hide a case.
func (m *maker) put(folder, name, ext string, b []byte) string {
	p := path.Join(folder, name+ext)
	if _, taken := m.files[p]; taken {
		panic("generate: two files " + p)
	}
	m.files[p] = b
	return p
}

func (m *maker) statement(name string, raw []byte, key sealpost.PublicKey, accepted bool, why string) string {
	s, err := sealpost.Parse(raw)
	check(err)
	file := m.put("statements", name, ".cbor", raw)
	sum := sha256.Sum256(raw)
	m.index.Statements = append(m.index.Statements, vectors.Statement{Name: name, File: file, Kind: s.Kind().String(),
		Key: hex.EncodeToString(key.COSE()), Hash: hex.EncodeToString(sum[:]), Accepted: accepted, Why: why})
	return file
}

// story is a world in which everything is signed with one algorithm.
func story(alg sealpost.Alg, hash sealpost.HashAlg) *evidencetest.World {
	w := evidencetest.New()
	w.HashAlg = hash
	w.Sender, w.Relay = evidencetest.Key(alg, 1), evidencetest.Key(alg, 2)
	w.Devices = []evidencetest.Device{{Key: evidencetest.Key(alg, 3), Leaf: evidencetest.Key(alg, 4), Assurance: sealpost.AssuranceSoftware}}
	w.Steps = []string{"enrol-sender", "enrol-0", "commitment", "attempt-0", "claim-0", "handed_over-0", "decrypted-0", "displayed-0", "acted-0",
		"outcome", "mismatch-0", "gap-0", "decrypt-failed-0", "revoke-0"}
	return w.Tell()
}

var algs = map[sealpost.Alg]string{sealpost.EdDSA: "ed25519", sealpost.ES256: "es256"}

// statements are honest: each kind and level with both algorithms, commitments
// with each hash.
func (m *maker) statements() {
	for _, alg := range []sealpost.Alg{sealpost.EdDSA, sealpost.ES256} {
		w := story(alg, sealpost.SHA256)
		for _, step := range w.Steps {
			e := w.Entries[step]
			file := m.statement(step+"-"+algs[alg], e.Signed.Bytes(), signerOf(w, e.Signed), true, "")
			leaf := sealpost.MakeLeaf(e.Salt, e.Signed.Bytes())
			m.index.Leaves = append(m.index.Leaves, vectors.Leaf{Statement: file, Salt: hex.EncodeToString(e.Salt[:]), Leaf: hex.EncodeToString(leaf[:])})
		}
	}
	for hash, name := range map[sealpost.HashAlg]string{sealpost.SHA384: "sha384", sealpost.SHA512: "sha512"} {
		w := story(sealpost.EdDSA, hash)
		m.statement("commitment-"+name, w.Entries["commitment"].Signed.Bytes(), w.Sender.Public(), true, "")
	}
	slices.SortFunc(m.index.Statements, func(a, b vectors.Statement) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
}

func signerOf(w *evidencetest.World, s sealpost.Signed) sealpost.PublicKey {
	for _, k := range []sealpost.Signer{w.Sender, w.Relay, w.Devices[0].Key} {
		if k.Public().ID() == s.KeyID() {
			return k.Public()
		}
	}
	panic("generate: a statement by nobody")
}

// resign puts another payload into a statement and signs it, as a signer with
// its own encoder could.
func resign(s sealpost.Signed, payload []byte, by sealpost.Signer) []byte {
	raw := s.Bytes()
	n := int(raw[3]) // "d2 84 58 nn": the protected header is 24 to 255 bytes long
	prefix := raw[:4+n+1]
	out := slices.Concat(prefix, head(0x40, len(payload)), payload, []byte{0x58, sealpost.SignatureSize}, make([]byte, sealpost.SignatureSize))
	unsigned, err := sealpost.Parse(out)
	check(err)
	sig, err := by.Sign(unsigned.ToBeSigned())
	check(err)
	return append(out[:len(out)-len(sig)], sig...)
}

// head is a CBOR head in shortest form.
func head(major byte, n int) []byte {
	switch {
	case n < 24:
		return []byte{major | byte(n)}
	case n < 1<<8:
		return []byte{major | 24, byte(n)}
	}
	return binary.BigEndian.AppendUint16([]byte{major | 25}, uint16(n))
}

// spoiltStatements parse as COSE; a rule of the payload is broken, or the
// signature.
func (m *maker) spoiltStatements() {
	w := story(sealpost.EdDSA, sealpost.SHA256)
	honest := w.Entries["commitment"].Signed
	flipped := honest.Bytes()
	flipped[len(flipped)-1] ^= 1
	m.statement("spoilt-signature", flipped, w.Sender.Public(), false, "the signature is not by the key")
	m.statement("spoilt-key", honest.Bytes(), w.Relay.Public(), false, "another key is named")
	high := story(sealpost.ES256, sealpost.SHA256)
	m.statement("spoilt-high-s", highS(high.Entries["commitment"].Signed.Bytes()), high.Sender.Public(), false, "s is in the upper half")

	c, err := honest.Commitment()
	check(err)
	for _, x := range []struct {
		name, why string
		spoil     func(*sealpost.Commitment)
	}{
		{"expires", "expires is not after created", func(c *sealpost.Commitment) { c.Expires = c.Created }},
		{"lifetime", "expires is more than 28 days after created", func(c *sealpost.Commitment) { c.Expires = c.Created.Add(sealpost.LifetimeMax) + 1 }},
		{"canonicalization", "canonicalization 2 does not exist", func(c *sealpost.Commitment) { c.Canonicalization = 2 }},
		{"pattern", "pattern B does not exist", func(c *sealpost.Commitment) { c.Pattern = 2 }},
		{"hash-algorithm", "COSE algorithm -15 is not allowed", func(c *sealpost.Commitment) { c.HashAlg = -15 }},
		{"short-c", "C is shorter than its hash", func(c *sealpost.Commitment) { c.C = c.C[1:] }},
		{"carriers", "carriers do not ascend", func(c *sealpost.Commitment) { c.Carriers = []sealpost.Carrier{sealpost.SMS, sealpost.FCM} }},
		{"app", "the app id holds a space", func(c *sealpost.Commitment) { c.App = "my bank" }},
		{"message-id", "the message id is no UUIDv7", func(c *sealpost.Commitment) { c.ID[6] = 0x40 }},
	} {
		v := c
		x.spoil(&v)
		payload, err := sealpost.Encode(v)
		check(err)
		m.statement("spoilt-commitment-"+x.name, resign(honest, payload, w.Sender), w.Sender.Public(), false, x.why)
	}
	good, err := sealpost.Encode(c)
	check(err)
	id := append([]byte{0x01, 0x50}, c.ID[:]...)
	for name, x := range map[string]struct {
		payload []byte
		why     string
	}{
		"duplicate-key":   {slices.Concat([]byte{0xb5}, id, good[1:]), "a key stands twice"},
		"unknown-key":     {slices.Concat([]byte{0xb5}, good[1:], []byte{0x18, 0x63, 0x01}), "key 99 is unknown"},
		"missing-key":     {slices.Concat([]byte{0xb3}, good[1+len(id):]), "key 1 is missing"},
		"indefinite-map":  {slices.Concat([]byte{0xbf}, good[1:], []byte{0xff}), "the map has no definite length"},
		"trailing-byte":   {append(slices.Clone(good), 0), "a byte follows the map"},
		"long-head":       {slices.Concat([]byte{0xb8, 0x14}, good[1:]), "the map's head is not in shortest form"},
		"float":           {bytes.Replace(good, []byte{0x07, 0x01}, []byte{0x07, 0xf9, 0x3c, 0x00}, 1), "a float"},
		"tag":             {bytes.Replace(good, []byte{0x07, 0x01}, []byte{0x07, 0xc1, 0x01}, 1), "a tag"},
		"time-no-millis":  {bytes.Replace(good, []byte("\x78\x182026-09-21T14:13:20.000Z"), []byte("\x742026-09-21T14:13:20Z"), 1), "created has no milliseconds"},
		"payload-no-map":  {[]byte{0x80}, "the payload is no map"},
		"payload-nothing": {[]byte{}, "the payload is empty"},
	} {
		if bytes.Equal(x.payload, good) {
			panic("generate: a case that changes nothing: " + name)
		}
		m.statement("spoilt-encoding-"+name, resign(honest, x.payload, w.Sender), w.Sender.Public(), false, x.why)
	}
	r := w.Entries["decrypted-0"].Signed
	v, err := r.Receipt()
	check(err)
	for name, spoil := range map[string]func(*sealpost.Receipt){
		"no-opened":   func(r *sealpost.Receipt) { r.Opened = nil },
		"level":       func(r *sealpost.Receipt) { r.Level, r.Opened = 8, nil },
		"reason":      func(r *sealpost.Receipt) { r.Reason = sealpost.ReasonAAD },
		"opened-late": func(r *sealpost.Receipt) { r.Level = sealpost.HandedOver },
	} {
		s := v
		spoil(&s)
		payload, err := sealpost.Encode(s)
		check(err)
		m.statement("spoilt-receipt-"+name, resign(r, payload, w.Devices[0].Key), w.Devices[0].Key.Public(), false, "a rule of receipt 2 or 3 is broken")
	}
	slices.SortFunc(m.index.Statements, func(a, b vectors.Statement) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
}

// malformed files do not parse.
func (m *maker) malformed() {
	w := story(sealpost.EdDSA, sealpost.SHA256)
	s := w.Entries["revoke-0"].Signed.Bytes()
	n := int(s[3])
	protected := s[4 : 4+n]
	rest := s[4+n+1:]
	frame := func(head string, protected, unprotected, rest []byte) []byte {
		return slices.Concat([]byte(head), protected, unprotected, rest)
	}
	bundle, err := minimal().Bundle().Encode()
	check(err)
	body := bundle[:len(bundle)-32]
	policy, err := minimal().Policy().Encode()
	check(err)
	roster := w.Roster
	slices.Reverse(roster.Members)
	for _, x := range []struct {
		as, name, why string
		b             []byte
	}{
		{"statement", "untagged", "the COSE_Sign1 has no tag", s[1:]},
		{"statement", "trailing-byte", "a byte follows the signature", append(slices.Clone(s), 0)},
		{"statement", "cut", "the signature is cut", s[:len(s)-1]},
		{"statement", "indefinite-array", "the array has no definite length", slices.Concat([]byte{0xd2, 0x9f}, s[2:], []byte{0xff})},
		{"statement", "unprotected-header", "the unprotected header is not empty", frame(string(s[:4]), protected, []byte{0xa1, 0x05, 0x40}, rest)},
		{"statement", "long-head", "the protected header's length is not in shortest form", frame("\xd2\x84\x59\x00"+string(s[3:4]), protected, []byte{0xa0}, rest)},
		{"statement", "unknown-algorithm", "COSE algorithm -35 is not ours", bytes.Replace(s, []byte("\xa3\x01\x27"), []byte("\xa3\x01\x37"), 1)},
		{"statement", "unknown-kind", "no statement has this content type", bytes.Replace(s, []byte("key-event"), []byte("key-evenx"), 1)},
		{"statement", "another-version", "version 2 does not exist", bytes.Replace(s, []byte(";v=1"), []byte(";v=2"), 1)},
		{"statement", "empty", "nothing", nil},
		{"bundle", "no-digest", "the digest is missing", body},
		{"bundle", "wrong-digest", "the digest is of other bytes", append(slices.Clone(bundle[:len(bundle)-1]), bundle[len(bundle)-1]^1)},
		{"bundle", "version", "version 2 does not exist", evidence.Seal(append([]byte{body[0], 0x01, 0x02}, body[3:]...))},
		{"bundle", "unknown-key", "key 8 is unknown", evidence.Seal(slices.Concat([]byte{body[0] + 1}, body[1:], []byte{0x08, 0x01}))},
		{"bundle", "trailing-byte", "a byte follows the map", evidence.Seal(append(slices.Clone(body), 0))},
		{"bundle", "indefinite", "the map has no definite length", evidence.Seal(slices.Concat([]byte{0xbf}, body[1:], []byte{0xff}))},
		{"bundle", "empty-map", "nothing is in it", evidence.Seal([]byte{0xa0})},
		{"roster", "unsorted", "members do not ascend by leaf", roster.Encode()},
		{"envelope", "no-message", "there is no PrivateMessage", []byte{0xa1, 0x03, 0x40}},
		{"submission", "another-blob", "the blob is not the one committed to", slices.Concat([]byte{0xa2, 0x01}, head(0x40, len(w.Entries["commitment"].Signed.Bytes())), w.Entries["commitment"].Signed.Bytes(), []byte{0x02, 0x41, 0x00})},
		{"payload", "empty", "nothing", nil},
		{"promised", "path-of-text", "a path holds text", []byte{0x84, 0x41, 0x00, 0x80, 0x00, 0x81, 0x61, 0x61}},
		{"policy", "unknown-member", "trust_all is unknown", bytes.Replace(policy, []byte(`"witnesses": 0`), []byte(`"witnesses": 0, "trust_all": true`), 1)},
		{"policy", "repeated-member", "witnesses stands twice", bytes.Replace(policy, []byte(`"witnesses": 0`), []byte(`"witnesses": 0, "witnesses": 0`), 1)},
		{"policy", "witnesses-without-keys", "one witness is wanted and none is named", bytes.Replace(policy, []byte(`"witnesses": 0`), []byte(`"witnesses": 1`), 1)},
	} {
		ext := ".cbor"
		switch x.as {
		case "policy":
			ext = ".json"
		case "bundle":
			ext = ".sealpost"
		}
		name := x.as + "-" + x.name
		m.index.Malformed = append(m.index.Malformed, vectors.Malformed{Name: name, File: m.put("malformed", name, ext, x.b), As: x.as, Why: x.why})
	}
}

// openings are payloads that do and do not open a commitment.
func (m *maker) openings() {
	for _, hash := range []struct {
		alg  sealpost.HashAlg
		name string
	}{{sealpost.SHA256, "sha256"}, {sealpost.SHA384, "sha384"}, {sealpost.SHA512, "sha512"}} {
		w := story(sealpost.EdDSA, hash.alg)
		commitment := m.put("openings", "commitment-"+hash.name, ".cbor", w.Entries["commitment"].Signed.Bytes())
		payload := func(name string, p sealpost.Payload, opens bool) {
			b, err := sealpost.EncodePayload(p)
			check(err)
			name += "-" + hash.name
			m.index.Openings = append(m.index.Openings, vectors.Opening{Name: name, Payload: m.put("openings", name, ".cbor", b), Commitment: commitment, Opens: opens})
		}
		payload("honest", w.Payload, true)
		p := w.Payload
		p.Content.Text += "."
		payload("another-text", p, false)
		p = w.Payload
		p.R[0] ^= 1
		payload("another-opening", p, false)
		p = w.Payload
		p.Content.Fields = slices.Clone(p.Content.Fields)
		p.Content.Fields[0].Value = "13.00 EUR"
		payload("another-value", p, false)
		p = w.Payload
		p.Sequence.Number, p.Sequence.Previous = 2, sealpost.Hash{1}
		payload("another-sequence", p, false)
	}
}

// promises travel beside statements.
func (m *maker) promises() {
	w := story(sealpost.EdDSA, sealpost.SHA256)
	e, other := w.Entries["commitment"], w.Entries["decrypted-0"]
	broken := slices.Clone(e.Promise)
	broken[len(broken)-1] ^= 1
	for _, x := range []struct {
		name     string
		b        []byte
		accepted bool
	}{{"promise-honest", e.Promise, true}, {"promise-of-another-statement", other.Promise, false}, {"promise-broken-path", broken, false}} {
		m.index.Promises = append(m.index.Promises, vectors.Promise{Name: x.name, File: m.put("statements", x.name, ".cbor", x.b),
			Statement: "statements/commitment-ed25519.cbor", Salt: hex.EncodeToString(e.Salt[:]), Key: hex.EncodeToString(w.Relay.Public().COSE()), Accepted: x.accepted})
	}
	if !bytes.Equal(m.files["statements/commitment-ed25519.cbor"], e.Signed.Bytes()) {
		panic("generate: the promise is of another commitment than the file")
	}
}
