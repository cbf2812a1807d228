package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
)

// ViewMax bounds each text that [Raw] gives, in bytes: a page shows no more at
// once. The bytes themselves are all in the hexadecimal view.
const ViewMax = 1 << 20

// A Judgement is what the page shows: a verdict, or why there is none.
type Judgement struct {
	Verdict *evidence.Verdict `json:"verdict,omitempty"`
	Fault   string            `json:"fault,omitempty"` // of the policy or the time: nothing was judged
}

// Judge reads the policy and judges the bundle, as sealpost verify does.
func Judge(bundle, policy []byte, at string) Judgement {
	moment, err := ParseAt(at)
	if err != nil {
		return Judgement{Fault: err.Error()}
	}
	p, err := evidence.ParsePolicy(policy)
	if err != nil {
		return Judgement{Fault: err.Error()}
	}
	v := evidence.Verify(bundle, p, moment)
	return Judgement{Verdict: &v}
}

// ParseAt reads the time to judge for: RFC 3339, from 1970 to 9999.
func ParseAt(text string) (sealpost.UnixMilli, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.UnixMilli() < 0 || sealpost.FromTime(t) > sealpost.TimeLast {
		return 0, fmt.Errorf("time %q: want RFC 3339, such as 2026-11-24T12:00:00Z", text)
	}
	return sealpost.FromTime(t), nil
}

// A RawView is a bundle for reading. It decides nothing.
type RawView struct {
	Decoded    string `json:"decoded"`    // JSON, every statement beside its bytes
	Diagnostic string `json:"diagnostic"` // RFC 8949 8, CBOR inside byte strings taken apart
}

// Raw shows a bundle. Where it cannot be read, the text says why.
func Raw(bundle []byte) RawView {
	return RawView{Decoded: decoded(bundle), Diagnostic: diagnostic(bundle)}
}

func decoded(bundle []byte) string {
	b, err := evidence.ParseBundle(bundle)
	if err != nil {
		return fmt.Sprintf("not decoded: %v", err)
	}
	out := bytes.Buffer{}
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(b); err != nil {
		return fmt.Sprintf("not decoded: %v", err)
	}
	return cut(out.String())
}

func diagnostic(bundle []byte) string {
	if len(bundle) > evidence.BundleMax {
		return fmt.Sprintf("not shown: more than %d bytes", evidence.BundleMax)
	}
	mode, err := cbor.DiagOptions{ByteStringEmbeddedCBOR: true}.DiagMode()
	if err != nil {
		panic(fmt.Sprintf("verify: our own CBOR options: %v", err))
	}
	text, rest, err := mode.DiagnoseFirst(bundle)
	if err != nil {
		return fmt.Sprintf("no CBOR: %v", err)
	}
	if len(rest) <= 64 {
		return cut(fmt.Sprintf("%s\n\n/ and, after the CBOR item, %d bytes: / h'%x'", text, len(rest), rest))
	}
	return cut(fmt.Sprintf("%s\n\n/ and, after the CBOR item, %d bytes /", text, len(rest)))
}

func cut(s string) string {
	if len(s) <= ViewMax {
		return s
	}
	return s[:ViewMax] + fmt.Sprintf("\n… cut here: %d bytes in all", len(s))
}
