package interop_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"testing"
)

// A room is one group with all its members at one table. What one of them sends
// reaches all others at once, and after every step all must have the same epoch,
// authenticator and exported secret, and open each other's messages.
type room struct {
	t     *testing.T
	in    []member
	steps int
}

// must ends the check at the first thing that does not work: nothing after it
// would mean anything.
func (r *room) must(err error, format string, a ...any) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("step %d: %s: %v", r.steps, fmt.Sprintf(format, a...), err)
	}
}

// newRoom has a group of one.
func newRoom(t *testing.T, m member) *room {
	t.Helper()
	r := &room{t: t}
	id := make([]byte, 16)
	rand.Read(id)
	r.must(m.create(id), "%s creates a group", m.name())
	r.in = []member{m}
	return r
}

// add has one member add others.
func (r *room) add(by member, newcomers ...member) {
	r.t.Helper()
	r.change(by, change{add: r.keyPackages(newcomers...)}, newcomers...)
}

func (r *room) keyPackages(of ...member) (out [][]byte) {
	r.t.Helper()
	for _, m := range of {
		kp, err := m.keyPackage()
		r.must(err, "%s makes a key package", m.name())
		out = append(out, kp)
	}
	return out
}

// update has one member give itself and the nodes above it fresh keys.
func (r *room) update(by member) {
	r.t.Helper()
	r.change(by, change{})
}

// remove has one member put others out.
func (r *room) remove(by member, gone ...member) {
	r.t.Helper()
	r.change(by, change{remove: r.seats(gone...)})
}

// seats finds members' leaves, as one of ours sees them.
func (r *room) seats(of ...member) (out []seat) {
	r.t.Helper()
	for _, m := range r.in {
		if o, ok := m.(*ours); ok {
			for _, s := range o.seats() {
				if slices.ContainsFunc(of, func(m member) bool { return m.identity() == s.Identity }) {
					out = append(out, s)
				}
			}
			break
		}
	}
	if len(out) != len(of) {
		r.t.Fatalf("step %d: %d of %d members have a leaf", r.steps, len(out), len(of))
	}
	return out
}

// change has one member commit, takes its commit to all others and its welcome
// to those it adds, and sees that the conversation goes on.
func (r *room) change(by member, c change, joining ...member) {
	r.t.Helper()
	r.steps++
	s, err := by.commit(c)
	r.must(err, "%s commits", by.name())
	r.deliver(by, s.Commit, "commit")
	for _, m := range joining {
		tree := s.Tree
		if !c.noTree {
			tree = nil
		}
		r.must(m.join(s.Welcome, tree), "%s joins by the welcome of %s", m.name(), by.name())
	}
	r.in = append(r.in, joining...)
	r.goesOn()
}

// deliver takes a message to all but its sender. Whoever it puts out leaves the
// room.
func (r *room) deliver(from member, msg []byte, kind string) {
	r.t.Helper()
	sender := "nobody inside"
	if from != nil {
		sender = from.name()
	}
	var stay []member
	for _, m := range r.in {
		if m == from {
			stay = append(stay, m)
			continue
		}
		got, err := m.process(msg)
		r.must(err, "%s takes the %s of %s", m.name(), kind, sender)
		if got.Kind != kind {
			r.t.Fatalf("step %d: %s took the %s of %s for a %s", r.steps, m.name(), kind, sender, got.Kind)
		}
		if !got.Removed {
			stay = append(stay, m)
		}
	}
	r.in = stay
}

// goesOn: all agree, and everybody says something that all others read.
func (r *room) goesOn() {
	r.t.Helper()
	r.agree()
	for _, m := range r.in {
		r.say(m, nil, fmt.Appendf(nil, "step %d, says %s", r.steps, m.name()))
	}
}

// agree compares the view of all with that of the first.
func (r *room) agree() {
	r.t.Helper()
	var first view
	var secret []byte
	for i, m := range r.in {
		v, err := m.state()
		r.must(err, "state of %s", m.name())
		x, err := m.export("exporter", nil, 32)
		r.must(err, "%s exports", m.name())
		if i == 0 {
			first, secret = v, x
		}
		if v.Epoch != first.Epoch {
			r.t.Fatalf("step %d: %s is in epoch %d, %s in %d", r.steps, m.name(), v.Epoch, r.in[0].name(), first.Epoch)
		}
		if len(x) != 32 || !bytes.Equal(x, secret) {
			r.t.Fatalf("step %d: %s and %s export different secrets", r.steps, m.name(), r.in[0].name())
		}
		if v.Authenticator == nil {
			continue
		}
		if first.Authenticator == nil {
			first.Authenticator = v.Authenticator
		}
		if !bytes.Equal(v.Authenticator, first.Authenticator) {
			r.t.Fatalf("step %d: %s has another epoch authenticator", r.steps, m.name())
		}
	}
}

// say has one member send and all others open an application message.
func (r *room) say(from member, aad, text []byte) {
	r.t.Helper()
	msg, err := from.seal(aad, text)
	r.must(err, "%s seals", from.name())
	for _, m := range r.in {
		if m != from {
			r.opens(m, msg, aad, text)
		}
	}
}

func (r *room) opens(m member, msg, aad, text []byte) {
	r.t.Helper()
	got, err := m.process(msg)
	r.must(err, "%s opens %q", m.name(), text)
	if got.Kind != "application" || !bytes.Equal(got.Plaintext, text) {
		r.t.Fatalf("step %d: %s opened the %s %q, want %q", r.steps, m.name(), got.Kind, got.Plaintext, text)
	}
	if got.AAD != nil && !bytes.Equal(got.AAD, aad) {
		r.t.Fatalf("step %d: %s read the authenticated data %q, want %q", r.steps, m.name(), got.AAD, aad)
	}
}
