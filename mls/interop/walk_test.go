package interop_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const (
	walkSteps     = 24
	walkStepsLong = 200 // SEALPOST_LONG=1
	walkMembers   = 9   // at most
	walkSeed      = 9420
)

// A walk has members of all three engines do whatever comes, in an order that its
// seed draws: trees with blank leaves, unmerged leaves and grown again, which no
// list of checks would think of.
func TestWalkOfThreeEngines(t *testing.T) {
	needPeers(t)
	steps := walkSteps
	if long() {
		steps = walkStepsLong
	}
	for _, suite := range suites() {
		t.Run(fmt.Sprintf("suite=%d", suite), func(t *testing.T) {
			t.Parallel()
			w := newWalk(t, session{t, suite, startPeer(t, tsMLS), new(int)}, startPeer(t, coreCrypto))
			for range steps {
				w.step()
			}
			if !t.Failed() {
				fmt.Printf("interop walk of %s+%s suite=%d steps=%d ok (%d trees that %s does not take)\n",
					tsMLS, coreCrypto, suite, steps, w.refused, tsMLS)
			}
		})
	}
}

type walk struct {
	*room
	draw   *rand.Rand
	people func() member // somebody new, of an engine that is drawn
	anchor *ours         // is never removed, so that somebody knows the leaves

	refused int // joins that ts-mls did not follow
}

// refusesTree: whoever joins by ts-mls wants all nodes above an unmerged leaf to
// have the same list of unmerged leaves. 12.4.3.1 lets a node higher up have more.
func refusesTree(m member, err error) bool {
	x, ok := m.(*theirs)
	return ok && x.p.engine == tsMLS && err != nil &&
		strings.Contains(err.Error(), "non-blank intermediate node must list leaf node in its unmerged_leaves")
}

// adds is a commit of newcomers. Who cannot follow is removed again.
func (w *walk) adds(by member, newcomers ...member) {
	w.t.Helper()
	w.steps++
	s, err := by.commit(change{add: w.keyPackages(newcomers...)})
	w.must(err, "%s commits", by.name())
	w.deliver(by, s.Commit, "commit")
	var lost []member
	for _, m := range newcomers {
		if err := m.join(s.Welcome, nil); refusesTree(m, err) {
			lost = append(lost, m)
		} else {
			w.must(err, "%s joins by the welcome of %s", m.name(), by.name())
			w.in = append(w.in, m)
		}
	}
	w.goesOn()
	if w.refused += len(lost); len(lost) > 0 {
		w.remove(w.anchor, lost...)
	}
}

func newWalk(t *testing.T, ts session, other *peer) *walk {
	t.Helper()
	cc := ts
	cc.peer = other
	w := &walk{draw: rand.New(rand.NewPCG(walkSeed, uint64(ts.suite))), anchor: ts.ours("anchor")}
	w.people = func() member {
		name := fmt.Sprint("member ", *ts.people)
		switch w.draw.IntN(3) {
		case 0:
			return ts.ours(name)
		case 1:
			return ts.theirs(name)
		}
		return cc.theirs(name)
	}
	w.room = newRoom(t, w.anchor)
	w.add(w.anchor, ts.theirs("first of ts-mls"), cc.theirs("first of core-crypto"))
	return w
}

func (w *walk) step() {
	w.t.Helper()
	by := w.in[w.draw.IntN(len(w.in))]
	switch what := w.draw.IntN(10); {
	case what < 3 && len(w.in) < walkMembers:
		var newcomers []member
		for range 1 + w.draw.IntN(min(3, walkMembers-len(w.in))) {
			newcomers = append(newcomers, w.people())
		}
		w.t.Logf("step %d: %s adds %d", w.steps+1, by.name(), len(newcomers))
		w.adds(by, newcomers...)
	case what < 5 && len(w.in) > 3:
		others := slices.DeleteFunc(slices.Clone(w.in), func(m member) bool { return m == by || m == w.anchor })
		gone := others[w.draw.IntN(len(others))]
		w.t.Logf("step %d: %s removes %s", w.steps+1, by.name(), gone.name())
		w.remove(by, gone)
	case what == 5 && len(w.in) < walkMembers:
		newcomer := w.people()
		w.t.Logf("step %d: %s joins by itself", w.steps+1, newcomer.name())
		gi, err := w.anchor.groupInfo()
		w.must(err, "group info")
		commit, err := newcomer.externalJoin(gi)
		if refusesTree(newcomer, err) {
			w.refused++
			return
		}
		w.must(err, "%s joins by itself", newcomer.name())
		w.enters(newcomer, commit)
	case what == 6 && by != w.anchor:
		w.t.Logf("step %d: %s commits the anchor's update", w.steps+1, by.name())
		w.proposes(w.anchor, change{update: true})
		w.change(by, change{received: true})
	case what == 7:
		w.t.Logf("step %d: the anchor restarts", w.steps)
		w.must(w.anchor.restart(), "restart")
		w.goesOn()
	default:
		w.t.Logf("step %d: %s updates", w.steps+1, by.name())
		w.update(by)
	}
}
