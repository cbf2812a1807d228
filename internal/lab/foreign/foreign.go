// Package foreign says how a test goes without packages of the npm registry, which
// the project's scripts install. Only tests use it.
package foreign

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

const registryWait = 10 * time.Second // for an answer

// Packages are what a test needs.
type Packages struct {
	Without  string // what a test is without them, for the eye: NOT TESTED …
	Install  string // the script that brings them
	One      string // one of them, for which the registry is asked
	Required string // the environment variable that asks for them with "required"
}

// Need skips a test whose packages are not there, because of missing, and goes on
// where that is nil. Where they were asked for, by CI or by their variable, that is
// a failure, unless the registry cannot be reached from here.
func (p Packages) Need(t testing.TB, missing error) {
	t.Helper()
	if missing == nil {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv(p.Required) == "required" {
		unreachable := p.reach()
		if unreachable == nil {
			t.Fatalf("%v; run %s", missing, p.Install)
		}
		missing = errors.Join(missing, unreachable)
	}
	t.Skipf("%s: %v; run %s", p.Without, missing, p.Install)
}

// reach says why the registry cannot be reached, nil if it can.
func (p Packages) reach() error {
	registry := cmp.Or(os.Getenv("npm_config_registry"), "https://registry.npmjs.org/")
	client := http.Client{Timeout: registryWait}
	answer, err := client.Head(strings.TrimSuffix(registry, "/") + "/" + p.One)
	if err != nil {
		return fmt.Errorf("the npm registry cannot be reached: %w", err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the npm registry answers %s", answer.Status)
	}
	return nil
}
