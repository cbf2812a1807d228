package js_test

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const registryWait = 10 * time.Second

// needSecond skips a test where the second judge is not compiled. Where it was
// asked for, by CI, that is a failure, unless the registry that has its packages
// cannot be reached from here.
func needSecond(t *testing.T) {
	t.Helper()
	why := missingSecond()
	if why == nil {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("SEALPOST_SECOND_JUDGE") == "required" {
		unreachable := askRegistry()
		if unreachable == nil {
			t.Fatalf("the second judge is missing: %v; run verify/js/install.sh", why)
		}
		why = errors.Join(why, unreachable)
	}
	t.Skipf("NOT TESTED AGAINST THE SECOND JUDGE: %v; run verify/js/install.sh", why)
}

// missingSecond reads every source, so that the go command knows that a result it
// kept depends on them.
func missingSecond() error {
	if _, err := exec.LookPath("node"); err != nil {
		return err
	}
	sources := []string{"package-lock.json", "tsconfig.json"}
	for _, folder := range []string{"src", "test"} {
		found, err := filepath.Glob(folder + "/*.ts")
		if err != nil {
			return err
		}
		slices.Sort(found)
		sources = append(sources, found...)
	}
	sum := sha256.New()
	for _, name := range sources {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		sum.Write(b)
	}
	compiled, err := os.ReadFile("dist/.compiled")
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(compiled)) != fmt.Sprintf("%x", sum.Sum(nil)) {
		return errors.New("dist is compiled from other sources")
	}
	return nil
}

// askRegistry says why the npm registry cannot be reached, nil if it can.
func askRegistry() error {
	registry := cmp.Or(os.Getenv("npm_config_registry"), "https://registry.npmjs.org/")
	client := http.Client{Timeout: registryWait}
	answer, err := client.Head(strings.TrimSuffix(registry, "/") + "/typescript")
	if err != nil {
		return fmt.Errorf("the npm registry cannot be reached: %w", err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the npm registry answers %s", answer.Status)
	}
	return nil
}
