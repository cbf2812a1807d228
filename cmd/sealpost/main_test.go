package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets copies of the test binary be commands, by the name they are
// called by. A copy finds itself under that name too, so that the demo starts
// its relay and phones as it does outside.
func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){
		"sealpost":  main,
		"send-loop": sendLoop,
	})
}

// A suite removes, after the last test, what tests share.
type suite struct{ *testing.M }

func (s suite) Run() int {
	code := s.M.Run()
	for _, dir := range shared {
		os.RemoveAll(dir)
	}
	return code
}

// shared are folders that tests share and that go with the suite.
var shared []string

// long says that the longer runs were asked for (make test-long).
func long() bool { return os.Getenv("SEALPOST_LONG") == "1" }

// command is the path of one of TestMain's commands.
func command(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("TestMain did not install %s: %v", name, err)
	}
	return path
}

// A demoRun is the folders that one run of the demo left. Tests read them and
// work on copies.
type demoRun struct {
	root, data, out string
	summary         demoSummary
}

var demoAt demoRun

// theDemo runs the demo on its own sample, once for all tests.
var theDemo = sync.OnceValues(func() (demoRun, error) {
	sealpost, err := exec.LookPath("sealpost")
	if err != nil {
		return demoAt, err
	}
	if demoAt.root, err = os.MkdirTemp("", "sealpost-test-"); err != nil {
		return demoAt, err
	}
	shared = append(shared, demoAt.root)
	demoAt.data, demoAt.out = filepath.Join(demoAt.root, "data"), filepath.Join(demoAt.root, "out")
	printed, err := exec.Command(sealpost, "demo", "--data", demoAt.data, "--out", demoAt.out, "--json").Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return demoAt, errors.New(string(exit.Stderr))
	}
	if err != nil {
		return demoAt, err
	}
	return demoAt, json.Unmarshal(printed, &demoAt.summary)
})

func demoFolders(t testing.TB) demoRun {
	t.Helper()
	d, err := theDemo()
	if err != nil {
		t.Fatalf("demo: %v", err)
	}
	return d
}

// bundles are the bundles of the demo, by name.
func (d demoRun) bundles(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(d.out, "*.sealpost"))
	if err != nil || len(all) == 0 {
		t.Fatalf("the demo left no bundles: %v", err)
	}
	return all
}

func (d demoRun) policy() string { return filepath.Join(d.out, "policy.json") }

// copyTree copies a folder to a new place.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(to, func(path string, e fs.DirEntry, err error) error { // CopyFS widens modes
		if err == nil && !e.IsDir() {
			err = os.Chmod(path, 0o600)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestCommands runs each command as it is typed. Beside testscript's verbs
// there is one: exits CODE COMMAND … wants exactly that exit code.
func TestCommands(t *testing.T) {
	demo := demoFolders(t)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			one := demo.bundles(t)[0]
			e.Setenv("DEMO", demo.data)
			e.Setenv("OUT", demo.out)
			e.Setenv("BUNDLE", one)
			e.Setenv("MSG", strings.TrimSuffix(filepath.Base(one), ".sealpost"))
			e.Setenv("SIZE", strconv.FormatUint(demo.summary.Log.Size, 10))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s exits %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}
