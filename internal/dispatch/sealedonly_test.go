package dispatch_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sealpost/sealpost"
)

// exportData asks the go command once for what this package and all it reaches
// were compiled to.
var exportData = sync.OnceValues(func() (map[string]string, error) {
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", ".").Output()
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		files[path] = file
	}
	return files, err
})

// compile type-checks a function body against the compiled packages.
func compile(t *testing.T, body string) error {
	t.Helper()
	files, err := exportData()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	src := `package snippet
import ("context"; "time"; "github.com/sealpost/sealpost"; "github.com/sealpost/sealpost/internal/dispatch")
var ( ctx context.Context; to sealpost.Endpoint; until time.Time; sealed sealpost.Sealed; carrier dispatch.Carrier )
func f() { ` + body + ` }`
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "snippet.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(files[path])
	})}
	_, err = cfg.Check("snippet", fset, []*ast.File{file}, nil)
	return err
}

// R51: the compiler refuses to hand a carrier anything but a Sealed, and refuses to
// make a Sealed of anything by hand.
func TestOnlySealedCompiles(t *testing.T) {
	if err := compile(t, `carrier.Send(ctx, to, sealed, until)`); err != nil {
		t.Fatalf("the honest call: %v", err) // without this, every case below proves nothing
	}
	for name, body := range map[string]string{
		"a string":             `carrier.Send(ctx, to, "your code is 123456", until)`,
		"bytes":                `carrier.Send(ctx, to, []byte("your code is 123456"), until)`,
		"a content":            `carrier.Send(ctx, to, sealpost.Content{Text: "your code is 123456"}, until)`,
		"an envelope":          `carrier.Send(ctx, to, sealpost.Envelope{Message: []byte("123456")}, until)`,
		"a converted string":   `carrier.Send(ctx, to, sealpost.Sealed("123456"), until)`,
		"a literal":            `carrier.Send(ctx, to, sealpost.Sealed{blob: "123456"}, until)`,
		"a positional literal": `carrier.Send(ctx, to, sealpost.Sealed{sealpost.Signed{}, sealpost.Commitment{}, "123456"}, until)`,
		"a struct of its form": `carrier.Send(ctx, to, sealpost.Sealed(struct{ commitment sealpost.Signed; parsed sealpost.Commitment; blob string }{blob: "123456"}), until)`,
		"a field set later":    `sealed.blob = "123456"`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := compile(t, body); err == nil {
				t.Error("it compiles: a carrier could be handed a plaintext")
			}
		})
	}
}

// R51: of all that package sealpost exports, only NewSealed and ParseSealed return a
// Sealed, and both check the blob against a commitment. A third way in needs the
// same check, and then a line here.
func TestOnlyCheckedMakers(t *testing.T) {
	files, err := exportData()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	imp := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(files[path]) })
	root, err := imp.Import("github.com/sealpost/sealpost")
	if err != nil {
		t.Fatal(err)
	}
	sealed := root.Scope().Lookup("Sealed").Type()
	for f := range sealed.Underlying().(*types.Struct).Fields() {
		if f.Exported() {
			t.Errorf("Sealed.%s is exported: anybody could set it", f.Name())
		}
	}
	var makers []string
	note := func(name string, typ types.Type) {
		sig, ok := typ.(*types.Signature)
		if !ok {
			return
		}
		for v := range sig.Results().Variables() {
			if strings.Contains(v.Type().String(), "sealpost.Sealed") {
				makers = append(makers, name)
			}
		}
	}
	for _, name := range root.Scope().Names() {
		o := root.Scope().Lookup(name)
		if !o.Exported() {
			continue
		}
		note(name, o.Type())
		if v, ok := o.(*types.Var); ok && types.Identical(v.Type(), sealed) {
			t.Errorf("variable %s is a Sealed", name)
		}
		for m := range types.NewMethodSet(types.NewPointer(o.Type())).Methods() {
			if m.Obj().Exported() {
				note(name+"."+m.Obj().Name(), m.Type())
			}
		}
	}
	slices.Sort(makers)
	if got := strings.Join(makers, " "); got != "NewSealed ParseSealed" {
		t.Errorf("a Sealed comes from %s; want NewSealed and ParseSealed only", got)
	}
	if _, err := sealpost.ParseSealed([]byte("your code is 123456")); err == nil {
		t.Error("ParseSealed takes a plaintext")
	}
	if _, err := sealpost.NewSealed(sealpost.Signed{}, []byte("your code is 123456")); err == nil {
		t.Error("NewSealed takes a blob without a commitment")
	}
}
