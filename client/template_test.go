package client

import (
	"errors"
	"strings"
	"testing"
)

// R104: each template has its sentence; members beyond it are shown on lines of
// their own, and so are all where the sentence lacks one.
func TestTemplatesRender(t *testing.T) {
	templates := map[string]Template{}
	for _, tpl := range BuiltIn() {
		templates[tpl.Name] = tpl
	}
	for name, c := range map[string]struct {
		template string
		data     map[string]string
		text     string
	}{
		"code":             {TemplateOTP, map[string]string{"code": "483920"}, "Your code is 483920. It is valid for 5 minutes. Tell it to nobody."},
		"payment":          {TemplatePayment, map[string]string{"amount": "12.50", "currency": "EUR", "payee": "Yoga 9"}, "Payment of 12.50 EUR to Yoga 9."},
		"payment and more": {TemplatePayment, map[string]string{"amount": "12", "currency": "EUR", "payee": "X", "iban": "DE00"}, "Payment of 12 EUR to X.\niban: DE00"},
		"no payee":         {TemplatePayment, map[string]string{"amount": "12,50 €", "to": "X"}, "amount: 12,50 €\nto: X"},
		"account":          {TemplateAccount, map[string]string{"change": "new device"}, "Your account was changed: new device. If this was not you, call us."},
		"of its own":       {TemplateAccount, map[string]string{"event": "e-mail changed"}, "event: e-mail changed"},
	} {
		content, err := templates[c.template].Render(c.data)
		if err != nil || content.Text != c.text || len(content.Fields) != len(c.data) {
			t.Errorf("%s: %q with %d fields, %v; want %q", name, content.Text, len(content.Fields), err, c.text)
		}
	}
	for name, c := range map[string]struct {
		template string
		data     map[string]string
	}{
		"nothing":            {TemplateOTP, nil},
		"an empty code":      {TemplateOTP, map[string]string{"code": ""}},
		"two lines":          {TemplateOTP, map[string]string{"code": "1\n2"}},
		"a hidden character": {TemplateOTP, map[string]string{"code": "12\u202e34"}},
		"a long currency":    {TemplatePayment, map[string]string{"amount": "1", "currency": "much too much", "payee": "X"}},
		"a member's name":    {TemplateAccount, map[string]string{"what happened": "x"}},
		"a value too long":   {TemplateAccount, map[string]string{"event": strings.Repeat("x", 257)}},
		"nine members": {TemplateAccount, map[string]string{"a": "1", "b": "1", "c": "1", "d": "1", "e": "1",
			"f": "1", "g": "1", "h": "1", "i": "1"}},
	} {
		if _, err := templates[c.template].Render(c.data); !errors.Is(err, ErrData) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "much") {
			t.Errorf("%s: the error repeats the value: %v", name, err)
		}
	}
}
