package store

import (
	"context"
	"slices"

	"github.com/sealpost/sealpost"
)

// The relay accepts one MLS commit for each group and epoch of a tenant (12,
// Sender replicas). Few messages carry any, and the others pay nothing here.

// epochTaken says whether another commit stands where one of these would go, or
// two of them would go to one place.
func (g *group) epochTaken(commits []sealpost.EpochCommit) (bool, error) {
	for i, k := range commits {
		if slices.ContainsFunc(commits[:i], func(o sealpost.EpochCommit) bool { return o.Place == k.Place && o.Commit != k.Commit }) {
			return true, nil
		}
		place, content := g.vault.epoch(k)
		r, found, err := g.c.one(`SELECT content FROM epochs WHERE place = ?`, place)
		if err != nil {
			return false, err
		}
		if found && !slices.Equal(r.bytes(0), content) {
			return true, nil
		}
	}
	return false, nil
}

// takeEpochs remembers the commits of a message that expires then.
func (g *group) takeEpochs(commits []sealpost.EpochCommit, expires sealpost.UnixMilli) error {
	for _, k := range commits {
		place, content := g.vault.epoch(k)
		until := expires.Add(EpochsKept)
		r, found, err := g.c.one(`SELECT until FROM epochs WHERE place = ?`, place)
		if err != nil {
			return err
		}
		if found {
			until = max(until, sealpost.UnixMilli(r.int(0)))
		}
		if _, err := g.c.exec(`INSERT INTO epochs (place, content, until, mark) VALUES (?, ?, ?, ?)
			ON CONFLICT (place) DO UPDATE SET until = excluded.until, mark = excluded.mark`,
			place, content, int64(until), g.vault.markEpoch(place, content, int64(until))); err != nil {
			return err
		}
	}
	return nil
}

func (v *vault) epoch(k sealpost.EpochCommit) (place, content []byte) {
	return v.tag(tagEpoch, k.Place[:]), v.tag(tagCommit, k.Place[:], k.Commit[:])
}

func (v *vault) markEpoch(place, content []byte, until int64) []byte {
	return v.mark(markEpoch, until, 0, place, content)
}

// sweepEpochs forgets commits that nobody can fetch any more: see [EpochsKept].
func (db *DB) sweepEpochs(ctx context.Context, now sealpost.UnixMilli) (more bool, err error) {
	if due, err := db.due(ctx, `SELECT 1 FROM epochs WHERE until < ? LIMIT 1`, int64(now)); err != nil || !due {
		return false, err
	}
	err = db.write(ctx, "epochs", func(g *group) error {
		n, err := g.c.exec(`DELETE FROM epochs WHERE place IN (SELECT place FROM epochs WHERE until < ? LIMIT ?)`, int64(now), SweepMax)
		more = n == SweepMax
		return err
	})
	return more, err
}
