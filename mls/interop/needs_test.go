package interop_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/internal/lab/foreign"
)

const (
	lockFile      = "package-lock.json"
	installedFile = "node_modules/.installed" // hash of the lock file that was installed
)

// scripts are looked at, so that the go command knows that a result it kept depends
// on them.
var scripts = []string{"peer.mjs", "ts-mls.mjs", "core-crypto.mjs"}

var engines = foreign.Packages{
	Without:  "NOT TESTED AGAINST OTHER ENGINES",
	Install:  "mls/interop/install.sh",
	One:      "ts-mls",
	Required: "SEALPOST_INTEROP", // make test-interop
}

func needPeers(t *testing.T) {
	t.Helper()
	engines.Need(t, missingPeers())
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
