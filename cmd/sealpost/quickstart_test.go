package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// docs/QUICKSTART.md: each command is typed once. The first approval comes a
// moment after the sender's own key event, and the first message a moment after
// the phone's, neither of which is in the log yet; both wait for it. An approval
// with nothing to do says so.
func TestQuickstartInOneGo(t *testing.T) {
	w := newTown(t, "")
	w.startRelay()
	senderAt := filepath.Join(w.dir, senderDir)
	invite := w.eventually("device", "invite", "--sender", senderAt, "--to", "+491511234567")
	once := func(words ...string) (string, string) {
		t.Helper()
		var out, errw bytes.Buffer
		if code := run(t.Context(), words, nil, &out, &errw); code != 0 {
			t.Fatalf("%s: exit %d: %s", strings.Join(words, " "), code, errw.String())
		}
		return out.String(), errw.String()
	}
	device, _ := once("device", "enroll", "--device", filepath.Join(w.dir, "phone"), "--invite", strings.TrimSpace(invite), "--push", w.carrier.URL)
	approved, _ := once("device", "approve", "--sender", senderAt)
	if want := fmt.Sprintf("%s software key\n", strings.TrimSpace(device)); approved != want {
		t.Errorf("approved %q, want %q", approved, want)
	}
	if none, words := once("device", "approve", "--sender", senderAt); none != "" || !strings.Contains(words, "no device waits") {
		t.Errorf("a second approval says %q and %q", none, words)
	}
	sent, _ := once("send", "--sender", senderAt, "--to", "+491511234567", "--template", "otp", "--data", `{"code":"493817"}`)
	if !strings.HasPrefix(sent, "msg_") {
		t.Errorf("sent %q", sent)
	}
	if inbox, _ := once("device", "inbox", "--device", filepath.Join(w.dir, "phone"), "--json"); inbox != "[]\n" {
		t.Errorf("an empty inbox is %q", inbox)
	}
}
