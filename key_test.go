package sealpost

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func sumOf(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RFC 9679 section 6 gives this P-256 key and its thumbprint.
func TestThumbprintKnownAnswer(t *testing.T) {
	point := "04" + "65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d" + "1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c"
	k, err := NewES256Key(unhex(t, point))
	if err != nil {
		t.Fatal(err)
	}
	if got := k.ID().String(); got != "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec" {
		t.Errorf("thumbprint %s", got)
	}
}

// For Ed25519 the RFC has no example. By its section 4.1 the input is the map of
// the required parameters {1: 1, -1: 6, -2: x} in deterministic CBOR:
// a3 01 01 20 06 21 58 20 and x.
func TestThumbprintEd25519(t *testing.T) {
	// RFC 8032 7.1, test 1.
	x := "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
	k, err := NewEd25519Key(unhex(t, x))
	if err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256(unhex(t, "a301012006215820"+x))
	if got := k.ID(); got != want {
		t.Errorf("thumbprint %s, want %x", got, want)
	}
	// RFC 8032 7.1, test 1: the signature of the empty message.
	sig := unhex(t, "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b")
	if err := k.Verify(nil, sig); err != nil {
		t.Error(err)
	}
	priv, _ := NewPrivateKey(EdDSA, unhex(t, "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
	if got, _ := priv.Sign(nil); !bytes.Equal(got, sig) || priv.Public() != k {
		t.Error("RFC 8032 7.1 test 1 does not come out")
	}
}

func TestPublicKeyHasOneForm(t *testing.T) {
	for _, alg := range []Alg{EdDSA, ES256} {
		k := testKey(alg, 1).Public()
		back, err := ParsePublicKey(k.COSE())
		if err != nil || back != k {
			t.Fatalf("%v: %v", alg, err)
		}
		b := k.COSE()
		for i := range 8 {
			spoilt := bytes.Clone(b)
			spoilt[i] ^= 1
			if _, err := ParsePublicKey(spoilt); !errors.Is(err, ErrMalformed) {
				t.Errorf("%v: byte %d of the head: %v", alg, i, err)
			}
		}
		for _, bad := range [][]byte{nil, b[1:], b[:len(b)-1], append(bytes.Clone(b), 0)} {
			if _, err := ParsePublicKey(bad); !errors.Is(err, ErrMalformed) {
				t.Errorf("%v: %x: %v", alg, bad, err)
			}
		}
	}
	off := testKey(ES256, 1).Public().COSE()
	off[len(off)-1] ^= 1
	if _, err := ParsePublicKey(off); !errors.Is(err, ErrMalformed) {
		t.Errorf("a point off the curve: %v", err)
	}
	if _, err := NewES256Key(make([]byte, 65)); !errors.Is(err, ErrMalformed) {
		t.Errorf("no point: %v", err)
	}
	if _, err := NewPrivateKey(ES256, make([]byte, 32)); !errors.Is(err, ErrMalformed) {
		t.Errorf("scalar zero: %v", err)
	}
	if (PublicKey{}).Verify(nil, make([]byte, 64)) == nil {
		t.Error("no key verifies something")
	}
}

// No verb of fmt, no logger and no encoder prints a secret.
func TestSecretsDoNotPrint(t *testing.T) {
	seed := bytes.Repeat([]byte{0x5a}, 32)
	ed, _ := NewPrivateKey(EdDSA, seed)
	p256, _ := NewPrivateKey(ES256, seed)
	endpoint, err := NewEndpoint(FCM, EndpointFCMToken, strings.Repeat("Z", 32))
	if err != nil {
		t.Fatal(err)
	}
	opening, salt := Opening(seed), Salt(seed)
	type holder struct {
		Opening Opening
		Salt    Salt
	}
	values := map[string]any{"Ed25519 key": ed, "P-256 key": p256, "opening": opening, "opening by pointer": &opening, "salt": salt, "salt by pointer": &salt,
		"endpoint": endpoint, "endpoint by pointer": &endpoint, "slice of openings": []Opening{opening}, "payload": Payload{R: opening, SequenceR: opening},
		"field opening": FieldOpening{R: opening}, "record": Record{Salt: salt}, "holder": holder{Opening: opening, Salt: salt}, "enrolment answer": EnrolmentAnswer{Endpoints: []Endpoint{endpoint}}}
	forms := []string{"5a5a5a5a", "5A5A5A5A", "90 90 90 90", "90,90,90,90", "0x5a, 0x5a", "ZZZZ", "WlpaWl", "132 132 132", "1011010 1011010", "\\x5a\\x5a"}
	for name, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "%b", "%o"} {
			leaks(t, name+" with "+verb, fmt.Sprintf(verb, v), forms)
		}
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "secret", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "secret", v)
		leaks(t, name+" in slog", b.String(), forms)
		j, _ := json.Marshal(v)
		leaks(t, name+" in JSON", string(j), forms)
	}
}

func leaks(t *testing.T, where, text string, forms []string) {
	t.Helper()
	for _, f := range forms {
		if strings.Contains(text, f) {
			t.Errorf("%s prints the secret: %s", where, text)
			return
		}
	}
}
