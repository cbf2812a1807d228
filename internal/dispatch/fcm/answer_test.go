package fcm

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/internal/dispatch"
)

// A 400 blames the token only if the vendor's own code says so and its words name
// the token: anything else is a request of our making.
func TestBlamesTarget(t *testing.T) {
	const fcmError = `{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INVALID_ARGUMENT"}`
	violation := func(f string) string {
		return `{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"` + f + `"}]}`
	}
	for name, c := range map[string]struct {
		message, details string
		want             sealpost.Result
	}{
		"the token":             {"The registration token is not valid", fcmError, sealpost.Unreachable},
		"the fid":               {"Not a Firebase Installation ID", fcmError, sealpost.Unreachable},
		"the token by its path": {"Invalid token", fcmError + "," + violation("message.token"), sealpost.Unreachable},
		"no vendor code":        {"Invalid value for token", violation("message.token"), sealpost.Invalid},
		"another field":         {"Invalid token", fcmError + "," + violation("message.data"), sealpost.Invalid},
		"other words":           {"Message is too big", fcmError, sealpost.Invalid},
	} {
		body := `{"error":{"code":400,"message":"` + c.message + `","status":"INVALID_ARGUMENT","details":[` + c.details + `]}}`
		if got := classify(400, http.Header{}, []byte(body), time.Time{}); got.Outcome != c.want {
			t.Errorf("%s: %v %s", name, got.Outcome, got.Code)
		}
	}
}

// An answer is read to a byte beyond its limit and no further.
func TestReadAtMost(t *testing.T) {
	for _, size := range []int{0, 10, 11, 1 << 20} {
		in := strings.NewReader(strings.Repeat(" ", size))
		err := readAtMost(new(bytes.Buffer), in, 10)
		if (err != nil) != (size > 10) {
			t.Errorf("%d bytes: %v", size, err)
		}
		if read := size - in.Len(); read > 11 {
			t.Errorf("%d of %d bytes were read, limit 10", read, size)
		}
	}
}

// Whatever a server answers, a result has an outcome, a code from the alphabet and
// none of the server's words, and nothing but a well-formed 200 is a success.
func FuzzClassify(f *testing.F) {
	for _, s := range []string{
		`{"name":"projects/p/messages/1"}`, `{"error":{"details":[{"errorCode":"+491511234567"}]}}`, `[]`, `{"error":7}`, "",
		`{"error":{"details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"UNREGISTERED"}]}}`,
	} {
		f.Add(404, s, "30")
		f.Add(200, s, "")
	}
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, status int, body, after string) {
		if status < 100 || status > 999 {
			return
		}
		r := classify(status, http.Header{"Retry-After": {after}}, []byte(body), now)
		if r.Outcome < sealpost.Accepted || r.Outcome > sealpost.Ambiguous || !dispatch.ValidCode(r.Code) ||
			r.RetryAfter < 0 || r.RetryAfter > dispatch.RetryAfterMax {
			t.Fatalf("%d %q: %+v", status, body, r)
		}
		if r.Outcome == sealpost.Accepted && (status != 200 || !strings.Contains(body, "/")) {
			t.Fatalf("%d %q was called accepted", status, body)
		}
	})
}

// A service account that is accepted can stand in a path and a header, and what
// is refused is refused without repeating the key.
func FuzzParseAccount(f *testing.F) {
	const secret = "MIICdgIBADANBgkqhkiG9w0BAQEFAASC"
	f.Add("service_account", "project-1", "key-1", "-----BEGIN PRIVATE KEY-----\n"+secret+"\n-----END PRIVATE KEY-----\n", "push@p.example", "https://token.example/token")
	f.Add("service_account", "Project/1", "k", secret, "e", "http://127.0.0.1:1/token")
	f.Add("user", "", "", "", "", "ftp://x")
	f.Fuzz(func(t *testing.T, kind, project, id, key, email, tokenURL string) {
		file, err := json.Marshal(map[string]string{"type": kind, "project_id": project, "private_key_id": id, "private_key": key,
			"client_email": email, "token_uri": tokenURL})
		if err != nil {
			t.Fatal(err)
		}
		a, err := ParseAccount(file)
		if err != nil {
			if len(key) > 8 && strings.Contains(err.Error(), key) {
				t.Errorf("the error repeats the key: %v", err)
			}
			return
		}
		if a.Project() != project || !isProject(project) {
			t.Errorf("project %q is read as %q", project, a.Project())
		}
	})
}

// Whatever a token endpoint answers, what is taken for a token can stand in a
// header, and it does not live longer than its bound.
func FuzzToken(f *testing.F) {
	for _, s := range []string{`{"access_token":"ya29.a-b_c~d+e/f=","expires_in":3599,"token_type":"Bearer"}`,
		`{"access_token":"a\r\nX: y","expires_in":3599,"token_type":"Bearer"}`, `{"access_token":"a","expires_in":9223372036854775807,"token_type":"bearer"}`, `[]`, ``} {
		f.Add([]byte(s))
	}
	asked := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := new(tokens).parse(asked, body)
		if err != nil {
			return
		}
		token, bearer := strings.CutPrefix(b.header().Get("Authorization"), "Bearer ")
		if !bearer || !isHeaderValue(token) {
			t.Errorf("%q: a header of %d bytes that cannot be one", body, len(token))
		}
		if life := b.until.Sub(asked); life < tokenLifeMin || life > tokenLifeMax || b.renew.Before(asked) || b.renew.After(b.until) {
			t.Errorf("%q: lives %v, is renewed after %v", body, life, b.renew.Sub(asked))
		}
	})
}
