package js_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/evidence"
)

const (
	askTimeout = 30 * time.Second // for one answer
	answerMax  = 4 << 20          // bytes in one answer
)

// A second is the other judge in one process, which speaks the JSON lines of
// test/peer.ts.
type second struct {
	in   io.WriteCloser
	out  *bufio.Scanner
	kill func()
}

func startSecond(t *testing.T) *second {
	t.Helper()
	cmd := exec.Command("node", "dist/test/peer.js")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &second{in, bufio.NewScanner(out), func() { cmd.Process.Kill() }}
	s.out.Buffer(nil, answerMax)
	t.Cleanup(func() { // without input it ends by itself; if it does not, it is ended
		in.Close()
		late := time.AfterFunc(askTimeout, s.kill)
		defer late.Stop()
		cmd.Wait()
	})
	return s
}

// An opinion is what both judges must agree on: the exit code, and each claim's
// subject with the exhibits that it rests on, in any order.
type opinion struct {
	Code     int
	Claims   []string
	Findings []string // shown where they differ, and not compared
	Error    string
}

// judge puts one bundle to the second judge, does something else meanwhile, and
// waits for the answer.
func (s *second) judge(raw []byte, policy []byte, at sealpost.UnixMilli, meanwhile func()) (o opinion, err error) {
	line, err := json.Marshal(map[string]any{"bundle": raw, "policy": policy, "at": at.String()})
	if err != nil {
		return o, err
	}
	late := time.AfterFunc(askTimeout, s.kill)
	defer late.Stop()
	if _, err := s.in.Write(append(line, '\n')); err != nil {
		return o, err
	}
	meanwhile()
	if !s.out.Scan() {
		return o, errors.Join(s.out.Err(), io.ErrUnexpectedEOF)
	}
	if err = json.Unmarshal(s.out.Bytes(), &o); err == nil && o.Error != "" {
		err = errors.New(o.Error)
	}
	return o, err
}

func first(raw []byte, p evidence.Policy, at sealpost.UnixMilli) (o opinion) {
	v := evidence.Verify(raw, p, at)
	o.Code = v.Status.ExitCode()
	for _, c := range v.Claims {
		o.Claims = append(o.Claims, strings.Join(append([]string{string(c.About)}, c.Evidence...), " "))
	}
	for _, f := range v.Findings {
		o.Findings = append(o.Findings, fmt.Sprintf("%d %v", int(f.Status), f))
	}
	return o
}
