package evidence_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/evidence/evidencetest"
)

func TestDisclosure(t *testing.T) {
	w := evidencetest.New().Tell()
	hidden := evidence.Verify(encode(t, w.Bundle()), w.Policy(), at)
	if len(about(hidden, evidence.AboutContent)) != 0 || !has(hidden, evidence.AboutDevice, "not checked: opening not disclosed") {
		t.Error("without an opening, content is claimed or its absence is not said")
	}

	b := w.Bundle()
	all, err := evidence.DiscloseAll(w.Payload)
	if err != nil {
		t.Fatal(err)
	}
	b.Disclosed = all
	v := evidence.Verify(encode(t, b), w.Policy(), at)
	want(t, v, evidence.Proven, "")
	if !has(v, evidence.AboutContent, "Code 493817") || has(v, evidence.AboutDevice, "opening not disclosed") {
		t.Error("the disclosed text is not claimed, or openings count as unchecked")
	}

	b.Disclosed, err = evidence.DiscloseFields(w.Payload, "amount", "payee")
	if err != nil {
		t.Fatal(err)
	}
	raw := encode(t, b)
	v = evidence.Verify(raw, w.Policy(), at)
	want(t, v, evidence.Proven, "")
	if !has(v, evidence.AboutContent, `"amount" with the value "12.00 EUR"`) || len(about(v, evidence.AboutContent)) != 2 {
		t.Errorf("fields are not claimed: %v", about(v, evidence.AboutContent))
	}
	if bytes.Contains(raw, []byte("493817")) {
		t.Error("a bundle that discloses other fields holds the code")
	}
	if _, err := evidence.DiscloseFields(w.Payload, "iban"); err == nil {
		t.Error("a field that is not there was disclosed")
	}
}

func TestSpoiltDisclosure(t *testing.T) {
	w := evidencetest.New().Tell()
	for name, spoil := range map[string]func(*evidence.Disclosure){
		"value":   func(d *evidence.Disclosure) { d.Fields[0].Value += "0" },
		"name":    func(d *evidence.Disclosure) { d.Fields[0].Name += "s" },
		"opening": func(d *evidence.Disclosure) { d.Fields[0].R[0] ^= 1 },
		"another slot": func(d *evidence.Disclosure) {
			d.Fields[0].Slot = 0
			d.Slots[0], d.Slots[1] = d.Slots[1], d.Slots[0]
		},
		"slots": func(d *evidence.Disclosure) { d.Slots[7][0] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			b := w.Bundle()
			d, _ := evidence.DiscloseFields(w.Payload, "code")
			for i, s := range d.Slots {
				d.Slots[i] = bytes.Clone(s)
			}
			d = &evidence.Disclosure{Fields: d.Fields, Slots: append([][]byte(nil), d.Slots...)}
			spoil(d)
			b.Disclosed = d
			want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Refused, "disclosure")
		})
	}
	for name, spoil := range map[string]func(*sealpost.Payload){
		"text":     func(p *sealpost.Payload) { p.Content.Text += "!" },
		"opening":  func(p *sealpost.Payload) { p.R[0] ^= 1 },
		"sequence": func(p *sealpost.Payload) { p.SequenceR[0] ^= 1 },
	} {
		t.Run("payload: "+name, func(t *testing.T) {
			b, p := w.Bundle(), w.Payload
			spoil(&p)
			b.Disclosed, _ = evidence.DiscloseAll(p)
			want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Refused, "disclosure")
		})
	}
}

// Once the message is disclosed, a receipt whose device cannot have opened it
// is refused.
func TestOpenedIsCheckedOnceDisclosed(t *testing.T) {
	w := evidencetest.New()
	edit(w, "decrypted-0", func(r *sealpost.Receipt) { r.Opened = make([]byte, 32) })
	w.Tell()
	b := w.Bundle()
	want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Proven, "")
	b.Disclosed, _ = evidence.DiscloseAll(w.Payload)
	want(t, evidence.Verify(encode(t, b), w.Policy(), at), evidence.Refused, "not by a holder of the opening")
}

// The form for reading shows statements decoded, and no opening that was not
// disclosed.
func TestBundleAsJSON(t *testing.T) {
	w := evidencetest.New().Tell()
	show := func(b *evidence.Bundle) string {
		out, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	b := w.Bundle()
	out := show(b)
	for _, text := range []string{w.Message.String(), `"kind":"receipt"`, `"level":"decrypted"`, `"end":"delivered"`, `"least_assurance":"software"`, `"reason"`, "c2sp.org/tlog-proof@v1"} {
		if !strings.Contains(out, text) && text != `"reason"` {
			t.Errorf("the form for reading lacks %s", text)
		}
	}
	if strings.Contains(out, "493817") || strings.Contains(out, "disclosed") {
		t.Error("the form for reading shows what is not disclosed")
	}
	b.Disclosed, _ = evidence.DiscloseAll(w.Payload)
	if !strings.Contains(show(b), "493817") {
		t.Error("the form for reading hides what is disclosed")
	}
	b.Span = w.Log.Span(3, 14)
	b.Span.Later = w.Later(at, 14)
	for _, text := range []string{`"from":3`, `"leaves":11`, `"tree_size":14`} {
		if !strings.Contains(show(b), text) {
			t.Errorf("the form for reading lacks %s of the span", text)
		}
	}
}
