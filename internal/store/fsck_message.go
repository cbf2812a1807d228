package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/sealpost/sealpost"
)

// What the statements about a message say of its rows: the course that it took
// is followed again, and the rows must stand where it led.

// messages checks every message with its routes, and which blocks of a tenant
// they lie in.
func (f *fsck) messages(ctx context.Context) error {
	blocks := map[appBlock]bool{}
	err := f.walk(ctx, `messages`, messageColumns+`, release, lookup, phase, turn`, func(c *conn, r row) error {
		f.report.Messages++
		m := fsckMessage{messageRow: readMessageRow(r), ready: r.int(8), end: r.int(9), gone: r.null(5), start: r.int(6), length: r.int(7), phase: r.int(12), turn: r.int(13), noTurn: r.null(13)}
		blocks[appBlock{m.app, int64(m.seq / blockSize)}] = true
		if commitment, ok := f.commitment(c, m, r); ok {
			f.outcome(c, m)
			f.blob(m, commitment)
			f.routes(c, m, commitment)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := f.strayRows(ctx); err != nil {
		return err
	}
	return f.blocks(ctx, blocks)
}

// A fsckMessage is a message's row in full.
type fsckMessage struct {
	messageRow
	ready, end    int64 // as they stand there
	gone          bool  // its envelope
	start, length int64
	phase, turn   int64
	noTurn        bool
}

// commitment compares a message with what was signed.
func (f *fsck) commitment(c *conn, m fsckMessage, r row) (commitment sealpost.Commitment, ok bool) {
	held, found, err := c.one(`SELECT kind FROM statements WHERE seq = ?`, m.seq)
	if err == nil && (!found || sealpost.Kind(held.int(0)) != sealpost.KindCommitment) {
		f.fault(m.seq, "messages", "there is no commitment of it")
		return commitment, false
	}
	record, err := f.db.vault.record(c, m.seq)
	if err != nil {
		return commitment, false // named among the statements
	}
	s, err := sealpost.Parse(record.Statement)
	if err != nil {
		return commitment, false
	}
	if commitment, err = s.Commitment(); err != nil {
		f.fault(m.seq, "messages", "its statement is no commitment")
		return commitment, false
	}
	app, err := f.db.vault.appName(c, m.app)
	if err != nil || app != commitment.App || !bytes.Equal(m.tag, f.db.vault.tag(tagStatement, record.Hash[:])) ||
		!bytes.Equal(r.bytes(11), f.db.vault.messageLookup(commitment.ID)) || m.expires != commitment.Expires ||
		m.carriers != carrierSet(commitment.Carriers) || r.int(10) != int64(commitment.Release) {
		f.fault(m.seq, "messages", "it differs from its commitment")
	}
	return commitment, true
}

// outcome checks that the end of a message is the one that was signed.
func (f *fsck) outcome(c *conn, m fsckMessage) {
	want := sealpost.End(0)
	rows, err := c.all(`SELECT seq FROM statements WHERE message = ? AND kind = ?`, m.seq, int(sealpost.KindOutcome))
	if err != nil || len(rows) > 1 {
		f.fault(m.seq, "messages", "it has %d outcomes", len(rows))
		return
	}
	if len(rows) == 1 {
		record, err := f.db.vault.record(c, rows[0].uint(0))
		if err != nil {
			return
		}
		if s, err := sealpost.Parse(record.Statement); err == nil {
			if o, err := s.Outcome(); err == nil {
				want = o.End
			}
		}
	}
	phase := int64(phaseOpen)
	if want != 0 {
		phase = phaseEnded
	}
	if m.end != int64(want) || m.phase != phase || want != 0 && m.ready != int64(want) {
		f.fault(m.seq, "messages", "its end is not the signed one")
	}
}

// blob checks the envelope, as long as it is there.
func (f *fsck) blob(m fsckMessage, commitment sealpost.Commitment) {
	if m.gone {
		if m.start != 0 || m.length != 0 {
			f.fault(m.seq, "messages", "its envelope is gone, and yet it has a place")
		}
		return
	}
	f.report.Blobs++
	row := fmt.Sprintf("spool segment %s at %d", segmentName(m.blob.segment), m.blob.start)
	if m.length < 0 || m.length > sealpost.BlobMax || m.start < 0 {
		f.fault(m.seq, row, "the reference is no range")
		return
	}
	b, err := f.db.spool.read(m.blob)
	if err != nil {
		f.fault(m.seq, row, "%v", err)
	} else if sha256.Sum256(b) != commitment.Blob {
		f.fault(m.seq, row, "the blob is not the one that the commitment names")
	}
}

// A course is what one device and the tries to reach it came to.
type course struct {
	revoked                 bool // now
	handed, opened, refused bool
	receipts, tries         int64
	failed                  bool // a try did not reach the carrier
	taken                   bool // the last try did, or may have
	id                      int64
}

// routes checks a message's outbox: a row for each device that was in force, as
// far as the device and the tries came.
func (f *fsck) routes(c *conn, m fsckMessage, commitment sealpost.Commitment) {
	courses, err := f.courses(c, m, commitment)
	if err != nil {
		return // named among the statements or keys
	}
	rows, err := c.all(`SELECT device, state, handed, receipts, tries, endpoint, queue, turn, waiting FROM routes WHERE message = ?`, m.seq)
	if err != nil {
		f.fault(m.seq, "routes", "cannot be read: %v", err)
		return
	}
	states := make([]routeRow, 0, len(rows))
	handed := len(rows) > 0
	for _, r := range rows {
		states = append(states, routeRow{state: int(r.int(1))})
		handed = handed && r.int(2) != 0
		i := slices.IndexFunc(courses, func(k course) bool { return k.id == r.int(0) })
		if i < 0 {
			f.fault(m.seq, routeName(m.seq, r.int(0)), "no device in force had this number")
			continue
		}
		f.route(c, m, commitment, courses[i], r)
		courses = slices.Delete(courses, i, i+1)
	}
	for _, k := range courses {
		f.fault(m.seq, routeName(m.seq, k.id), "missing")
	}
	if m.outcome == 0 && m.ready != int64(endOf(states)) {
		f.fault(m.seq, "messages", "it is not ready for the end that its routes have come to")
	}
	if over := m.outcome != 0 && m.expires <= sealpost.FromTime(f.db.now()); m.gone && !handed && !over || !m.gone && handed {
		f.fault(m.seq, "messages", "its envelope is there, or is gone, against its routes and time")
	}
	f.turn(m)
}

// turn checks when a message is looked at next.
func (f *fsck) turn(m fsckMessage) {
	want, none := int64(m.expires), false
	switch {
	case m.outcome == 0 && m.ready != 0:
		want = 0
	case m.outcome != 0 && m.gone:
		want, none = 0, true
	}
	if m.turn != want || m.noTurn != none {
		f.fault(m.seq, "messages", "its turn is at another time")
	}
}

func routeName(message uint64, device int64) string {
	return fmt.Sprintf("routes row %d/%d", message, device)
}

// courses follows what is held about a message, for each device that was in
// force when it was.
func (f *fsck) courses(c *conn, m fsckMessage, commitment sealpost.Commitment) (out []course, err error) {
	v := f.db.vault
	byKey := map[string]int{}
	rows, err := c.all(`SELECT id, tag, enrolled, revoked FROM signing_keys WHERE owner = ? ORDER BY id`, v.deviceOwner(commitment.App, commitment.Recipient))
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if r.uint(2) < m.seq && (r.uint(3) == 0 || r.uint(3) > m.seq) {
			byKey[string(r.bytes(1))] = len(out)
			out = append(out, course{id: r.int(0), revoked: r.uint(3) != 0})
		}
	}
	of := func(key sealpost.KeyID) *course {
		if i, ok := byKey[string(v.tag(tagKey, key[:]))]; ok {
			return &out[i]
		}
		return &course{} // its route is missing, which is named
	}
	rows, err = c.all(`SELECT `+statementColumns+` FROM statements WHERE message = ? ORDER BY seq`, m.seq)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		raw, _, err := v.openStatement(c, r)
		if err != nil {
			return nil, err
		}
		s, err := sealpost.Parse(raw)
		if err != nil {
			return nil, err
		}
		switch s.Kind() {
		case sealpost.KindAttempt:
			a, err := s.Attempt()
			if err != nil {
				return nil, err
			}
			k := of(a.Device)
			k.tries = max(k.tries, int64(a.Number))
			k.taken = a.Result == sealpost.Accepted || a.Result == sealpost.Ambiguous
			k.failed = k.failed || !k.taken
		case sealpost.KindReceipt:
			rc, err := s.Receipt()
			if err != nil {
				return nil, err
			}
			k := of(rc.Key)
			k.receipts++
			k.handed = k.handed || rc.Level == sealpost.HandedOver || rc.Level.Positive()
			k.opened = k.opened || rc.Level.Positive()
			k.refused = k.refused || rc.Level.Negative()
		}
	}
	return out, nil
}

// states are those that a route may be in. Whether a failed try is tried again
// stands in no statement.
func (k course) states() []int {
	switch {
	case k.opened:
		return []int{routeOpened}
	case k.refused:
		return []int{routeRefused}
	case k.handed:
		return []int{routeHanded}
	case k.revoked || k.failed:
		return []int{routeOpen, routeFailed}
	}
	return []int{routeOpen}
}

// route checks one row: device, state, handed, receipts, tries, endpoint, queue,
// turn, waiting.
func (f *fsck) route(c *conn, m fsckMessage, commitment sealpost.Commitment, k course, r row) {
	name := routeName(m.seq, k.id)
	fault := func(format string, args ...any) { f.fault(m.seq, name, format, args...) }
	state, handed := int(r.int(1)), r.int(2) != 0
	if !slices.Contains(k.states(), state) || r.int(2) != int64(flag(k.handed)) || r.int(3) != k.receipts || r.int(4) != k.tries {
		fault("it is not where its attempts and receipts led")
	}
	if e := r.int(5); e < 0 || e > f.endpoints || e > 0 && f.endpointIsOf(c, e) != 0 && f.endpointIsOf(c, e) != k.id {
		fault("its endpoint is no endpoint of the device")
	}
	f.queue(c, m, commitment, k, r, fault)
	waits := state <= routeFailed && !handed && (m.outcome == 0 || m.outcome == sealpost.Delivered) && !m.noTurn && m.seq < f.mark
	if in := !r.null(8); in && r.int(8) != 1 || in && !waits || waits && !in && !k.revoked {
		fault("it is in the inbox on disk, or is not, against its state and inbox_mark")
	}
}

// queue checks a route's place in the outbox.
func (f *fsck) queue(c *conn, m fsckMessage, commitment sealpost.Commitment, k course, r row, fault func(string, ...any)) {
	first, turn := int64(firstQueue(commitment.Release)), r.int(7)
	isTime := turn >= int64(commitment.Created.Add(-sealpost.FreshnessWindow)) && turn <= int64(commitment.Expires.Add(sealpost.LifetimeMax))
	open := int(r.int(1)) == routeOpen && m.outcome == 0
	switch {
	case r.null(6):
		if turn != int64(m.seq) && !isTime {
			fault("its turn is no time of this message")
		}
		due := open && !k.revoked && !k.taken && m.expires > sealpost.FromTime(f.db.now())
		if due && f.reaches(c, k.id, m.carriers) {
			fault("it is in no queue, and the device can be reached")
		}
	case !open || r.int(6) != first && r.int(6) != queueTimed:
		fault("it is in a queue where it does not belong")
	case r.int(6) == queueTimed && !isTime || r.int(6) != queueTimed && turn != int64(m.seq):
		fault("its turn is not one of its queue")
	}
}

// reaches says whether a device has an endpoint of one of the carriers.
func (f *fsck) reaches(c *conn, device, carriers int64) bool {
	_, found, err := c.one(`SELECT 1 FROM endpoints WHERE device = ? AND carrier BETWEEN 0 AND 62 AND (? >> carrier) & 1 LIMIT 1`, device, carriers)
	return err == nil && found
}

// endpointIsOf is the device that has an endpoint now, 0 where none does.
func (f *fsck) endpointIsOf(c *conn, id int64) int64 {
	r, found, err := c.one(`SELECT device FROM endpoints WHERE id = ?`, id)
	if err != nil || !found {
		return 0
	}
	return r.int(0)
}

// strayRows finds rows that belong to no statement.
func (f *fsck) strayRows(ctx context.Context) error {
	err := f.each(ctx, `routes`, `SELECT message, device FROM routes WHERE message NOT IN (SELECT seq FROM messages)`, func(_ *conn, r row) {
		f.fault(r.uint(0), routeName(r.uint(0), r.int(1)), "there is no such message")
	})
	if err != nil {
		return err
	}
	return f.each(ctx, `key_events`, `SELECT seq, (SELECT kind FROM statements s WHERE s.seq = e.seq) FROM key_events e`, func(_ *conn, r row) {
		if sealpost.Kind(r.int(1)) != sealpost.KindKeyEvent {
			f.fault(r.uint(0), "key_events", "there is no such key event")
		}
	})
}

// An appBlock is a block of seqs that has messages of a tenant.
type appBlock struct{ app, block int64 }

func (f *fsck) blocks(ctx context.Context, want map[appBlock]bool) error {
	name := func(b appBlock) string { return fmt.Sprintf("app_blocks row %d/%d", b.app, b.block) }
	err := f.each(ctx, `app_blocks`, `SELECT app, block FROM app_blocks`, func(_ *conn, r row) {
		b := appBlock{r.int(0), r.int(1)}
		if !want[b] {
			f.fault(0, name(b), "no message of the tenant is there")
		}
		delete(want, b)
	})
	for b := range want {
		f.fault(0, name(b), "missing")
	}
	return err
}
