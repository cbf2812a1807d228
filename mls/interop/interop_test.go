package interop_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/sealpost/sealpost/mls"
)

const (
	tsMLS      = "ts-mls"
	coreCrypto = "core-crypto"
)

// suites are those that both engines and ours have. P-521 and P-384 take minutes in
// JavaScript, so the long suite has them.
func suites() []mls.Suite {
	out := []mls.Suite{mls.X25519AES128, mls.P256AES128, mls.X25519ChaCha}
	if long() {
		out = append(out, mls.P521AES256, mls.P384AES256)
	}
	return out
}

func long() bool { return os.Getenv("SEALPOST_LONG") != "" }

// A session is one engine with one suite.
type session struct {
	t      *testing.T
	suite  mls.Suite
	peer   *peer
	people *int
}

// ours and theirs make a client that is in no group yet. Identities have the one
// form that core-crypto takes.
func (s *session) ours(name string) *ours {
	s.t.Helper()
	return newOurs(s.t, s.suite, name, s.identity())
}

func (s *session) theirs(name string) *theirs {
	s.t.Helper()
	return theirClient(s.t, s.peer, s.suite, name, s.identity())
}

func (s *session) identity() string {
	*s.people++
	return fmt.Sprintf("00000000-0000-4000-8000-%012x:%x@interop.example", *s.people, *s.people)
}

// A check is one thing that works between any engine and ours, except where one
// does not offer it.
type check struct {
	name   string
	run    func(s *session)
	except map[string]string // by engine: why it cannot be done
}

func TestInterop(t *testing.T) {
	needPeers(t)
	for _, engine := range []string{tsMLS, coreCrypto} {
		for _, suite := range suites() {
			t.Run(fmt.Sprintf("%s/suite=%d", engine, suite), func(t *testing.T) {
				t.Parallel()
				s := session{suite: suite, peer: startPeer(t, engine), people: new(int)}
				held := 0
				for _, c := range checks {
					if why, ok := c.except[engine]; ok {
						fmt.Printf("interop %s suite=%d not offered: %s: %s\n", engine, suite, c.name, why)
						continue
					}
					t.Run(c.name, func(t *testing.T) {
						s := s
						s.t = t
						c.run(&s)
						held++
					})
				}
				if !t.Failed() {
					fmt.Printf("interop %s suite=%d checks=%d ok\n", engine, suite, held)
				}
			})
		}
	}
}
