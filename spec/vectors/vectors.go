// Package vectors holds honest and spoiled cases of every format that spec/
// describes, with the verdict that each must get. They are made by
//
//	go run ./spec/vectors/generate
//
// from fixed seeds, and a test holds that the same command gives the same
// bytes. Another implementation needs this folder and the spec pages, and no
// code of ours.
package vectors

import (
	"embed"
	"encoding/json"
	"fmt"
)

// FS holds every file that the index names, and the index itself.
//
//go:embed index.json signatures.json statements malformed openings bundles
var FS embed.FS

// Index is index.json. File names are paths in FS. Bytes inside the index are
// in hexadecimal, keys are COSE_Keys in hexadecimal.
type Index struct {
	Version    int         `json:"version"`
	Statements []Statement `json:"statements"`
	Malformed  []Malformed `json:"malformed"`
	Openings   []Opening   `json:"openings"`
	Leaves     []Leaf      `json:"leaves"`
	Promises   []Promise   `json:"promises"`
	Bundles    []Bundle    `json:"bundles"`
}

// A Statement is well-formed COSE. Accepted says whether its payload keeps
// every rule and its signature verifies under Key.
type Statement struct {
	Name     string `json:"name"`
	File     string `json:"file"`
	Kind     string `json:"kind"`
	Key      string `json:"key"`
	Hash     string `json:"hash"` // SHA-256 of the file
	Accepted bool   `json:"accepted"`
	Why      string `json:"why,omitempty"`
}

// A Malformed file must not parse as what As names: "statement", "envelope",
// "submission", "roster", "payload", "promised", "bundle" or "policy".
type Malformed struct {
	Name string `json:"name"`
	File string `json:"file"`
	As   string `json:"as"`
	Why  string `json:"why"`
}

// An Opening is a payload that does or does not open a commitment.
type Opening struct {
	Name       string `json:"name"`
	Payload    string `json:"payload"`    // file
	Commitment string `json:"commitment"` // file of the statement
	Opens      bool   `json:"opens"`
}

// A Leaf is the leaf of a statement under a salt.
type Leaf struct {
	Statement string `json:"statement"` // file
	Salt      string `json:"salt"`
	Leaf      string `json:"leaf"`
}

// A Promise is one statement's part of a promise, as it travels.
type Promise struct {
	Name      string `json:"name"`
	File      string `json:"file"`
	Statement string `json:"statement"` // file
	Salt      string `json:"salt"`
	Key       string `json:"key"` // the relay's
	Accepted  bool   `json:"accepted"`
}

// A Bundle is judged under a policy as of a time.
type Bundle struct {
	Name     string `json:"name"`
	File     string `json:"file"`
	Policy   string `json:"policy"` // file
	At       string `json:"at"`     // RFC 3339
	Status   string `json:"status"`
	ExitCode int    `json:"exit_code"`
	Why      string `json:"why,omitempty"` // part of a finding's text
}

// A Signature is one of signatures.json: a raw signature of 64 bytes, and
// whether a statement with it would stand. Ed25519 follows ZIP 215, ES256 takes
// a low s only.
type Signature struct {
	Name      string `json:"name"`
	Alg       string `json:"alg"` // "Ed25519" or "ES256"
	Key       string `json:"key"` // 32 bytes, or an uncompressed point of 65
	Message   string `json:"message"`
	Signature string `json:"signature"`
	Valid     bool   `json:"valid"`
}

// ReadIndex reads index.json.
func ReadIndex() (x Index, err error) { return x, read("index.json", &x) }

// ReadSignatures reads signatures.json.
func ReadSignatures() (s []Signature, err error) { return s, read("signatures.json", &s) }

func read(name string, to any) error {
	b, err := FS.ReadFile(name)
	if err != nil {
		return fmt.Errorf("vectors: %w", err)
	}
	if err := json.Unmarshal(b, to); err != nil {
		return fmt.Errorf("vectors: read %s: %w", name, err)
	}
	return nil
}
