package js_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// The second judge's own tests: CBOR, signatures, and the vectors of every format
// that a bundle is made of.
func TestNode(t *testing.T) {
	needSecond(t)
	files, err := filepath.Glob("dist/test/*.test.js")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests are compiled: %v", err)
	}
	out, err := exec.Command("node", append([]string{"--test"}, files...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The command's exit codes are those of bundle 5.
func TestCommand(t *testing.T) {
	needSecond(t)
	const folder = "../../spec/vectors/bundles/"
	for _, c := range []struct {
		code int
		args []string
	}{
		{0, []string{folder + "proven.sealpost", "--policy", folder + "proven.policy.json", "--at", "2026-09-21T15:13:20.000Z"}},
		{0, []string{"--json", "--policy", folder + "proven.policy.json", folder + "proven.sealpost"}},
		{10, []string{folder + "incomplete-without-outcome.sealpost", "--policy", folder + "proven.policy.json", "--at", "2026-09-21T15:13:20.000Z"}},
		{40, []string{folder + "proven.policy.json", "--policy", folder + "proven.policy.json"}},
		{64, []string{folder + "proven.sealpost"}},
		{64, []string{folder + "proven.sealpost", "--policy", folder + "proven.policy.json", "--at", "today"}},
		{64, []string{folder + "proven.sealpost", "--policy", folder + "proven.sealpost"}},
		{70, []string{folder + "nothing.sealpost", "--policy", folder + "proven.policy.json"}},
	} {
		cmd := exec.Command("node", append([]string{"dist/src/cli.js"}, c.args...)...)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != c.code {
			t.Errorf("%q ends with %d, want %d: %s", c.args, got, c.code, out)
		}
	}
}

// Nothing but the command needs Node, reads a clock, or reaches the network.
func TestJudgeReachesNoWorld(t *testing.T) {
	files, err := filepath.Glob("src/*.ts")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d sources are seen: %v", len(files), err)
	}
	world := regexp.MustCompile(`"node:|\bBuffer\b|\bprocess\.|\bfetch\(|\bDate\.now\b|new Date\(\)|\beval\(|\bFunction\(`)
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found := world.Find(b)
		if command := name == "src/cli.ts"; command != (found != nil) {
			t.Errorf("%s: %q: a verdict must follow from its arguments, in a browser too; only src/cli.ts knows the world", name, found)
		}
	}
}
