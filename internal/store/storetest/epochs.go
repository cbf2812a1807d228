package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/sealpost/sealpost"
)

// carrying is a message whose envelope carries commits: pairs of a place's name
// and a commit's.
func (w *World) carrying(pairs ...string) sealpost.Hold {
	m := w.Message(Recipient("r"))
	for i := 0; i < len(pairs); i += 2 {
		m.Commits = append(m.Commits, sealpost.EpochCommit{Place: sha256.Sum256([]byte(pairs[i])), Commit: sha256.Sum256([]byte(pairs[i+1]))})
	}
	return m
}

// epochs: one commit for each group and epoch (12, Sender replicas), which
// opening again does not forget.
func epochs(t *testing.T, w *World) {
	ctx := context.Background()
	d := w.Enrol(Recipient("r"))
	refused := func(when string, m sealpost.Hold) {
		t.Helper()
		size, err := w.Size(ctx)
		w.Must(err)
		got := w.HoldOne(m)
		if !errors.Is(got.Err, sealpost.ErrEpochTaken) || !errors.Is(got.Err, sealpost.ErrConflict) {
			t.Errorf("%s: again %v, %v", when, got.Again, got.Err)
		}
		if _, err := w.ReadMessage(m.ID); !errors.Is(err, sealpost.ErrNotFound) {
			t.Errorf("%s: the refused message: %v", when, err)
		}
		if after, err := w.Size(ctx); err != nil || after != size {
			t.Errorf("%s: it took a seq, %v", when, err)
		}
	}
	first := w.carrying("group, 5", "add a phone")
	w.MustHold(first, w.carrying("group, 5", "add a phone"), w.carrying("group, 6", "next"), w.carrying("other group, 5", "another"))
	refused("another commit", w.carrying("group, 5", "a rival"))
	refused("one of several", w.carrying("group, 7", "after", "group, 5", "a rival"))
	w.MustHold(w.carrying("group, 7", "free, because the message above is not held"))
	refused("two in one envelope", w.carrying("group, 8", "one", "group, 8", "two"))
	rivals, err := w.Hold(ctx, []sealpost.Hold{w.carrying("group, 9", "one"), w.carrying("group, 9", "two"), w.carrying("group, 9", "one")})
	w.Must(err)
	if rivals[0].Err != nil || !errors.Is(rivals[1].Err, sealpost.ErrEpochTaken) || rivals[2].Err != nil || rivals[2].Record.Seq != rivals[0].Record.Seq+1 {
		t.Errorf("rivals in one group: %v, %v, %v", rivals[0].Err, rivals[1].Err, rivals[2].Err)
	}
	if got := w.HoldOne(first); !got.Again {
		t.Errorf("the same message again: %v", got.Err)
	}
	w.Reopen()
	refused("after opening again", w.carrying("group, 5", "a rival"))
	w.MustHold(w.carrying("group, 5", "add a phone"))

	// A message that carries it again later keeps it for longer.
	w.Now = w.Now.Add(sealpost.LifetimeMax)
	last := w.carrying("group, 5", "add a phone")
	w.MustHold(last)
	w.Now = last.Commitment.Expires.Add(sealpost.LifetimeMax)
	w.Must(w.Sweep(ctx, w.Now))
	refused("in the last moment", w.carrying("group, 5", "a rival"))
	w.MustHold(w.carrying("group, 6", "forgotten before"))
	w.Now++
	w.Must(w.Sweep(ctx, w.Now))
	w.MustHold(w.carrying("group, 5", "a rival"))
	if got := w.HoldOne(first); !got.Again {
		t.Errorf("the first message again, when its epoch is another's: %v", got.Err)
	}
	if got, err := w.Arrivals(ctx, d.ID, 0, all, 10); err != nil || len(got) != 2 {
		t.Errorf("%d messages wait, %v", len(got), err)
	}
}
