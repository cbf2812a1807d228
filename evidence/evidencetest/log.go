package evidencetest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
)

// A Log is a transparency log in memory: RFC 9162 2.1 by its recursive
// definition, so that it shares no code with the verifier that it tests.
type Log struct {
	signer    note.Signer
	key       string
	leaves    [][]byte
	witnesses []witness
}

type witness struct {
	name string
	priv ed25519.PrivateKey
	at   sealpost.UnixMilli
}

// NewLog makes a log of a name whose key comes from a seed.
func NewLog(name string, seed byte) *Log {
	priv := ed25519.NewKeyFromSeed(fill(seed))
	key, err := note.NewEd25519VerifierKey(name, priv.Public().(ed25519.PublicKey))
	check(err)
	v, err := note.NewVerifier(key)
	check(err)
	return &Log{signer: noteSigner{name, v.KeyHash(), func(msg []byte) []byte { return ed25519.Sign(priv, msg) }}, key: key}
}

// Key is the log's verifier key.
func (l *Log) Key() string { return l.key }

// Size is the number of leaves.
func (l *Log) Size() uint64 { return uint64(len(l.leaves)) }

// Append adds a leaf and returns its index.
func (l *Log) Append(leaf []byte) uint64 {
	l.leaves = append(l.leaves, leaf)
	return l.Size() - 1
}

// Fork is a log with the same key and another history from a size on.
func (l *Log) Fork(size uint64) *Log {
	f := *l
	f.leaves = append([][]byte(nil), l.leaves[:size]...)
	return &f
}

// AddWitness makes every later checkpoint carry a cosignature of a time, and
// returns the witness's verifier key.
func (l *Log) AddWitness(name string, seed byte, at sealpost.UnixMilli) string {
	w := witness{name, ed25519.NewKeyFromSeed(fill(seed)), at}
	l.witnesses = append(l.witnesses, w)
	pub := append([]byte{cosignatureV1}, w.priv.Public().(ed25519.PublicKey)...)
	return fmt.Sprintf("%s+%08x+%s", name, keyHash(name, pub), base64.StdEncoding.EncodeToString(pub))
}

const cosignatureV1 = 4 // the signature type of C2SP tlog-cosignature

func keyHash(name string, key []byte) uint32 {
	h := sha256.Sum256(append([]byte(name+"\n"), key...))
	return binary.BigEndian.Uint32(h[:4])
}

// Root is MTH of the first size leaves.
func (l *Log) Root(size uint64) sealpost.Hash { return mth(l.leaves[:size]) }

// Checkpoint is the signed note of a size, cosigned.
func (l *Log) Checkpoint(size uint64) []byte {
	root := l.Root(size)
	text := fmt.Sprintf("%s\n%d\n%s\n", l.signer.Name(), size, base64.StdEncoding.EncodeToString(root[:]))
	signers := []note.Signer{l.signer}
	for _, w := range l.witnesses {
		pub := append([]byte{cosignatureV1}, w.priv.Public().(ed25519.PublicKey)...)
		signers = append(signers, noteSigner{w.name, keyHash(w.name, pub), w.cosign})
	}
	n, err := note.Sign(&note.Note{Text: text}, signers...)
	check(err)
	return n
}

func (w witness) cosign(msg []byte) []byte {
	seconds := uint64(w.at / 1000)
	sig := binary.BigEndian.AppendUint64(nil, seconds)
	return append(sig, ed25519.Sign(w.priv, []byte(fmt.Sprintf("cosignature/v1\ntime %d\n%s", seconds, msg)))...)
}

// Prove is the tlog-proof of a leaf under the checkpoint of a size.
func (l *Log) Prove(index, size uint64) []byte {
	var hashes [][sha256.Size]byte
	for _, h := range path(int(index), l.leaves[:size]) {
		hashes = append(hashes, h)
	}
	return proof.TLogProof{Index: index, Hashes: hashes, Checkpoint: l.Checkpoint(size)}.Marshal()
}

// Consistency is the proof that size to extends size from.
func (l *Log) Consistency(from, to uint64) evidence.Consistency {
	return evidence.Consistency{From: from, Root: l.Root(from), To: to, Path: subproof(int(from), l.leaves[:to], true)}
}

// Span is every leaf from one index up to a size, under the checkpoint of it.
func (l *Log) Span(from, size uint64) *evidence.Span {
	s := &evidence.Span{From: from, Leaves: bytes.Join(l.leaves[from:size], nil), Before: []sealpost.Hash{}, Checkpoint: l.Checkpoint(size)}
	for at, bit := uint64(0), uint64(1)<<62; bit > 0; bit >>= 1 {
		if from&bit != 0 { // each bit of an index is a perfect subtree before it
			s.Before = append(s.Before, mth(l.leaves[at:at+bit]))
			at += bit
		}
	}
	return s
}

// mth is RFC 9162 2.1.1.
func mth(d [][]byte) sealpost.Hash {
	switch len(d) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, d[0]...))
	}
	k := split(len(d))
	left, right := mth(d[:k]), mth(d[k:])
	return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
}

// path is RFC 9162 2.1.3.1.
func path(m int, d [][]byte) []sealpost.Hash {
	if len(d) == 1 {
		return nil
	}
	k := split(len(d))
	if m < k {
		return append(path(m, d[:k]), mth(d[k:]))
	}
	return append(path(m-k, d[k:]), mth(d[:k]))
}

// subproof is RFC 9162 2.1.4.1.
func subproof(m int, d [][]byte, complete bool) []sealpost.Hash {
	if m == len(d) {
		if complete {
			return []sealpost.Hash{}
		}
		return []sealpost.Hash{mth(d)}
	}
	k := split(len(d))
	if m <= k {
		return append(subproof(m, d[:k], complete), mth(d[k:]))
	}
	return append(subproof(m-k, d[k:], false), mth(d[:k]))
}

// split is the largest power of two below n.
func split(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}

type noteSigner struct {
	name string
	hash uint32
	sign func([]byte) []byte
}

func (s noteSigner) Name() string                    { return s.name }
func (s noteSigner) KeyHash() uint32                 { return s.hash }
func (s noteSigner) Sign(msg []byte) ([]byte, error) { return s.sign(msg), nil }

func fill(seed byte) []byte {
	b := make([]byte, 32)
	for i := range b {
		b[i] = seed
	}
	return b
}

// check stops a test whose own set-up is wrong.
func check(err error) {
	if err != nil {
		panic("evidencetest: " + err.Error())
	}
}
