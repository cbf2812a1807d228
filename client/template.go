package client

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sealpost/sealpost"
)

// ErrData says that a message's data are not what its template wants; the text
// names the member and never repeats its value.
var ErrData = errors.New("template data")

// A Template is one kind of message of a sender (R104). Templates live here and
// not at the relay, because they need the plaintext; the relay sees only what
// the commitment carries.
type Template struct {
	Name      string
	TTL       time.Duration        // expires, after created
	Release   sealpost.ReleaseRule // when carriers may hear of it
	Carriers  []sealpost.Carrier   // allowed, ascending
	Privacy   sealpost.Privacy     // the minimum carrier
	Assurance sealpost.Assurance   // the weakest device key that may show it
	Fields    []Field              // that its sentence is made of
	// Text is the sentence where every one of Fields is there. Further members
	// of the data follow it, each on a line of its own; where one of Fields is
	// missing, all of them do.
	Text func(values map[string]string) string
}

// A Field is one member of a template's data. Each gets a commitment of its own.
type Field struct {
	Name  string
	Check func(value string) bool
	Want  string // what Check wants, in words
}

// Names of the three templates that ship.
const (
	TemplateOTP     = "otp"
	TemplatePayment = "payment"
	TemplateAccount = "account"
)

// BuiltIn gives the templates that ship: one-time code, payment alert, account
// change. Their least assurance is "software", a key in a file with nothing
// attested; a business that wants more makes its own copy.
func BuiltIn() []Template {
	carriers := []sealpost.Carrier{sealpost.RCS, sealpost.FCM, sealpost.APNs, sealpost.WebPush, sealpost.SMS}
	return []Template{
		{
			// A code is needed at once: the promise is in hand, the proof follows.
			Name: TemplateOTP, TTL: 5 * time.Minute, Release: sealpost.ReleaseHeld,
			Carriers: carriers, Privacy: sealpost.NoticeOnly, Assurance: sealpost.AssuranceSoftware,
			Fields: []Field{{"code", isLine(32), "1 to 32 bytes of printable text on one line"}},
			Text: func(v map[string]string) string {
				return fmt.Sprintf("Your code is %s. It is valid for 5 minutes. Tell it to nobody.", v["code"])
			},
		},
		{
			Name: TemplatePayment, TTL: 24 * time.Hour, Release: sealpost.ReleaseLogged,
			Carriers: carriers, Privacy: sealpost.NoticeOnly, Assurance: sealpost.AssuranceSoftware,
			Fields: []Field{
				{"amount", isLine(32), "1 to 32 bytes of printable text on one line"},
				{"currency", isLine(8), "1 to 8 bytes of printable text on one line"},
				{"payee", isLine(64), "1 to 64 bytes of printable text on one line"},
			},
			Text: func(v map[string]string) string {
				return fmt.Sprintf("Payment of %s %s to %s.", v["amount"], v["currency"], v["payee"])
			},
		},
		{
			Name: TemplateAccount, TTL: 7 * 24 * time.Hour, Release: sealpost.ReleaseLogged,
			Carriers: carriers, Privacy: sealpost.NoticeOnly, Assurance: sealpost.AssuranceSoftware,
			Fields: []Field{{"change", isLine(128), "1 to 128 bytes of printable text on one line"}},
			Text: func(v map[string]string) string {
				return fmt.Sprintf("Your account was changed: %s. If this was not you, call us.", v["change"])
			},
		},
	}
}

// anyLine is the rule for members that a template's sentence does not name.
var anyLine = Field{Check: isLine(sealpost.FieldValueMax), Want: "printable text on one line, 256 bytes at most"}

// Render checks the data and makes the content: the exact text and the fields
// behind it, the sentence's own first, the others by name.
func (t Template) Render(data map[string]string) (sealpost.Content, error) {
	if len(data) == 0 || len(data) > sealpost.FieldsMax {
		return sealpost.Content{}, fmt.Errorf("%w: want 1 to %d members, such as %q", ErrData, sealpost.FieldsMax, t.Fields[0].Name)
	}
	var faults []error
	var lines []string
	content := sealpost.Content{}
	take := func(f Field) {
		value := data[f.Name]
		if !sealpost.IsName(f.Name) || !f.Check(value) {
			faults = append(faults, fmt.Errorf("%w: %.64q: want %s", ErrData, f.Name, f.Want))
			return
		}
		content.Fields = append(content.Fields, sealpost.Field{Name: f.Name, Value: value})
		lines = append(lines, f.Name+": "+value)
	}
	named := t.named(data)
	for _, f := range named {
		take(f)
	}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if !slices.ContainsFunc(named, func(f Field) bool { return f.Name == name }) {
			take(Field{name, anyLine.Check, anyLine.Want})
		}
	}
	if err := errors.Join(faults...); err != nil {
		return sealpost.Content{}, err
	}
	if len(named) > 0 {
		lines = append([]string{t.Text(data)}, lines[len(named):]...)
	}
	content.Text = strings.Join(lines, "\n")
	return content, nil
}

// named are the template's own fields, where the data has every one of them.
func (t Template) named(data map[string]string) []Field {
	for _, f := range t.Fields {
		if _, there := data[f.Name]; !there {
			return nil
		}
	}
	return t.Fields
}

// isLine takes text that shows as what it is: printable, on one line, without
// the invisible characters that reorder or hide what stands beside them.
func isLine(most int) func(string) bool {
	return func(s string) bool {
		if s == "" || len(s) > most || !utf8.ValidString(s) || strings.TrimSpace(s) != s {
			return false
		}
		for _, r := range s {
			if !unicode.IsPrint(r) {
				return false
			}
		}
		return true
	}
}
