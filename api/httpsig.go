package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost"
)

// This file is the part of HTTP Message Signatures (RFC 9421) and of Digest
// Fields (RFC 9530) that devices need: one signature, one fixed list of
// components, and one way to write each header. A reader that accepts a single
// spelling cannot be made to see another request than its signer saw.

// Rules of a device's signature.
const (
	signatureTag    = "sealpost-device"
	SignatureWindow = time.Minute // between created and the relay's clock
	nonceBytes      = 16
	sigHeaderMax    = 1 << 10 // bytes of Signature-Input, and of Signature
	sigComponents   = 16      // components of one signature
	sigParams       = 8       // parameters of one signature
)

// Header names, as net/http keys them.
const (
	headerInput     = "Signature-Input"
	headerSignature = "Signature"
	headerDigest    = "Content-Digest"
)

// The covered components, exactly and in this order.
var (
	componentsBare = []string{"@method", "@target-uri"}
	componentsBody = []string{"@method", "@target-uri", "content-digest"}
)

// sigAlgs are the names of RFC 9421 3.3 for our algorithms.
var sigAlgs = map[sealpost.Alg]string{sealpost.EdDSA: "ed25519", sealpost.ES256: "ecdsa-p256-sha256"}

// A sigInput is the one member of a Signature-Input header: an inner list of
// strings with parameters (RFC 8941 3.1.1).
type sigInput struct {
	label      string
	raw        string // the member's value as it stands: @signature-params
	components []string
	strings    map[string]string
	integers   map[string]int64
}

// parseSigInput reads a header of exactly one member in the canonical
// serialisation of RFC 8941 4.1, of which it knows inner lists of plain
// strings, and parameters that are strings or integers.
func parseSigInput(header string) (in sigInput, ok bool) {
	if len(header) > sigHeaderMax {
		return in, false
	}
	label, rest, ok := cutLabel(header)
	if !ok {
		return in, false
	}
	in = sigInput{label: label, raw: rest, strings: map[string]string{}, integers: map[string]int64{}}
	if rest, ok = in.readComponents(rest); !ok {
		return in, false
	}
	for n := 0; rest != ""; n++ {
		if n == sigParams {
			return in, false
		}
		if rest, ok = in.readParam(rest); !ok {
			return in, false
		}
	}
	return in, true
}

func (in *sigInput) readComponents(s string) (rest string, ok bool) {
	s, ok = strings.CutPrefix(s, "(")
	for n := 0; ok && n < sigComponents; n++ {
		var c string
		if c, s, ok = cutString(s); !ok {
			return "", false
		}
		in.components = append(in.components, c)
		if rest, closed := strings.CutPrefix(s, ")"); closed {
			return rest, true
		}
		s, ok = strings.CutPrefix(s, " ")
	}
	return "", false
}

func (in *sigInput) readParam(s string) (rest string, ok bool) {
	s, ok = strings.CutPrefix(s, ";")
	if !ok {
		return "", false
	}
	key, s, ok := cutLabel(s)
	_, isString := in.strings[key]
	_, isInteger := in.integers[key]
	if !ok || isString || isInteger {
		return "", false
	}
	if strings.HasPrefix(s, `"`) {
		in.strings[key], s, ok = cutString(s)
		return s, ok
	}
	in.integers[key], s, ok = cutInteger(s)
	return s, ok
}

// cutLabel reads a key and its equals sign (RFC 8941 3.1.2).
func cutLabel(s string) (label, rest string, ok bool) {
	label, rest, ok = strings.Cut(s, "=")
	if !ok || label == "" || (label[0] != '*' && (label[0] < 'a' || label[0] > 'z')) {
		return "", "", false
	}
	for i := range len(label) {
		c := label[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' && c != '*' {
			return "", "", false
		}
	}
	return label, rest, true
}

// cutString reads a quoted string of printable ASCII; none of ours needs an
// escape, so none is known.
func cutString(s string) (value, rest string, ok bool) {
	s, ok = strings.CutPrefix(s, `"`)
	if !ok {
		return "", "", false
	}
	value, rest, ok = strings.Cut(s, `"`)
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' || c == '\\' {
			return "", "", false
		}
	}
	return value, rest, ok
}

// cutInteger reads a decimal number of at most 15 digits (RFC 8941 3.3.1),
// without a sign: none of ours is negative.
func cutInteger(s string) (value int64, rest string, ok bool) {
	const digits = 15
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	if n == 0 || n > digits || (n > 1 && s[0] == '0') {
		return 0, "", false
	}
	value, err := strconv.ParseInt(s[:n], 10, 64)
	return value, s[n:], err == nil
}

// parseSigValue reads a Signature or Content-Digest header of exactly one
// member: a label and a byte sequence (RFC 8941 3.3.5).
func parseSigValue(header string) (label string, value []byte, ok bool) {
	if len(header) > sigHeaderMax {
		return "", nil, false
	}
	label, s, ok := cutLabel(header)
	if !ok || len(s) < 2 || s[0] != ':' || s[len(s)-1] != ':' {
		return "", nil, false
	}
	value, err := base64.StdEncoding.Strict().DecodeString(s[1 : len(s)-1])
	if err != nil || strings.ContainsAny(s, "\r\n") { // the decoder skips line ends
		return "", nil, false
	}
	return label, value, true
}

func formatSigValue(label string, value []byte) string {
	return label + "=:" + base64.StdEncoding.EncodeToString(value) + ":"
}

// signatureBase is what is signed (RFC 9421 2.5). value gives a component.
func signatureBase(components []string, params string, value func(component string) string) []byte {
	var b bytes.Buffer
	for _, c := range components {
		fmt.Fprintf(&b, "%q: %s\n", c, value(c))
	}
	fmt.Fprintf(&b, "%q: %s", "@signature-params", params)
	return b.Bytes()
}

// deviceBase is the signature base of a device's request.
func deviceBase(components []string, params, method, target, digest string) []byte {
	return signatureBase(components, params, func(component string) string {
		switch component {
		case "@method":
			return method
		case "@target-uri":
			return target
		}
		return digest
	})
}

// contentDigest is the Content-Digest of a body (RFC 9530 2).
func contentDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return formatSigValue("sha-256", sum[:])
}

// A deviceClaim is what a device's request says of its own signature, well
// formed and not yet checked.
type deviceClaim struct {
	input   sigInput
	created sealpost.UnixMilli
	nonce   [nonceBytes]byte
	key     sealpost.KeyID
	alg     string
	sig     []byte
}

// readDeviceClaim reads the signature headers of a request: one of each, the
// exact components for a request with or without a body, all of our parameters
// and no other.
func readDeviceClaim(h http.Header, hasBody bool) (c deviceClaim, ok bool) {
	inputs, sigs := h[headerInput], h[headerSignature]
	if len(inputs) != 1 || len(sigs) != 1 {
		return c, false
	}
	label, sig, ok := parseSigValue(sigs[0])
	if !ok || len(sig) != sealpost.SignatureSize {
		return c, false
	}
	in, ok := parseSigInput(inputs[0])
	if !ok || in.label != label || !sameStrings(in.components, componentsFor(hasBody)) {
		return c, false
	}
	if len(in.integers) != 1 || len(in.strings) != 4 || in.strings["tag"] != signatureTag {
		return c, false
	}
	created, ok := in.integers["created"]
	if !ok || created > int64(sealpost.TimeLast)/1000 {
		return c, false
	}
	nonce, err := base64.StdEncoding.Strict().DecodeString(in.strings["nonce"])
	if err != nil || len(nonce) != nonceBytes {
		return c, false
	}
	key, err := sealpost.ParseKeyID(in.strings["keyid"])
	if err != nil {
		return c, false
	}
	c = deviceClaim{input: in, created: sealpost.UnixMilli(created * 1000), nonce: [nonceBytes]byte(nonce),
		key: key, alg: in.strings["alg"], sig: sig}
	return c, true
}

func componentsFor(hasBody bool) []string {
	if hasBody {
		return componentsBody
	}
	return componentsBare
}

func sameStrings(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// within says whether the request was signed close enough to now.
func (c deviceClaim) within(now sealpost.UnixMilli) bool {
	return c.created <= now.Add(SignatureWindow) && c.created >= now.Add(-SignatureWindow)
}

// verify checks digest and signature under the key.
func (c deviceClaim) verify(key sealpost.PublicKey, r *http.Request, target string, body []byte) bool {
	if key.IsZero() || key.ID() != c.key || sigAlgs[key.Alg()] != c.alg {
		return false
	}
	digest := ""
	if len(c.input.components) == len(componentsBody) {
		digest = contentDigest(body)
		if got := r.Header[headerDigest]; len(got) != 1 || got[0] != digest {
			return false
		}
	}
	base := deviceBase(c.input.components, c.input.raw, r.Method, target, digest)
	return key.Verify(base, c.sig) == nil
}

// signDevice signs a request in place. body is nil for a request without one.
func signDevice(r *http.Request, body []byte, by sealpost.Signer, now time.Time, random io.Reader) error {
	var nonce [nonceBytes]byte
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return fmt.Errorf("draw a nonce: %w", err)
	}
	key := by.Public()
	components := componentsFor(body != nil)
	digest := ""
	if body != nil {
		digest = contentDigest(body)
		r.Header[headerDigest] = []string{digest}
	}
	params := fmt.Sprintf(`("%s");created=%d;nonce="%s";keyid="%s";alg="%s";tag="%s"`,
		strings.Join(components, `" "`), now.Unix(), base64.StdEncoding.EncodeToString(nonce[:]),
		key.ID(), sigAlgs[key.Alg()], signatureTag)
	sig, err := by.Sign(deviceBase(components, params, r.Method, r.URL.String(), digest))
	if err != nil {
		return fmt.Errorf("sign the request: %w", err)
	}
	r.Header[headerInput] = []string{"sealpost=" + params}
	r.Header[headerSignature] = []string{formatSigValue("sealpost", sig)}
	return nil
}
