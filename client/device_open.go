package client

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/mls"
)

// groupsKept bounds the groups of which a device keeps the state; the longest
// unused goes first.
//
// Of a group a device has the newest epoch, and of up to pastEpochs before it, for
// as long as a message may live, what opens the messages that are still on their
// way: their message secrets, and nothing that leads from one epoch to the next
// (mls.Policy.PastEpochs). So a stolen device opens what it has not opened yet, of
// those epochs too, and nothing that was opened.
const groupsKept = 16

// deviceGroup is a group in its newest epoch, and who was in the past ones.
type deviceGroup struct {
	State secret             `cbor:"1,keyasint"` // mls.Group.Marshal
	Used  sealpost.UnixMilli `cbor:"2,keyasint"`
	Past  []pastRoster       `cbor:"3,keyasint,omitempty"` // ascending, at most pastEpochs
}

// pastRoster is the roster of a past epoch, which messages of it are held to.
type pastRoster struct {
	Epoch  uint64 `cbor:"1,keyasint"`
	Roster []byte `cbor:"2,keyasint"` // preimage
}

func deviceGroupKey(group []byte) string { return at("mls", group) }

// An unsealing is what came of opening one envelope: the plaintext, and the
// states that must become durable with it.
type unsealing struct {
	sender  sealpost.KeyID // pinned: nobody else's commits are followed
	group   *mls.Group
	past    []pastRoster // of the epochs before the group's
	message mls.Application
	state   secret // of the group after the message, not yet durable
	drop    string // the KeyPackage that a Welcome used, if one did
}

// unseal opens an envelope with the states in the store, without changing them.
// An error says that they cannot open it.
func (d *Device) unseal(tx Tx, e sealpost.Envelope) (*unsealing, error) {
	id, epoch, err := mlsAddress(e.Message)
	if err != nil {
		return nil, err
	}
	u := &unsealing{sender: d.pinned.Sender.ID()}
	if err := d.restore(tx, u, id); err != nil {
		return nil, err
	}
	if u.group == nil {
		if err := d.join(tx, u, e.Welcome); err != nil {
			return nil, err
		}
		if !bytes.Equal(u.group.GroupID(), id) {
			return nil, errors.New("the Welcome is of another group than the message")
		}
	}
	if err := u.follow(e.Commits, id, epoch); err != nil {
		return nil, err
	}
	event, err := u.group.Process(e.Message)
	if err != nil {
		return nil, err
	}
	message, is := event.(mls.Application)
	if !is {
		return nil, errors.New("the message carries no content")
	}
	u.message = message
	u.state, err = u.group.Marshal()
	return u, err
}

// restore takes the group's state from the store, if there is one.
func (d *Device) restore(tx Tx, u *unsealing, id []byte) error {
	g, found, err := load[deviceGroup](tx, deviceGroupKey(id))
	if err != nil || !found {
		return err
	}
	u.past = g.Past
	u.group, err = mls.Unmarshal(g.State, d.leaf, validator(d.validate), d.mlsPolicy())
	return err
}

func (d *Device) mlsPolicy() mls.Policy {
	p := mls.DefaultPolicy()
	p.Rand = d.cfg.Rand
	p.Now = d.cfg.Now
	p.PastEpochs, p.PastEpochTTL = pastEpochs, sealpost.LifetimeMax
	return p
}

// join enters a group by a Welcome with whichever KeyPackage it names.
func (d *Device) join(tx Tx, u *unsealing, welcome []byte) error {
	if len(welcome) == 0 {
		return errors.New("no state of this group, and no Welcome")
	}
	err := scan(tx, packagePrefix, func(key string, value []byte) error {
		var p packageRecord
		if err := sealpost.Decode(value, &p); err != nil {
			return fmt.Errorf("read record package: %w", err)
		}
		secrets, err := mls.UnmarshalKeyPackageSecrets(p.Secrets)
		if err != nil {
			return err
		}
		g, err := mls.Join(welcome, secrets, d.leaf, validator(d.validate), d.mlsPolicy())
		if errors.Is(err, mls.ErrNotForUs) {
			return nil
		}
		if err != nil {
			return err
		}
		u.group = g
		if !p.LastResort {
			u.drop = key
		}
		return errStop
	})
	if err == nil && u.group == nil {
		err = errors.New("the Welcome names no KeyPackage of this device")
	}
	return err
}

// follow applies the commits that lead from the group's epoch to the message's.
// The pinned sender commits and nobody else.
func (u *unsealing) follow(commits [][]byte, id []byte, epoch uint64) error {
	for _, c := range commits {
		group, from, err := mlsAddress(c)
		if err != nil {
			return err
		}
		if !bytes.Equal(group, id) || from != u.group.Epoch() || from >= epoch {
			continue // of an epoch that this device has passed
		}
		event, err := u.group.Process(c)
		if err != nil {
			return fmt.Errorf("follow a commit: %w", err)
		}
		staged, is := event.(*mls.Staged)
		if !is {
			return errors.New("what is to be followed is no commit")
		}
		if staged.Summary.External || !memberIs(u.group, staged.Summary.Committer, u.sender) {
			return errors.New("only the sender commits")
		}
		roster, err := rosterOf(u.group)
		if err != nil {
			return fmt.Errorf("follow a commit: %w", err)
		}
		u.past = append(u.past, pastRoster{from, roster.Encode()})
		u.past = u.past[max(0, len(u.past)-pastEpochs):]
		if err := u.group.Apply(staged); err != nil {
			return fmt.Errorf("follow a commit: %w", err)
		}
	}
	return nil
}

// roster is who was in the group in the message's epoch.
func (u *unsealing) roster() (sealpost.Roster, error) {
	if u.message.Epoch == u.group.Epoch() {
		return rosterOf(u.group)
	}
	for _, p := range u.past {
		if p.Epoch == u.message.Epoch {
			return sealpost.ParseRoster(p.Roster)
		}
	}
	return sealpost.Roster{}, errors.New("the roster of the message's epoch is gone")
}

// keep makes the state durable and forgets what is beyond the bounds.
func (u *unsealing) keep(tx Tx, now sealpost.UnixMilli) error {
	if err := save(tx, deviceGroupKey(u.group.GroupID()), deviceGroup{u.state, now, u.past}); err != nil {
		return err
	}
	if u.drop != "" {
		if err := tx.Delete(u.drop); err != nil {
			return err
		}
	}
	groups, oldest, used := 0, "", sealpost.TimeLast
	err := tx.Scan("mls/", func(key string, value []byte) error {
		var g deviceGroup
		if err := sealpost.Decode(value, &g); err != nil {
			return fmt.Errorf("read record mls: %w", err)
		}
		groups++
		if g.Used < used {
			oldest, used = key, g.Used
		}
		return nil
	})
	if err != nil || groups <= groupsKept {
		return err
	}
	return tx.Delete(oldest)
}

// A finding is a device's judgement of one message. Reason is ReasonNone where
// every check passed and the text may be shown.
type finding struct {
	level   sealpost.Level
	reason  sealpost.Reason
	payload sealpost.Payload
	roster  []byte        // preimage, as recomputed; nil where MLS did not open
	digest  sealpost.Hash // of roster
	states  *unsealing    // nil where MLS did not open
}

// judge opens a message whose commitment and blob are the sender's, and checks
// everything before it may be shown, in the order of DESIGN section 12,
// Binding: AAD, roster, C and every field, expiry, assurance.
func (d *Device) judge(tx Tx, c sealpost.Commitment, blob []byte) finding {
	refuse := func(f finding, r sealpost.Reason) finding {
		f.level, f.reason = sealpost.Mismatch, r
		return f
	}
	failed := finding{level: sealpost.DecryptFailed, reason: sealpost.ReasonState}
	envelope, err := sealpost.ParseEnvelope(blob)
	if err != nil {
		return failed
	}
	u, err := d.unseal(tx, envelope)
	if err != nil {
		return failed
	}
	f := finding{level: sealpost.Decrypted, states: u}
	roster, err := u.roster()
	if err != nil {
		return refuse(f, sealpost.ReasonRoster)
	}
	f.roster, f.digest = roster.Encode(), roster.Digest()
	switch {
	case !isOf(u.message.Member, u.sender):
		return refuse(f, sealpost.ReasonSenderKey)
	case !bytes.Equal(u.message.AAD, c.AAD()):
		return refuse(f, sealpost.ReasonAAD)
	case f.digest != c.Roster || !roster.Has(d.id):
		return refuse(f, sealpost.ReasonRoster)
	}
	if f.payload, err = sealpost.DecodePayload(u.message.Plaintext); err != nil {
		return refuse(f, sealpost.ReasonCommitment)
	}
	switch {
	case f.payload.Opens(c) != nil:
		return refuse(f, sealpost.ReasonCommitment)
	case c.Expires <= d.now():
		return refuse(f, sealpost.ReasonExpired)
	case c.LeastAssurance > d.Assurance():
		return refuse(f, sealpost.ReasonAssurance)
	}
	return f
}

// A wireSealed is a submission taken apart without [sealpost.ParseSealed],
// which refuses a blob that is not the committed one: that case is evidence.
type wireSealed struct {
	Commitment []byte `cbor:"1,keyasint"`
	Blob       []byte `cbor:"2,keyasint"`
}

// takeApart reads a submission's parts; nothing of them is checked but shape.
func takeApart(raw []byte) (signed sealpost.Signed, c sealpost.Commitment, blob []byte, err error) {
	if len(raw) > sealpost.SubmissionMax {
		return signed, c, nil, fmt.Errorf("%w: submission of %d bytes", sealpost.ErrMalformed, len(raw))
	}
	var w wireSealed
	if err := sealpost.Decode(raw, &w); err != nil {
		return signed, c, nil, err
	}
	if len(w.Commitment) > sealpost.CommitmentMax || len(w.Blob) > sealpost.BlobMax {
		return signed, c, nil, fmt.Errorf("%w: a part is too long", sealpost.ErrMalformed)
	}
	if signed, err = sealpost.Parse(w.Commitment); err != nil {
		return signed, c, nil, err
	}
	c, err = signed.Commitment()
	return signed, c, w.Blob, err
}

// blobHash is the hash of a blob as received.
func blobHash(blob []byte) sealpost.Hash { return sha256.Sum256(blob) }
