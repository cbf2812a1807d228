package js_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/internal/lab/foreign"
)

var compiled = foreign.Packages{
	Without:  "NOT TESTED AGAINST THE SECOND JUDGE",
	Install:  "verify/js/install.sh",
	One:      "typescript",
	Required: "SEALPOST_SECOND_JUDGE",
}

func needSecond(t *testing.T) {
	t.Helper()
	compiled.Need(t, missingSecond())
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
