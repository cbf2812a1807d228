package store

import (
	"fmt"

	"github.com/sealpost/sealpost"
)

// holdKeyEvent writes a key event and lets it take effect with its seq. All is
// checked before anything is written.
func (g *group) holdKeyEvent(h *sealpost.Hold) (sealpost.Held, error) {
	e := h.KeyEvent
	if h.App != "" && h.App != e.App {
		return sealpost.Held{}, fmt.Errorf("key event of another tenant: %w", sealpost.ErrNotFound)
	}
	tag := g.vault.tag(tagStatement, h.Hash[:])
	r, found, err := g.c.one(`SELECT seq FROM key_events WHERE tag = ?`, tag)
	if err != nil {
		return sealpost.Held{}, err
	}
	if found {
		return g.sameOrConflict(r.uint(0), h.Statement)
	}
	if e.Event == sealpost.Revoke {
		return g.revoke(h, tag)
	}
	return g.enrol(h, tag)
}

func (g *group) enrol(h *sealpost.Hold, tag []byte) (sealpost.Held, error) {
	e := h.KeyEvent
	id := e.Key.ID()
	if _, taken, err := g.deviceID(id); err != nil {
		return sealpost.Held{}, err
	} else if taken {
		return sealpost.Held{}, fmt.Errorf("the key was enrolled before: %w", sealpost.ErrConflict)
	}
	owner, most := g.vault.senderOwner(e.App), SenderKeysMax
	key := sealedKey{App: e.App, Subject: e.Subject, Key: e.Key.COSE()}
	var invited *openEnrolment
	if e.Subject == sealpost.SubjectDevice {
		owner, most = g.vault.deviceOwner(e.App, e.Device.Recipient), sealpost.DevicesMax
		key.Recipient, key.Leaf, key.Assurance = e.Device.Recipient, e.Device.Leaf.COSE(), e.Device.Assurance
		var err error
		if invited, err = g.answeredInvitation(e); err != nil {
			return sealpost.Held{}, err
		}
	}
	count, _, err := g.c.one(`SELECT count(*) FROM signing_keys WHERE owner = ? AND revoked = 0`, owner)
	if err != nil {
		return sealpost.Held{}, err
	}
	if count.int(0) >= int64(most) {
		return sealpost.Held{}, fmt.Errorf("keys of this owner: %w", ErrFull)
	}
	held, row, err := g.insertKey(h, tag, owner, key)
	if err != nil || invited == nil {
		return held, err
	}
	g.devices.dropRecipient(e.App, e.Device.Recipient)
	return held, g.moveIn(row, invited)
}

// insertKey writes the event's statement, its link to the owner, and the key.
func (g *group) insertKey(h *sealpost.Hold, tag, owner []byte, key sealedKey) (held sealpost.Held, id int64, err error) {
	app, err := g.appID(key.App)
	if err != nil {
		return held, 0, err
	}
	if held, err = g.insertEvent(h, tag, owner); err != nil {
		return held, 0, err
	}
	keyID := h.KeyEvent.Key.ID()
	keyTag := g.vault.tag(tagKey, keyID[:])
	sealed, err := g.vault.sealKey(keyTag, key)
	if err != nil {
		return held, 0, err
	}
	id, err = g.c.insert(`INSERT INTO signing_keys (tag, owner, app, sealed, enrolled, revoked) VALUES (?, ?, ?, ?, ?, 0)`,
		keyTag, owner, app, sealed, held.Record.Seq)
	return held, id, err
}

func (g *group) insertEvent(h *sealpost.Hold, tag, owner []byte) (sealpost.Held, error) {
	held, err := g.insertStatement(h, h.KeyEvent.App, -1, nil)
	if err != nil {
		return held, err
	}
	_, err = g.c.exec(`INSERT INTO key_events (seq, tag, owner) VALUES (?, ?, ?)`, held.Record.Seq, tag, owner)
	return held, err
}

// moveIn gives a new device the endpoints and KeyPackages of its answer and
// ends the invitation.
func (g *group) moveIn(device int64, from *openEnrolment) error {
	if err := g.putEndpoints(device, from.Answer.Endpoints); err != nil {
		return err
	}
	if err := g.putPackages(device, from.Answer.KeyPackages, from.Answer.LastResort); err != nil {
		return err
	}
	_, err := g.c.exec(`DELETE FROM enrolments WHERE id = ?`, from.row)
	return err
}

// revoke ends a key with the event's seq. What is still on its way to the
// device has failed, and no carrier hears of it again.
func (g *group) revoke(h *sealpost.Hold, tag []byte) (sealpost.Held, error) {
	e := h.KeyEvent
	keyID := e.Key.ID()
	r, found, err := g.c.one(`SELECT id, owner, revoked FROM signing_keys WHERE tag = ?`, g.vault.tag(tagKey, keyID[:]))
	if err != nil {
		return sealpost.Held{}, err
	}
	if !found {
		return sealpost.Held{}, sealpost.ErrNotFound
	}
	d, err := g.device(r.int(0))
	if err != nil {
		return sealpost.Held{}, err
	}
	if d.App != e.App || (d.Leaf.IsZero() != (e.Subject == sealpost.SubjectSender)) {
		return sealpost.Held{}, sealpost.ErrNotFound
	}
	if r.int(2) != 0 {
		return sealpost.Held{}, fmt.Errorf("the key was revoked before: %w", sealpost.ErrConflict)
	}
	held, err := g.insertEvent(h, tag, r.bytes(1))
	if err != nil {
		return sealpost.Held{}, err
	}
	if _, err := g.c.exec(`UPDATE signing_keys SET revoked = ? WHERE id = ?`, held.Record.Seq, d.id); err != nil {
		return sealpost.Held{}, err
	}
	g.devices.dropDevice(d.id)
	for _, table := range []string{`DELETE FROM endpoints WHERE device = ?`, `DELETE FROM packages WHERE device = ?`} {
		if _, err := g.c.exec(table, d.id); err != nil {
			return sealpost.Held{}, err
		}
	}
	return held, g.failRoutes(d.id)
}

// failRoutes ends every open route of a device: those that memory knows and
// those of this very group.
func (g *group) failRoutes(device int64) error {
	messages, err := g.inbox.list(g.c, device, 0, waitingMax)
	if err != nil {
		return err
	}
	rows, err := g.c.all(`SELECT seq FROM messages WHERE seq >= ?`, g.DB.next)
	if err != nil {
		return err
	}
	for _, r := range rows {
		messages = append(messages, r.uint(0))
	}
	for _, seq := range messages {
		m, found, err := messageAt(g.c, seq)
		if err != nil {
			return err
		}
		mine := m.route(device)
		if !found || mine == nil || mine.state != routeOpen {
			continue
		}
		mine.state = routeFailed
		mine.unqueue()
		if err := g.settle(&m); err != nil {
			return err
		}
	}
	if _, err := g.c.exec(`DELETE FROM waiting WHERE device = ?`, device); err != nil {
		return err
	}
	g.then(func() { g.inbox.forget(device) })
	return nil
}
