package verify_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/spec/vectors"
	"github.com/sealpost/sealpost/web/verify"
)

// looked are files that the page is made from and that no import of this test
// names: the go command must know that a result it kept depends on them.
var looked = []string{"../../cmd/sealpost-wasm/main.go", "build/main.go"}

// thePage makes the page once for all tests, as make web does.
var thePage = sync.OnceValues(func() ([]byte, error) {
	for _, path := range looked {
		if _, err := os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "sealpost-page-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "verify.html")
	cmd := exec.Command("go", "run", "./build", "-o", path)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func builtPage(t *testing.T) []byte {
	t.Helper()
	needChromium(t)
	page, err := thePage()
	if err != nil {
		t.Fatalf("make the page: %v", err)
	}
	return page
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func vector(t *testing.T, file string) []byte {
	t.Helper()
	b, err := vectors.FS.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A shown is what a person reads on the page.
type shown struct {
	Status, Code string
	Claims       []shownClaim
	Findings     []string
	Conflicts    []string
}

// A shownClaim is a claim's text, and the terms below it.
type shownClaim struct {
	What  string
	Terms map[string]string
}

const readPage = `(() => {
	const terms = (dl) => { const m = {}; for (const dt of dl.querySelectorAll("dt")) m[dt.textContent] = dt.nextElementSibling.textContent; return m; };
	const what = (id) => Array.from(document.querySelectorAll("#" + id + " .what"), (p) => p.textContent);
	return {
		Status: document.getElementById("status").textContent,
		Code: terms(document.getElementById("facts"))["Exit code"] || "",
		Claims: Array.from(document.querySelectorAll("#claims li"), (li) => ({What: li.querySelector(".what").textContent, Terms: terms(li)})),
		Findings: what("findings"), Conflicts: what("conflicts"),
	};
})()`

func (b *browser) shown() (s shown) {
	b.t.Helper()
	b.mustEval(readPage, &s)
	return s
}

// wanted is what the page must show of a verdict.
func wanted(v evidence.Verdict) shown {
	s := shown{Status: strings.ToUpper(v.Status.String()), Code: strconv.Itoa(v.Status.ExitCode()),
		Claims: []shownClaim{}, Findings: []string{}, Conflicts: []string{}}
	bound := func(b evidence.Bound) string {
		if b.Time == 0 {
			return b.Source
		}
		return b.Time.String() + ", " + b.Source
	}
	for _, c := range v.Claims {
		terms := map[string]string{"Rests on": strings.Join(c.Evidence, ", ")}
		if c.NotBefore != nil {
			terms["Not before"] = bound(*c.NotBefore)
		}
		if c.NotAfter != nil {
			terms["Not after"] = bound(*c.NotAfter)
		}
		if c.Limit != "" {
			terms["Limit"] = c.Limit
		}
		s.Claims = append(s.Claims, shownClaim{c.What, terms})
	}
	for _, f := range v.Findings {
		s.Findings = append(s.Findings, f.Where+": "+f.Why)
	}
	for _, c := range v.Conflicts {
		s.Conflicts = append(s.Conflicts, c.What)
	}
	return s
}

// Every vector, honest and spoiled, is shown in the browser as evidence.Verify
// judges it here: status, exit code, each claim with its bounds, limit and
// evidence, each finding. The page asks for nothing but itself.
func TestPageJudgesAsEvidenceDoes(t *testing.T) {
	page := write(t, "verify.html", builtPage(t))
	b := openBrowser(t)
	b.open(page)
	index, err := vectors.ReadIndex()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, c := range index.Bundles {
		bundle, policy := vector(t, c.File), vector(t, c.Policy)
		at, err := sealpost.ParseTime(c.At)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		p, err := evidence.ParsePolicy(policy)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		b.as(c.At)
		b.choose("policy", write(t, "policy.json", policy))
		b.choose("bundle", write(t, "message.sealpost", bundle))
		got, want := b.shown(), wanted(evidence.Verify(bundle, p, at))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the page shows\n%+v\nwant\n%+v", c.Name, got, want)
		}
		if got.Code != strconv.Itoa(c.ExitCode) {
			t.Errorf("%s: exit code %q, the vector wants %d", c.Name, got.Code, c.ExitCode)
		}
		seen[got.Status]++
	}
	for _, status := range []string{"PROVEN", "INCOMPLETE", "TRUST EXPIRED", "DIVERGED", "REFUSED"} {
		if seen[status] == 0 {
			t.Errorf("no vector was shown as %s: this test sees too little", status)
		}
	}
	for _, url := range b.requests() {
		if url != "file://"+page {
			t.Errorf("the page asked for %s", url)
		}
	}
	if said := b.complaints(); len(said) > 0 {
		t.Errorf("the browser complains: %q", said)
	}
}

// What is no policy, too long or of no time is not judged, and is said so.
func TestPageSaysWhatItCannotJudge(t *testing.T) {
	b := openBrowser(t)
	b.open(write(t, "verify.html", builtPage(t)))
	bundle, policy := vector(t, "bundles/proven.sealpost"), vector(t, "bundles/proven.policy.json")
	b.choose("bundle", write(t, "a.sealpost", bundle))
	if s := b.shown(); s.Status != "Nothing judged yet" || len(s.Claims) != 0 {
		t.Fatalf("a bundle without a policy: %+v", s)
	}
	b.choose("policy", write(t, "policy.json", policy))
	if s := b.shown(); s.Status != "PROVEN" {
		t.Fatalf("honest: %+v", s)
	}
	b.choose("policy", write(t, "policy.json", vector(t, "malformed/policy-unknown-member.json")))
	if s := b.shown(); s.Status != "Could not check" || s.Code != "64" || len(s.Claims) != 0 {
		t.Errorf("a policy that is none: %+v", s)
	}
	b.choose("policy", write(t, "policy.json", append(bytes.Clone(policy), bytes.Repeat([]byte(" "), evidence.PolicyMax)...)))
	if s := b.shown(); s.Status != "Could not check" {
		t.Errorf("a policy too long: %+v", s)
	}
	b.choose("policy", write(t, "policy.json", policy))
	b.choose("bundle", write(t, "b.sealpost", make([]byte, evidence.BundleMax+9)))
	if s := b.shown(); s.Status != "REFUSED" || !strings.Contains(strings.Join(s.Findings, " "), "size") {
		t.Errorf("a bundle too long: %+v", s)
	}
	b.choose("bundle", write(t, "c.sealpost", nil))
	if s := b.shown(); s.Status != "REFUSED" {
		t.Errorf("an empty bundle: %+v", s)
	}
	b.choose("bundle", write(t, "d.sealpost", bundle))
	if s := b.shown(); s.Status != "PROVEN" {
		t.Errorf("honest again: %+v", s)
	}
	b.as("2020-01-02T03:04:05Z")
	if s := b.shown(); s.Status != "INCOMPLETE" || len(s.Claims) != 0 {
		t.Errorf("before the message was made: %+v", s)
	}
	for _, at := range []string{"yesterday", "1969-12-31T23:59:59Z", "2026-02-31T00:00:00Z"} {
		b.as(at)
		if s := b.shown(); s.Status != "Could not check" || s.Code != "64" || len(s.Claims) != 0 {
			t.Errorf("as of %s: %+v", at, s)
		}
	}
}

// A file that carries its bundle opens with the network off and judges it; a
// byte flipped is refused, and the bytes that a finding names are marked.
func TestPageCarriesABundle(t *testing.T) {
	page := builtPage(t)
	bundle, policy := vector(t, "bundles/proven.sealpost"), vector(t, "bundles/proven.policy.json")
	b := openBrowser(t)
	carry := func(bundle []byte) shown {
		file, err := verify.Carry(page, bundle, policy)
		if err != nil {
			t.Fatal(err)
		}
		path := write(t, "message.html", file)
		b.open(path)
		if got := b.requests(); len(got) != 1 || got[0] != "file://"+path {
			t.Errorf("the file asked for %q", got)
		}
		return b.shown()
	}
	s := carry(bundle)
	if s.Status != "PROVEN" || s.Code != "0" || len(s.Claims) == 0 {
		t.Fatalf("honest: %+v", s)
	}
	notes := func() (n string) {
		b.mustEval(`Array.from(document.querySelectorAll(".note:not([hidden])"), (n) => n.textContent).join("")`, &n)
		return n
	}
	if n := notes(); !strings.Contains(n, "Whoever makes a file decides what it shows") || !strings.Contains(n, "whom the file’s maker trusts") {
		t.Errorf("the file does not say what it cannot vouch for: %q", n)
	}
	screenshots(t, b, "proven")

	var text string
	b.mustEval(`new Promise((done) => { const d = document.getElementById("diagnostic"); const pre = d.querySelector("pre");
		new MutationObserver(() => done(pre.textContent)).observe(pre, {childList: true}); d.open = true; })`, &text)
	if want := verify.Raw(bundle).Diagnostic; text != want || !strings.Contains(text, "<<") {
		t.Errorf("the diagnostic view has %d characters, want %d", len(text), len(want))
	}

	// A policy of the reader's own takes the place of the one inside.
	b.choose("policy", write(t, "policy.json", vector(t, "bundles/refused-sender-not-pinned.policy.json")))
	if s := b.shown(); s.Status != "REFUSED" || strings.Contains(notes(), "whom the file’s maker trusts") {
		t.Errorf("under the reader's own policy: %+v", s)
	}

	spoiled := bytes.Clone(bundle)
	spoiled[len(spoiled)/2] ^= 1
	if s := carry(spoiled); s.Status != "REFUSED" || s.Code != "40" || len(s.Claims) != 0 {
		t.Errorf("a flipped byte: %+v", s)
	}
	var marked string
	b.mustEval(`(() => { document.querySelectorAll("#findings button")[document.querySelectorAll("#findings button").length - 1].click();
		return document.querySelector("#hex mark") ? document.getElementById("where").textContent : ""; })()`, &marked)
	if !strings.HasPrefix(marked, "bytes ") {
		t.Error("the bytes that a finding names are not marked")
	}
	screenshots(t, b, "refused")
}

// screenshots writes what the tab looks like, for people to look at, where
// SEALPOST_SHOTS names a folder.
func screenshots(t *testing.T, b *browser, name string) {
	dir := os.Getenv("SEALPOST_SHOTS")
	if dir == "" {
		return
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{1100, 390} {
			b.call(b.session, "Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
			b.call(b.session, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 1800, "deviceScaleFactor": 1, "mobile": false}, nil)
			b.mustEval(`scrollTo(0, 0)`, nil)
			var shot struct{ Data []byte }
			b.call(b.session, "Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
			if err := os.WriteFile(filepath.Join(dir, name+"-"+scheme+"-"+strconv.Itoa(width)+".png"), shot.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The page's CSP stops what a mistake of ours could let in. The same script on
// the page without its CSP reaches the server, so the test sees what it looks for.
func TestPageReachesNobody(t *testing.T) {
	page := builtPage(t)
	var reached atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer server.Close()
	b := openBrowser(t)
	try := func(page []byte) (ran []string) {
		b.open(write(t, "verify.html", page))
		b.call(b.session, "Network.emulateNetworkConditions",
			map[string]any{"offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}, nil)
		for _, script := range []string{
			`fetch("` + server.URL + `", {mode: "no-cors"}).then(() => "fetch", () => "")`,
			`new Promise((done) => { const i = new Image(); i.onload = i.onerror = () => done("image"); i.src = "` + server.URL + `/i.png"; document.addEventListener("securitypolicyviolation", () => done("")); })`,
			`(() => { try { return eval("'eval'"); } catch (e) { return ""; } })()`,
			`(() => { const s = document.createElement("script"); s.textContent = "window.ran = 'inline'"; document.body.append(s); return window.ran || ""; })()`,
		} {
			var did string
			b.mustEval(script, &did)
			if did != "" {
				ran = append(ran, did)
			}
		}
		return ran
	}
	meta := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`)
	if ran := try(meta.ReplaceAll(page, nil)); len(ran) != 4 || reached.Load() < 2 {
		t.Fatalf("without CSP %q ran and the server was asked %d times: this test sees nothing", ran, reached.Load())
	}
	reached.Store(0)
	if ran := try(page); len(ran) != 0 || reached.Load() != 0 {
		t.Errorf("under CSP %q ran and the server was asked %d times", ran, reached.Load())
	}
}

// A file may be dropped on a zone, and what files and their names hold is shown
// as text, whatever it looks like.
func TestPageShowsTextOnly(t *testing.T) {
	b := openBrowser(t)
	b.open(write(t, "verify.html", builtPage(t)))
	const markup = `<img src=x onerror=alert(1)>`
	drop := func(id, name string, content []byte) {
		n := b.turns()
		b.mustEval(`{ const d = new DataTransfer();
			d.items.add(new File([Uint8Array.from(atob("`+base64.StdEncoding.EncodeToString(content)+`"), (c) => c.charCodeAt(0))], "`+name+`"));
			document.getElementById("`+id+`-drop").dispatchEvent(new DragEvent("drop", {dataTransfer: d, bubbles: true, cancelable: true})); 0 }`, nil)
		b.turn(n)
	}
	drop("policy", "policy.json", vector(t, "bundles/proven.policy.json"))
	drop("bundle", markup, vector(t, "bundles/proven.sealpost"))
	if s := b.shown(); s.Status != "PROVEN" {
		t.Fatalf("honest, dropped: %+v", s)
	}
	drop("policy", "policy.json", []byte(`{"`+markup+`": 1}`))
	var page struct {
		Meaning, Name string
		Images        int
	}
	b.mustEval(`({Meaning: document.getElementById("meaning").textContent, Name: document.getElementById("bundle-name").textContent,
		Images: document.querySelectorAll("img").length})`, &page)
	if !strings.Contains(page.Meaning, markup) || !strings.Contains(page.Name, markup) {
		t.Errorf("the page shows neither name: %+v", page)
	}
	if page.Images > 0 {
		t.Error("what a file says became a part of the page")
	}
}

// A page whose program does not run knows nothing, and says so.
func TestPageWithoutItsJudge(t *testing.T) {
	page := builtPage(t)
	program := regexp.MustCompile(`id="program">[^<]*<`)
	if !program.Match(page) {
		t.Fatal("the page has no program")
	}
	b := openBrowser(t)
	bundle, policy := vector(t, "bundles/proven.sealpost"), vector(t, "bundles/proven.policy.json")
	for name, text := range map[string]string{"none": "", "no base64": "!", "no gzip": "AAAA"} {
		file, err := verify.Carry(program.ReplaceAll(page, []byte(`id="program">`+text+`<`)), bundle, policy)
		if err != nil {
			t.Fatal(err)
		}
		b.open(write(t, "message.html", file))
		if s := b.shown(); s.Status != "Could not check" || s.Code != "70" || len(s.Claims) != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// A page takes one bundle, and only a page takes any.
func TestCarryWantsAnEmptyPage(t *testing.T) {
	page, err := verify.Assemble([]byte("\x00asm"), []byte("// script"))
	if err != nil {
		t.Fatal(err)
	}
	full, err := verify.Carry(page, []byte("bundle"), []byte("policy"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"bundle", "policy"} {
		if !bytes.Contains(full, []byte(">"+base64.StdEncoding.EncodeToString([]byte(part))+"<")) {
			t.Errorf("the %s is not in the page", part)
		}
	}
	for name, page := range map[string][]byte{"full": full, "another": []byte("<!doctype html>"), "none": nil} {
		if _, err := verify.Carry(page, nil, nil); err != verify.ErrNotPage {
			t.Errorf("%s page: %v", name, err)
		}
	}
	if _, err := verify.Assemble(nil, []byte("</script>")); err == nil {
		t.Error("a script that ends its element is put into a page")
	}
}
