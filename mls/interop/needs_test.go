package interop_test

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	lockFile      = "package-lock.json"
	installedFile = "node_modules/.installed" // hash of the lock file that was installed
	registryWait  = 10 * time.Second
)

// scripts are looked at, so that the go command knows that a result it kept depends
// on them.
var scripts = []string{"peer.mjs", "ts-mls.mjs", "core-crypto.mjs"}

// needPeers skips a test whose engines are not there. Where they were asked for,
// by CI or by make test-interop, that is a failure, unless the registry that has
// them cannot be reached from here.
func needPeers(t *testing.T) {
	t.Helper()
	why := missingPeers()
	if why == nil {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("SEALPOST_INTEROP") == "required" {
		unreachable := askRegistry()
		if unreachable == nil {
			t.Fatalf("the foreign engines are missing: %v; run mls/interop/install.sh", why)
		}
		why = errors.Join(why, unreachable)
	}
	t.Skipf("NOT TESTED AGAINST OTHER ENGINES: %v; run mls/interop/install.sh", why)
}

func missingPeers() error {
	if _, err := exec.LookPath("node"); err != nil {
		return err
	}
	for _, script := range scripts {
		if _, err := os.Stat(script); err != nil {
			return err
		}
	}
	lock, err := os.ReadFile(lockFile)
	if err != nil {
		return err
	}
	installed, err := os.ReadFile(installedFile)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(installed)) != fmt.Sprintf("%x", sha256.Sum256(lock)) {
		return errors.New("other versions are installed than " + lockFile + " names")
	}
	return nil
}

// askRegistry says why the npm registry cannot be reached, nil if it can.
func askRegistry() error {
	registry := cmp.Or(os.Getenv("npm_config_registry"), "https://registry.npmjs.org/")
	client := http.Client{Timeout: registryWait}
	answer, err := client.Head(strings.TrimSuffix(registry, "/") + "/ts-mls")
	if err != nil {
		return fmt.Errorf("the npm registry cannot be reached: %w", err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the npm registry answers %s", answer.Status)
	}
	return nil
}
