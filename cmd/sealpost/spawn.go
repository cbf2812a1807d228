package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Bounds of a process that the demo starts.
const (
	readyWithin = 30 * time.Second // until it says that it is ready
	stopWithin  = 20 * time.Second // between asking it to end and ending it
	lineMax     = 1 << 20          // bytes of one line that it prints
)

// A child is this binary, running one of its commands in a process of its own.
// It speaks JSON lines on its standard output and takes them on its input; its
// words go to a file.
type child struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	log   *os.File
}

// spawn starts a command of this binary and waits for its first line, which it
// decodes into ready.
func spawn(ctx context.Context, name, logDir string, ready any, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	log, err := os.OpenFile(filepath.Join(logDir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c := &child{name: name, cmd: exec.Command(self, args...), log: log}
	c.cmd.Stderr = log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true} // an interrupt is ours to pass on
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		c.in, err = c.cmd.StdinPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		log.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c.lines = bufio.NewScanner(out)
	c.lines.Buffer(nil, lineMax)
	if err := c.await(ctx, ready); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// await reads the line that says the child is ready.
func (c *child) await(ctx context.Context, ready any) error {
	first := make(chan error, 1)
	go func() { first <- c.read(ready) }()
	select {
	case err := <-first:
		if err != nil {
			return fmt.Errorf("start %s: %w; its words are in %s", c.name, err, c.log.Name())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(readyWithin):
		return fmt.Errorf("start %s: not ready within %v; its words are in %s", c.name, readyWithin, c.log.Name())
	}
}

// read decodes the child's next line; io.EOF after its last.
func (c *child) read(v any) error {
	if !c.lines.Scan() {
		return errors.Join(c.lines.Err(), io.EOF)
	}
	return json.Unmarshal(c.lines.Bytes(), v)
}

// tell writes one line to the child.
func (c *child) tell(v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = c.in.Write(append(b, '\n'))
	}
	return err
}

// stop asks the child to end, waits, and ends it if it does not.
func (c *child) stop() error {
	c.in.Close()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(stopWithin, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	err := c.cmd.Wait()
	return errors.Join(err, c.log.Close())
}
