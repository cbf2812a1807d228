package main

import (
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/sealpost/sealpost/internal/dispatch/fcm"
	"github.com/sealpost/sealpost/internal/lab"
)

// A configuration that is accepted is complete: written as YAML and read again
// it is the same.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("data: relay\n"))
	f.Add([]byte("data: /srv/relay\nlisten: 127.0.0.1:1\ncheckpoint_ms: 200\ntenants:\n  - app: bank\n    sender_keys: []\n"))
	f.Add([]byte("data: a\nkeys: a/b\n"))
	f.Add([]byte("data: a\n---\ndata: b\n"))
	f.Add([]byte("data: &a b\norigin: *a\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseConfig(b, dir)
		if err != nil {
			return
		}
		if !filepath.IsAbs(c.Data) || within(c.Keys, c.Data) || c.Listen == "" || c.Origin == "" {
			t.Errorf("%q is accepted: %+v", b, c)
		}
		text, err := yaml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseConfig(text, dir)
		if err != nil {
			t.Fatalf("what was accepted is refused when it is written: %v\n%s", err, text)
		}
		twice, err := yaml.Marshal(again)
		if err != nil || string(twice) != string(text) {
			t.Errorf("%s is read as %s", text, twice)
		}
	})
}

// Input that is accepted, written line by line, is read as the same.
func FuzzDemoInput(f *testing.F) {
	f.Add([]byte(`{"to":"+491511234567","template":"otp","data":{"code":"493817"}}`))
	f.Add([]byte(`{"to":"+491511234567","template":"otp","data":{"code":1e3}}` + "\n\n"))
	f.Add([]byte(`{"to":"+491511234567","template":"account","data":null} x`))
	f.Add(sample)
	f.Fuzz(func(t *testing.T, b []byte) {
		lines, err := parseDemoInput(b)
		if err != nil {
			return
		}
		var text strings.Builder
		for _, l := range lines {
			line, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			if len(line) >= inputLineMax {
				return // escapes made it longer than a line may be
			}
			text.Write(line)
			text.WriteByte('\n')
		}
		again, err := parseDemoInput([]byte(text.String()))
		if err != nil || !reflect.DeepEqual(again, lines) {
			t.Errorf("%q is read as %+v and then as %+v: %v", b, lines, again, err)
		}
	})
}

// A key, a push and a time have one spelling on a command line and in a file.
func FuzzTexts(f *testing.F) {
	f.Add("owEBIAYhWCAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("AAE\n")
	f.Add("2026-11-24T12:00:00Z")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := parseKey(s); err == nil && base64.RawURLEncoding.EncodeToString(k.COSE()) != s {
			t.Errorf("%q is accepted as a key", s)
		}
		if b, err := pushData(lab.Push{Data: map[string]string{fcm.KeySealed: s}}); err == nil && base64.RawURLEncoding.EncodeToString(b) != s {
			t.Errorf("%q is accepted as a push", s)
		}
		if at, err := parseAt(s); err == nil && s != "" {
			if again, err := parseAt(at.String()); err != nil || again != at {
				t.Errorf("%q is read as %v and that as %v: %v", s, at, again, err)
			}
		}
	})
}
