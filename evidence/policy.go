package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost"
)

// PolicyVersion is the only version of policies (policy 1).
const PolicyVersion = 1

// Limits of a policy (policy 1).
const (
	PolicyMax      = 256 << 10 // bytes of the file
	policyKeysMax  = 256       // keys in one list of a policy
	policyTextMax  = 4096      // bytes of one key in text; ML-DSA-44 keys have 1,800
	requirementAny = "outcome" // any end of the message will do
)

// A Requirement is what must be shown for a bundle to be proven. No level
// implies another (R58): a bundle that shows "displayed" and not "decrypted"
// does not meet a requirement of "decrypted".
type Requirement string

// Requirements (policy 2).
const (
	RequireOutcome   Requirement = requirementAny // a proven end, whichever it is
	RequireDecrypted Requirement = "decrypted"
	RequireDisplayed Requirement = "displayed"
	RequireActed     Requirement = "acted"
)

// level is the level of receipt that a requirement wants; 0 for none.
func (r Requirement) level() (l sealpost.Level, known bool) {
	switch r {
	case RequireOutcome:
		return 0, true
	case RequireDecrypted:
		return sealpost.Decrypted, true
	case RequireDisplayed:
		return sealpost.Displayed, true
	case RequireActed:
		return sealpost.Acted, true
	}
	return 0, false
}

// A Sender is a business and one of its signing keys that the verifier trusts.
type Sender struct {
	App string
	Key sealpost.PublicKey
}

// A Policy is whom a verifier trusts, and what it wants to see (policy 2). It
// comes from the verifier and never from the bundle.
type Policy struct {
	LogKey         string               // the log's verifier key (C2SP signed-note), Ed25519; its name is the origin
	Witnesses      int                  // cosignatures that a checkpoint needs; 0: the log is ordered by the relay's own word
	WitnessKeys    []string             // verifier keys of witnesses, at least Witnesses
	RelayKeys      []sealpost.PublicKey // of the relay's own statements
	Senders        []Sender
	LeastAssurance sealpost.Assurance // of a device whose receipts count
	Require        Requirement
	ValidUntil     sealpost.UnixMilli // 0: no end
}

// wirePolicy is the file (policy 1), its members in this order.
type wirePolicy struct {
	Version        int                 `json:"version"`
	LogKey         string              `json:"log_key"`
	Witnesses      int                 `json:"witnesses"`
	WitnessKeys    []string            `json:"witness_keys"`
	RelayKeys      []string            `json:"relay_keys"`
	Senders        []wireSender        `json:"senders"`
	LeastAssurance string              `json:"least_assurance"`
	Require        Requirement         `json:"require"`
	ValidUntil     *sealpost.UnixMilli `json:"valid_until,omitempty"`
}

type wireSender struct {
	App string `json:"app"`
	Key string `json:"key"`
}

var policyMembers = []string{"version", "log_key", "witnesses", "witness_keys", "relay_keys", "senders", "least_assurance", "require"}

// Encode writes the policy as its file, one way only.
func (p Policy) Encode() ([]byte, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	w := wirePolicy{Version: PolicyVersion, LogKey: p.LogKey, Witnesses: p.Witnesses, WitnessKeys: p.WitnessKeys,
		RelayKeys: []string{}, LeastAssurance: p.LeastAssurance.String(), Require: p.Require}
	if w.WitnessKeys == nil {
		w.WitnessKeys = []string{}
	}
	for _, k := range p.RelayKeys {
		w.RelayKeys = append(w.RelayKeys, encodeKey(k))
	}
	for _, s := range p.Senders {
		w.Senders = append(w.Senders, wireSender{s.App, encodeKey(s.Key)})
	}
	if p.ValidUntil != 0 {
		w.ValidUntil = &p.ValidUntil
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(w); err != nil {
		return nil, fmt.Errorf("encode a policy: %w", err)
	}
	return out.Bytes(), nil
}

// Hash is SHA-256 of the encoding: what a bundle may carry as a hint.
func (p Policy) Hash() (sealpost.Hash, error) {
	b, err := p.Encode()
	return sha256.Sum256(b), err
}

// ParsePolicy reads a policy file. It refuses unknown, repeated and missing
// members, and names every fault at once, each with the mend.
func ParsePolicy(b []byte) (Policy, error) {
	if len(b) > PolicyMax {
		return Policy{}, fmt.Errorf("policy: %w: %d bytes, at most %d are allowed", sealpost.ErrMalformed, len(b), PolicyMax)
	}
	f := &faults{}
	if !f.strict(b) {
		return Policy{}, f.join()
	}
	var w wirePolicy
	if err := f.decode(b, &w); err != nil {
		return Policy{}, f.join()
	}
	p := w.policy(f)
	f.add(p.faults()...)
	if err := f.join(); err != nil {
		return Policy{}, err
	}
	return p, nil
}

func (w wirePolicy) policy(f *faults) Policy {
	p := Policy{LogKey: w.LogKey, Witnesses: w.Witnesses, WitnessKeys: w.WitnessKeys, Require: w.Require}
	if w.Version != PolicyVersion {
		f.addf("version: %d is not known; want %d", w.Version, PolicyVersion)
	}
	for i, s := range w.RelayKeys {
		p.RelayKeys = append(p.RelayKeys, f.key(fmt.Sprintf("relay_keys[%d]", i), s))
	}
	for i, s := range w.Senders {
		p.Senders = append(p.Senders, Sender{s.App, f.key(fmt.Sprintf("senders[%d].key", i), s.Key)})
	}
	for a := sealpost.AssuranceSoftware; a <= sealpost.AssuranceStrongBox; a++ {
		if a.String() == w.LeastAssurance {
			p.LeastAssurance = a
		}
	}
	if w.ValidUntil != nil {
		p.ValidUntil = *w.ValidUntil
		if p.ValidUntil == 0 {
			f.addf("valid_until: leave it out where there is no end")
		}
	}
	return p
}

// Check names every fault of a policy at once.
func (p Policy) Check() error {
	f := &faults{}
	f.add(p.faults()...)
	return f.join()
}

func (p Policy) faults() (out []error) {
	want := func(ok bool, format string, args ...any) {
		if !ok {
			out = append(out, fmt.Errorf(format, args...))
		}
	}
	_, err := note.NewVerifier(p.LogKey)
	want(err == nil && isVerifierKey(p.LogKey), `log_key: not an Ed25519 verifier key; want "name+hash+key" as the relay's log.vkey has it`)
	want(p.Witnesses >= 0 && p.Witnesses <= len(p.WitnessKeys), "witnesses: %d; want 0 to the number of witness_keys, %d", p.Witnesses, len(p.WitnessKeys))
	want(len(p.WitnessKeys) <= policyKeysMax && len(p.RelayKeys) <= policyKeysMax && len(p.Senders) <= policyKeysMax, "keys: at most %d in one list", policyKeysMax)
	seen := map[string]bool{}
	for i, k := range p.WitnessKeys {
		v, err := witnessVerifier(k)
		want(err == nil, "witness_keys[%d]: not a verifier key of a cosigner", i)
		if err == nil {
			id := fmt.Sprintf("%s+%08x", v.Name(), v.KeyHash())
			want(!seen[id], "witness_keys[%d]: stands twice; leave one", i)
			seen[id] = true
		}
	}
	want(len(p.RelayKeys) > 0, "relay_keys: none; name the key that signs the relay's statements")
	for i, k := range p.RelayKeys {
		want(k.IsZero() || !slices.Contains(p.RelayKeys[:i], k), "relay_keys[%d]: stands twice; leave one", i)
	}
	want(len(p.Senders) > 0, "senders: none; name at least one app and its key")
	for i, s := range p.Senders {
		want(sealpost.IsName(s.App), "senders[%d].app: want 1 to %d printable ASCII characters without space", i, sealpost.NameMax)
		want(s.Key.IsZero() || !slices.Contains(p.Senders[:i], s), "senders[%d]: stands twice; leave one", i)
	}
	want(p.LeastAssurance >= sealpost.AssuranceSoftware && p.LeastAssurance <= sealpost.AssuranceStrongBox, `least_assurance: want "software", "tee" or "secure-element"`)
	_, known := p.Require.level()
	want(known, `require: want "outcome", "decrypted", "displayed" or "acted"`)
	want(p.ValidUntil >= 0 && p.ValidUntil <= sealpost.TimeLast, "valid_until: want a time from 1970 to 9999")
	return out
}

// witnessVerifier reads a cosigner's key. An Ed25519 key of the plain type is
// taken as a cosigner's, as C2SP tlog-policy does.
func witnessVerifier(key string) (note.Verifier, error) {
	if !isVerifierKey(key) {
		return nil, errors.New("too long, or its hash or base64 is not right")
	}
	return formats.NewVerifierForCosignatureV1(key)
}

// isVerifierKey says whether a text is a verifier key in its one form whose hash
// is its own (C2SP signed-note): a slip of the pen in a key is found when the
// policy is read, and not when nothing verifies under it.
func isVerifierKey(key string) bool {
	name, rest, _ := strings.Cut(key, "+")
	hash, encoded, _ := strings.Cut(rest, "+")
	typed, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(key) > policyTextMax || base64.StdEncoding.EncodeToString(typed) != encoded {
		return false
	}
	sum := sha256.Sum256(append([]byte(name+"\n"), typed...))
	return strings.ToLower(hash) == hex.EncodeToString(sum[:4])
}

func encodeKey(k sealpost.PublicKey) string {
	if k.IsZero() {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(k.COSE())
}
