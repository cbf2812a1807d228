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

// messages checks every message, and the tables that say in which blocks of seqs
// they lie, expire and wait.
func (f *fsck) messages(ctx context.Context) error {
	blocks := map[appBlock]bool{}
	err := f.walk(ctx, `messages`, messageColumns+`, lookup, turn`, func(c *conn, r row) error {
		f.report.Messages++
		m := fsckMessage{ready: r.int(10), end: r.int(11), turn: r.int(13)}
		var routes error
		if m.messageRow, routes = readMessageRow(r); routes != nil {
			f.fault(m.seq, "messages", "%v", routes)
		}
		m.gone = m.blob.segment == 0
		blocks[appBlock{m.app, int64(m.seq / blockSize)}] = true
		if commitment, ok := f.commitment(c, m, r); ok {
			f.outcome(c, m)
			f.blob(c, m, commitment)
			f.expiry(c, m)
			if routes == nil {
				f.routes(c, m, commitment)
				f.turn(m)
			}
		}
		return nil
	})
	for _, check := range []func(context.Context) error{f.strayEvents, f.strayExpiries, f.strayWaits} {
		if err == nil {
			err = check(ctx)
		}
	}
	if err != nil {
		return err
	}
	return f.blocks(ctx, blocks)
}

// A fsckMessage is a message's row in full.
type fsckMessage struct {
	messageRow
	ready, end, turn int64 // as they stand there
	gone             bool  // its envelope
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
		!bytes.Equal(r.bytes(12), f.db.vault.messageLookup(commitment.ID)) || m.expires != commitment.Expires ||
		m.carriers != carrierSet(commitment.Carriers) || r.int(5) != int64(commitment.Release) {
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
	if m.end != int64(want) || want != 0 && m.ready != int64(want) {
		f.fault(m.seq, "messages", "its end is not the signed one")
	}
}

// blob checks the envelope, as long as it is there.
func (f *fsck) blob(c *conn, m fsckMessage, commitment sealpost.Commitment) {
	if m.gone {
		for segment := range f.short {
			b, err := f.db.spool.read(ref{segment, m.blob.start, min(m.blob.length, sealpost.BlobMax)})
			if err == nil && sha256.Sum256(b) == commitment.Blob {
				f.fault(m.seq, "messages", "its envelope is there, and it does not refer to it")
			}
		}
		return
	}
	f.report.Blobs++
	row := fmt.Sprintf("spool segment %s at %d", segmentName(m.blob.segment), m.blob.start)
	if m.blob.length < 0 || m.blob.length > sealpost.BlobMax || m.blob.start < 0 {
		f.fault(m.seq, row, "the reference is no range")
		return
	}
	if _, spent, err := c.one(`SELECT 1 FROM spent WHERE segment = ? AND start = ?`, m.blob.segment, m.blob.start); err == nil && spent {
		f.fault(m.seq, "messages", "its envelope is given up, and it refers to it")
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

// routes checks a message's outbox: a route for each device that was in force, as
// far as the device and the tries came.
func (f *fsck) routes(c *conn, m fsckMessage, commitment sealpost.Commitment) {
	courses, err := f.courses(c, m, commitment)
	if err != nil {
		return // named among the statements or keys
	}
	handed := len(m.routes) > 0
	for i := range m.routes {
		r := &m.routes[i]
		handed = handed && r.handed
		at := slices.IndexFunc(courses, func(k course) bool { return k.id == r.device })
		if at < 0 {
			f.fault(m.seq, "messages", "no device in force had number %d", r.device)
			continue
		}
		f.route(c, m, commitment, courses[at], r)
		courses = slices.Delete(courses, at, at+1)
	}
	for _, k := range courses {
		f.fault(m.seq, "messages", "it has no route to device %d", k.id)
	}
	if m.outcome == 0 && m.ready != int64(endOf(m.routes)) {
		f.fault(m.seq, "messages", "it is not ready for the end that its routes have come to")
	}
	if over := m.outcome != 0 && m.expires <= sealpost.FromTime(f.db.now()); m.gone && !handed && !over || !m.gone && handed {
		f.fault(m.seq, "messages", "its envelope is there, or is gone, against its routes and time")
	}
}

// turn checks when a message is tried next: at the first turn of a route, and
// while it is fresh whenever the walk comes to it.
func (f *fsck) turn(m fsckMessage) {
	want := never
	for i := range m.routes {
		if r := &m.routes[i]; r.queued {
			want = min(want, r.turn)
		}
	}
	fresh := m.release != sealpost.ReleaseHeld && m.seq >= f.fresh.at
	if m.turn != int64(want) && !(fresh && m.turn == int64(never)) || fresh && m.turn != int64(never) {
		f.fault(m.seq, "messages", "its turn is at another time")
	}
	if want == never || m.release == sealpost.ReleaseHeld {
		return
	}
	switch m.turn {
	case int64(never):
		f.fresh.before(m.seq)
	case int64(want):
		f.fresh.behind(m.seq)
	}
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
func (k course) states() []routeState {
	switch {
	case k.opened:
		return []routeState{routeOpened}
	case k.refused:
		return []routeState{routeRefused}
	case k.handed:
		return []routeState{routeHanded}
	case k.revoked || k.failed:
		return []routeState{routeOpen, routeFailed}
	}
	return []routeState{routeOpen}
}

// route checks one route.
func (f *fsck) route(c *conn, m fsckMessage, commitment sealpost.Commitment, k course, r *route) {
	fault := func(what string) { f.fault(m.seq, "messages", "its route to device %d: %s", k.id, what) }
	if !slices.Contains(k.states(), r.state) || r.handed != k.handed || r.receipts != k.receipts || r.tries != k.tries {
		fault("it is not where its attempts and receipts led")
	}
	f.endpoint = max(f.endpoint, r.endpoint)
	if of := f.endpointIsOf(c, r.endpoint); r.endpoint > f.endpoints || of != 0 && of != k.id {
		fault("its endpoint is no endpoint of the device")
	}
	f.queue(c, m, commitment, k, r, fault)
	if !f.waits(m.messageRow, r) || k.revoked {
		return
	}
	if _, found, err := c.one(`SELECT 1 FROM waiting WHERE device = ? AND message = ?`, k.id, m.seq); err == nil && !found {
		f.inbox.before(m.seq)
		if m.seq < f.inbox.at {
			f.fault(m.seq, waitingName(k.id, m.seq), "missing")
		}
	}
}

// waits says whether a device may still ask for a message.
func (f *fsck) waits(m messageRow, r *route) bool {
	return r.waits() && m.blob.segment != 0 && (m.outcome == 0 || m.outcome == sealpost.Delivered)
}

// queue checks a route's place in the outbox.
func (f *fsck) queue(c *conn, m fsckMessage, commitment sealpost.Commitment, k course, r *route, fault func(string)) {
	isTime := r.turn >= commitment.Created.Add(-sealpost.FreshnessWindow) && r.turn <= commitment.Expires.Add(sealpost.LifetimeMax)
	open := m.wakes(r)
	due := open && !k.revoked && !k.taken && m.expires > sealpost.FromTime(f.db.now())
	switch {
	case r.queued && !open:
		fault("it is in the queue where it does not belong")
	case r.queued && r.turn != atOnce && !isTime:
		fault("its turn is no time of this message")
	case !r.queued && due && f.reaches(c, k.id, m.carriers):
		fault("it is not in the queue, and the device can be reached")
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

// strayEvents finds look-ups of key events that no statement is.
func (f *fsck) strayEvents(ctx context.Context) error {
	return f.each(ctx, `key_events`, `SELECT seq, (SELECT kind FROM statements s WHERE s.seq = e.seq) FROM key_events e`, func(_ *conn, r row) {
		if sealpost.Kind(r.int(1)) != sealpost.KindKeyEvent {
			f.fault(r.uint(0), "key_events", "there is no such key event")
		}
	})
}

func (e expiry) name() string { return fmt.Sprintf("expiring row %d/%d", e.second, e.block) }

// expiry checks that a message which is open, or has its envelope, is found when
// it expires.
func (f *fsck) expiry(c *conn, m fsckMessage) {
	if m.outcome != 0 && m.gone {
		return
	}
	e := expiryOf(m.expires, m.seq)
	if _, found, err := c.one(`SELECT 1 FROM expiring WHERE second = ? AND block = ?`, e.second, e.block); err == nil && !found {
		f.fault(m.seq, e.name(), "missing")
	}
}

// strayExpiries finds rows by which no message would be found.
func (f *fsck) strayExpiries(ctx context.Context) error {
	return f.each(ctx, `expiring`, `SELECT second, block FROM expiring`, func(c *conn, r row) {
		e := expiry{r.int(0), r.int(1)}
		if e.block >= 0 && e.block <= int64(f.size/blockSize) {
			_, found, err := c.one(`SELECT 1 FROM messages WHERE seq >= ? AND seq < ? AND expires / 1000 = ? LIMIT 1`, e.block*blockSize, (e.block+1)*blockSize, e.second)
			if found || err != nil {
				return
			}
		}
		f.fault(0, e.name(), "no message expires then")
	})
}

func waitingName(device int64, message uint64) string {
	return fmt.Sprintf("waiting row %d/%d", device, message)
}

// strayWaits finds rows of devices that wait for no such message, or that memory
// knows.
func (f *fsck) strayWaits(ctx context.Context) error {
	return f.each(ctx, `waiting`, `SELECT w.device, w.message, k.revoked FROM waiting w LEFT JOIN signing_keys k ON k.id = w.device`, func(c *conn, r row) {
		seq := r.uint(1)
		name := waitingName(r.int(0), seq)
		m, _, err := messageAt(c, seq)
		if err != nil {
			return // named among the messages
		}
		if mine := m.route(r.int(0)); mine == nil || !f.waits(m, mine) || r.int(2) != 0 {
			f.fault(seq, name, "the device does not wait for it")
			return
		}
		f.inbox.behind(seq)
		if seq >= f.inbox.at {
			f.fault(seq, name, "it is beyond the mark")
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
