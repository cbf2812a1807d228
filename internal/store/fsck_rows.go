package store

import (
	"bytes"
	"context"
	"fmt"

	"github.com/sealpost/sealpost"
)

// Rows that no statement speaks of: each opens only where it stands, or has a
// mark, or is a count of others.

// each hands every row of an answer to check.
func (f *fsck) each(ctx context.Context, table, text string, check func(c *conn, r row)) error {
	return f.db.read(ctx, table, func(c *conn) error {
		err := c.each(text, func(r row) error { check(c, r); return nil })
		if err != nil {
			f.fault(0, table, "cannot be read: %v", err)
		}
		return nil
	})
}

// storeKeys checks what Open read: the list of migrations and the wrapped keys.
func (f *fsck) storeKeys(ctx context.Context) error {
	var versions []string
	err := f.each(ctx, `goose_db_version`, versionsText, func(_ *conn, r row) {
		s, _ := r[0].(string)
		versions = append(versions, s)
	})
	if err != nil {
		return err
	}
	if err := findVersionFault(versions); err != nil {
		f.fault(0, "goose_db_version", "%v", err)
	}
	return f.db.read(ctx, "wrapped keys", func(c *conn) error {
		_, _, err := readStoreKeys(c, f.db.vault.keys)
		return err
	})
}

// A fsckMark is how far a walk has come along the messages, and how far it may
// have come by what their rows say.
type fsckMark struct{ at, least, most uint64 }

// before and behind say that the walk has passed a message, or has not.
func (k *fsckMark) behind(seq uint64) { k.least = max(k.least, seq+1) }
func (k *fsckMark) before(seq uint64) { k.most = min(k.most, seq) }

// marks reads the two marks; the messages say later whether they may stand there.
func (f *fsck) marks(ctx context.Context) error {
	f.fresh.most, f.inbox.most = f.size, f.size
	rows := 0
	err := f.each(ctx, `marks`, `SELECT fresh, inbox FROM marks`, func(_ *conn, r row) {
		rows++
		f.fresh.at, f.inbox.at = r.uint(0), r.uint(1)
	})
	if err != nil {
		return err
	}
	if rows != 1 {
		f.fault(0, "marks row 1", "there are %d", rows)
	}
	return f.each(ctx, `sqlite_sequence`, `SELECT seq FROM sqlite_sequence WHERE name = 'endpoints'`, func(_ *conn, r row) {
		f.endpoints = max(f.endpoints, r.int(0))
	})
}

// bounds checks the numbers by which rows of other tables are told apart, after
// those rows.
func (f *fsck) bounds(ctx context.Context) error {
	for name, k := range map[string]fsckMark{"fresh": f.fresh, "inbox": f.inbox} {
		if k.at < k.least || k.at > k.most {
			f.fault(0, "marks row 1", "%s is %d, and the messages say %d to %d", name, k.at, k.least, k.most)
		}
	}
	err := f.each(ctx, `sqlite_sequence`, `SELECT s.name, s.seq, (SELECT max(id) FROM goose_db_version) FROM sqlite_sequence s`, func(_ *conn, r row) {
		if name, _ := r[0].(string); name != "endpoints" && (name != "goose_db_version" || r.int(1) != r.int(2)) {
			f.fault(0, fmt.Sprintf("sqlite_sequence row %q", name), "it counts no table's rows")
		}
	})
	if err != nil {
		return err
	}
	return f.each(ctx, `endpoints`, `SELECT max(id) FROM endpoints`, func(_ *conn, r row) {
		if max(r.int(0), f.endpoint) > f.endpoints {
			f.fault(0, `sqlite_sequence row "endpoints"`, "missing, or below an endpoint that there is or was")
		}
	})
}

// sealedRows checks that every other sealed row opens where it stands, and that
// what stands in clear beside it is what it says.
func (f *fsck) sealedRows(ctx context.Context) error {
	v := f.db.vault
	for _, t := range []struct {
		table, columns string
		open           func(c *conn, r row) error
	}{
		{"apps", `id, tag, sealed`, func(_ *conn, r row) error {
			name, err := v.open(tagApp, rowKey(r.int(0), r.bytes(1)), r.bytes(2))
			if err == nil && !bytes.Equal(r.bytes(1), v.tag(tagApp, name)) {
				err = fmt.Errorf("%w: its look-up is of another name", ErrDamaged)
			}
			return err
		}},
		{"promises", `id, sealed`, func(_ *conn, r row) error { _, err := v.openPromise(r.int(0), r.bytes(1)); return err }},
		{"endpoints", `id, device, carrier, sealed`, func(_ *conn, r row) error {
			_, err := v.open(tagEndpoint, endpointKey(r.int(0), r.int(1), r.int(2)), r.bytes(3))
			return err
		}},
		{"packages", packageColumns, func(_ *conn, r row) error { _, err := v.openPackage(r); return err }},
		{"enrolments", enrolmentColumns + `, challenge, app, expires, signing_key`, v.checkEnrolment},
		{"api_keys", apiKeyColumns + `, app, name`, v.checkAPIKey},
	} {
		err := f.walk(ctx, t.table, t.columns, func(c *conn, r row) error {
			if err := t.open(c, r); err != nil {
				f.fault(0, fmt.Sprintf("%s row %d", t.table, r.int(0)), "%v", err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkEnrolment reads an invitation and what stands beside it: challenge, app,
// expires, signing_key.
func (v *vault) checkEnrolment(c *conn, r row) error {
	e, err := v.readEnrolment(r)
	if err != nil {
		return err
	}
	app, err := v.appName(c, r.int(5))
	if err != nil {
		return err
	}
	var key []byte
	if e.Answer != nil {
		id := e.Answer.Key.ID()
		key = v.tag(tagKey, id[:])
	}
	if !bytes.Equal(r.bytes(4), v.tag(tagChallenge, e.Challenge[:])) || app != e.App || r.int(6) != int64(e.Expires) || !bytes.Equal(r.bytes(7), key) {
		err = fmt.Errorf("%w: it differs from what it seals", ErrDamaged)
	}
	return err
}

// checkAPIKey reads an API key and what stands beside it: app, name.
func (v *vault) checkAPIKey(c *conn, r row) error {
	k, err := v.readAPIKey(r)
	if err != nil {
		return err
	}
	app, err := v.appName(c, r.int(4))
	if err == nil && (app != k.App || !bytes.Equal(r.bytes(1), v.tag(tagAPIKey, k.Hash[:])) || !bytes.Equal(r.bytes(5), v.tag(tagAPIName, []byte(k.App), []byte(k.Name)))) {
		err = fmt.Errorf("%w: it differs from what it seals", ErrDamaged)
	}
	return err
}

// dataKeys checks that every data key opens for its tenant and day, by asking
// the key service and not the memory.
func (f *fsck) dataKeys(ctx context.Context) error {
	f.dataKeyRows = map[int64]bool{}
	return f.walk(ctx, `data_keys`, `id, app, day, wrapped`, func(c *conn, r row) error {
		f.dataKeyRows[r.int(0)] = true
		name, err := f.db.vault.appName(c, r.int(1))
		if err == nil {
			_, err = f.db.vault.keys.Unwrap(purposeOf(r.int(2), f.db.vault.tag(tagApp, []byte(name))), r.bytes(3))
		}
		if err != nil {
			f.fault(0, fmt.Sprintf("data_keys row %d", r.int(0)), "%v", err)
		}
		return nil
	})
}

// markedRows checks the rows that a mark covers.
func (f *fsck) markedRows(ctx context.Context) error {
	v := f.db.vault
	for _, t := range []struct {
		table, text string
		check       func(r row) (name string, mark, want []byte)
	}{
		{"nonces", `SELECT id, tag, until, mark FROM nonces`, func(r row) (string, []byte, []byte) {
			return fmt.Sprintf("nonces row %d", r.int(0)), r.bytes(3), v.markNonce(r.int(0), r.bytes(1), sealpost.UnixMilli(r.int(2)))
		}},
		{"epochs", `SELECT place, content, until, mark FROM epochs`, func(r row) (string, []byte, []byte) {
			return fmt.Sprintf("epochs row %x", r.bytes(0)), r.bytes(3), v.markEpoch(r.bytes(0), r.bytes(1), r.int(2))
		}},
		{"spent", `SELECT segment, start, length, mark FROM spent`, func(r row) (string, []byte, []byte) {
			return fmt.Sprintf("spent row %d/%d", r.int(0), r.int(1)), r.bytes(3), v.markSpent(ref{r.int(0), r.int(1), r.int(2)})
		}},
		{"segments", `SELECT id, tail, mark FROM segments`, func(r row) (string, []byte, []byte) {
			return fmt.Sprintf("segments row %d", r.int(0)), r.bytes(2), v.mark(markSegment, r.int(0), r.int(1))
		}},
	} {
		err := f.each(ctx, t.table, t.text, func(_ *conn, r row) {
			if name, mark, want := t.check(r); !bytes.Equal(mark, want) {
				f.fault(0, name, "its mark is of another row")
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// segments checks that the spool's files reach as far as they are written, and
// how many envelopes of each are still referred to.
func (f *fsck) segments(ctx context.Context) error {
	live := map[int64]int64{}
	f.short = map[int64]bool{}
	for _, text := range []string{
		`SELECT segment, count(*) FROM messages WHERE segment != 0 GROUP BY segment`,
		`SELECT segment, count(*) FROM spent GROUP BY segment`,
	} {
		if err := f.each(ctx, `segments`, text, func(_ *conn, r row) { live[r.int(0)] += r.int(1) }); err != nil {
			return err
		}
	}
	return f.walk(ctx, `segments`, `id, tail, live`, func(_ *conn, r row) error {
		if r.int(2) != live[r.int(0)] {
			f.short[r.int(0)] = r.int(2) > live[r.int(0)]
			f.fault(0, fmt.Sprintf("segments row %d", r.int(0)), "it counts %d envelopes, and there are %d", r.int(2), live[r.int(0)])
		}
		name := "spool segment " + segmentName(r.int(0))
		file, err := f.db.spool.file(r.int(0))
		if err != nil {
			f.fault(0, name, "%v", err)
			return nil
		}
		if info, err := file.Stat(); err != nil || info.Size() < r.int(1) {
			f.fault(0, name, "it is shorter than the %d bytes that were written", r.int(1))
		}
		return nil
	})
}
