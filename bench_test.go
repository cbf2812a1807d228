package sealpost

import (
	"bytes"
	"testing"
)

// submissionOf is a submission as a bank sends it: about 500 bytes of
// commitment and 800 of blob.
func submissionOf(b testing.TB) Sealed {
	b.Helper()
	blob, err := EncodeEnvelope(Envelope{Message: bytes.Repeat([]byte{7}, 800)})
	if err != nil {
		b.Fatal(err)
	}
	c := honestCommitment()
	c.Blob = sumHash(blob)
	signed, err := Sign(c, testKey(EdDSA, 1))
	if err != nil {
		b.Fatal(err)
	}
	s, err := NewSealed(signed, blob)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkParseSealed is what the relay does with the bytes of a submission
// before it checks the signature.
func BenchmarkParseSealed(b *testing.B) {
	body := submissionOf(b).Bytes()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseSealed(body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReceipt reads a receipt as it comes from a device.
func BenchmarkReceipt(b *testing.B) {
	s, err := Sign(honestReceipt(), testKey(EdDSA, 1))
	if err != nil {
		b.Fatal(err)
	}
	raw := s.Bytes()
	b.ReportAllocs()
	for b.Loop() {
		s, err := Parse(raw)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Receipt(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkToBeSigned is what the relay's verifier asks of a statement.
func BenchmarkToBeSigned(b *testing.B) {
	s := submissionOf(b).Statement()
	b.ReportAllocs()
	for b.Loop() {
		if len(s.ToBeSigned()) == 0 {
			b.Fatal("nothing to sign")
		}
	}
}

// BenchmarkSignAttempt is a statement of the relay's own; most of it is
// Ed25519.
func BenchmarkSignAttempt(b *testing.B) {
	key, a := testKey(EdDSA, 1), honestAttempt()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Sign(a, key); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMakeLeaf is the leaf of a statement of 500 bytes.
func BenchmarkMakeLeaf(b *testing.B) {
	statement := submissionOf(b).Statement().Bytes()
	b.SetBytes(int64(len(statement)))
	b.ReportAllocs()
	for b.Loop() {
		MakeLeaf(Salt{1}, statement)
	}
}

// BenchmarkSignPromise256 is a full group, each part written as it travels;
// ns/entry is the share of one statement.
func BenchmarkSignPromise256(b *testing.B) {
	key := testKey(EdDSA, 1)
	entries, _, _ := promiseGroup(PromiseGroup)
	b.ReportAllocs()
	for b.Loop() {
		all, err := SignPromise(entries, "log.example", testStart, 9, MergeDelay, key)
		if err != nil {
			b.Fatal(err)
		}
		for _, p := range all {
			p.Encode()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/PromiseGroup, "ns/entry")
}
