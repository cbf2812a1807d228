package sealpost_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sealpost/sealpost"

// A listed is what go list says of one package, tests left out.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// list asks the go command for every package of the module. Rooms that do not
// exist yet have no packages and break no wall.
func list(t *testing.T) (out []listed) {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	for {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = local(p.ImportPath)
		for i := range p.Imports {
			p.Imports[i] = local(p.Imports[i])
		}
		for i := range p.Deps {
			p.Deps[i] = local(p.Deps[i])
		}
		out = append(out, p)
	}
	if !slices.ContainsFunc(out, func(p listed) bool { return p.ImportPath == "/evidence" }) {
		t.Fatal("go list does not know package evidence: this test sees nothing")
	}
	return out
}

// local writes our own import paths from the module's root: "/" is the root,
// "/mls" a room. Others stay as they are.
func local(p string) string {
	if p == module {
		return "/"
	}
	if rest, ours := strings.CutPrefix(p, module); ours && strings.HasPrefix(rest, "/") {
		return rest
	}
	return p
}

// in says whether a package is a room or lies inside it.
func in(p, room string) bool {
	return p == room || room != "/" && strings.HasPrefix(p, room+"/")
}

func inAny(p string, rooms ...string) bool {
	return slices.ContainsFunc(rooms, func(r string) bool { return in(p, r) })
}

// room is the part of an internal package's path that names its room.
func room(p string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(p, "/internal/"), "/")
	return "/internal/" + first
}

// pure are the rooms that judge and compute: what they decide must follow from
// their arguments alone.
var pure = []string{"/", "/mls", "/attest", "/evidence"}

// DESIGN section 5, wall 1.
func TestPublicRoomsDoNotImportInternal(t *testing.T) {
	for _, p := range list(t) {
		if inAny(p.ImportPath, "/internal", "/cmd") {
			continue
		}
		for _, dep := range p.Deps {
			if in(dep, "/internal") {
				t.Errorf("%s reaches %s: a public room may not import internal/, because whoever builds on it outside this module cannot", p.ImportPath, dep)
			}
		}
	}
}

// DESIGN section 5, wall 1.
func TestInternalRoomsDoNotImportEachOther(t *testing.T) {
	allowed := map[string][]string{"/internal/audit": {"/internal/translog"}}
	for _, p := range list(t) {
		if !in(p.ImportPath, "/internal") || in(p.ImportPath, "/internal/lab") {
			continue // the lab plays every part
		}
		for _, dep := range p.Imports {
			if !in(dep, "/internal") || room(dep) == room(p.ImportPath) || slices.Contains(allowed[room(p.ImportPath)], room(dep)) {
				continue
			}
			t.Errorf("%s imports %s: rooms under internal/ meet only in cmd/sealpost/serve.go, so that each can be read and replaced alone", p.ImportPath, dep)
		}
	}
}

// A carrier may use the dispatcher's words, and the dispatcher no carrier.
func TestDispatchKnowsNoCarrier(t *testing.T) {
	for _, p := range list(t) {
		for _, dep := range p.Imports {
			if p.ImportPath == "/internal/dispatch" && strings.HasPrefix(dep, "/internal/dispatch/") {
				t.Errorf("%s imports %s: a carrier is plugged in by cmd/, never known to the dispatcher", p.ImportPath, dep)
			}
		}
	}
}

// DESIGN section 5, wall 2.
func TestPureRoomsReachNoWorld(t *testing.T) {
	for _, p := range list(t) {
		if !inAny(p.ImportPath, pure...) {
			continue
		}
		for _, banned := range []string{"net/http", "os/exec", "database/sql"} {
			if slices.Contains(p.Deps, banned) {
				t.Errorf("%s reaches %s: what it decides must follow from its arguments, offline and in a browser", p.ImportPath, banned)
			}
		}
	}
}

// Package mls stands on the standard library's cryptography, so that what holds
// every secret can be reviewed. The one exception is ChaCha20-Poly1305: cipher
// suite 3 encrypts content with it, and the standard library has it inside HPKE
// and TLS only.
func TestMLSStandsOnTheStandardLibrary(t *testing.T) {
	const exception = "golang.org/x/crypto/chacha20poly1305"
	seen := false
	for _, p := range list(t) {
		if p.ImportPath != "/mls" {
			continue
		}
		for _, dep := range p.Imports {
			seen = seen || dep == exception
			if first, _, _ := strings.Cut(dep, "/"); dep != exception && (first == "" || strings.Contains(first, ".")) {
				t.Errorf("%s imports %s: it may import the standard library and, for cipher suite 3, %s", p.ImportPath, dep, exception)
			}
		}
	}
	if !seen {
		t.Errorf("mls does not import %s: take the exception away", exception)
	}
}

// The judge runs in a browser too. Compiling for it takes half a minute on a
// cold cache, so the long suite does it.
func TestEvidenceBuildsForTheBrowser(t *testing.T) {
	if os.Getenv("SEALPOST_LONG") == "" {
		t.Skip("set SEALPOST_LONG=1")
	}
	cmd := exec.Command("go", "build", "./evidence")
	cmd.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("evidence does not build for js/wasm: %v\n%s", err, out)
	}
}

// DESIGN section 5, wall 2.
func TestPureRoomsReadNoClock(t *testing.T) {
	banned := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	seen := 0
	for _, room := range pure {
		for _, file := range sources(t, room) {
			seen++
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			name := importName(f, "time")
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == name && slices.Contains(banned, s.Sel.Name) {
						t.Errorf("%v: time.%s in a room that takes its time as an argument: a verdict must not depend on when it is asked for", set.Position(n.Pos()), s.Sel.Name)
					}
				}
				return true
			})
		}
	}
	if seen < 10 {
		t.Fatalf("only %d files were read: this test sees nothing", seen)
	}
}

// importName is the name by which a file uses a package, or "" if it does not.
func importName(f *ast.File, pkg string) string {
	for _, i := range f.Imports {
		if p, _ := strconv.Unquote(i.Path.Value); p == pkg {
			if i.Name != nil {
				return i.Name.Name
			}
			return path.Base(pkg)
		}
	}
	return ""
}

// sources are a room's Go files without tests.
func sources(t *testing.T, room string) (out []string) {
	t.Helper()
	if room == "/" {
		out, _ = filepath.Glob("*.go")
	} else if err := filepath.WalkDir("."+room, func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, ".go") {
			out = append(out, p)
		}
		return nil // a room that does not exist yet has no files
	}); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(out, func(p string) bool { return strings.HasSuffix(p, "_test.go") })
}

// DESIGN section 5, wall 3.
func TestSQLOnlyInTheStore(t *testing.T) {
	for _, p := range list(t) {
		if in(p.ImportPath, "/internal/store") {
			continue
		}
		for _, dep := range p.Imports {
			if dep == "database/sql" || strings.HasPrefix(dep, "modernc.org/sqlite") || strings.HasPrefix(dep, "zombiezen.com/go/sqlite") || strings.HasPrefix(dep, "github.com/jackc/pgx") || strings.HasPrefix(dep, "github.com/pressly/goose") {
				t.Errorf("%s imports %s: SQL is the store's business, so that what is durable is decided in one room", p.ImportPath, dep)
			}
		}
	}
}

// DESIGN section 5, wall 3.
func TestCloudKeysOnlyInTheSigner(t *testing.T) {
	for _, p := range list(t) {
		if in(p.ImportPath, "/internal/signer") {
			continue
		}
		for _, dep := range p.Imports {
			for _, sdk := range []string{"github.com/aws/", "cloud.google.com/", "github.com/Azure/", "github.com/miekg/pkcs11"} {
				if strings.HasPrefix(dep, sdk) {
					t.Errorf("%s imports %s: cloud SDKs and PKCS#11 live in internal/signer, each in a file of its own", p.ImportPath, dep)
				}
			}
		}
	}
}

// DESIGN section 5, wall 4: what runs inside the enclave reaches root,
// evidence, attest and the standard library.
func TestEnclaveReachesLittle(t *testing.T) {
	for _, p := range list(t) {
		if !in(p.ImportPath, "/internal/enclave") {
			continue
		}
		for _, dep := range p.Imports {
			if strings.HasPrefix(dep, "/") && !inAny(dep, "/", "/evidence", "/attest", "/internal/enclave") {
				t.Errorf("%s imports %s: what runs inside the enclave must be small enough to review", p.ImportPath, dep)
			}
		}
	}
}
