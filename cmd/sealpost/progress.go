package main

import (
	"fmt"
	"io"
)

// A progress shows long work to a person: one line that is written over on a
// terminal, and a line for each step elsewhere.
type progress struct {
	w        io.Writer
	terminal bool
	step     string
	open     bool // a line on the terminal has no end yet
}

func newProgress(w io.Writer) *progress { return &progress{w: w, terminal: isTerminal(w)} }

// say names a step that has no count.
func (p *progress) say(what string) {
	p.end()
	fmt.Fprintf(p.w, "%s …\n", what)
}

// count shows how far a step is. Elsewhere than on a terminal it speaks once,
// when the step is done.
func (p *progress) count(what string, n, of int) {
	if what != p.step {
		p.end()
		p.step = what
	}
	switch {
	case p.terminal:
		fmt.Fprintf(p.w, "\r%-40s %d/%d", what, n, of)
		p.open = true
	case n == of:
		fmt.Fprintf(p.w, "%s: %d\n", what, n)
	}
}

// end closes the line.
func (p *progress) end() {
	if p.open {
		fmt.Fprintln(p.w)
	}
	p.open = false
}
