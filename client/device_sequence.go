package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/sealpost/sealpost"
)

// A sender numbers its messages to one recipient, and each names the one before
// (DESIGN section 12, Commitment). A device that lacks one waits until the
// message that showed it expires, and then signs a gap receipt on that message.
// It counts from the first number it ever saw: what came before it was enrolled
// is not missing.

// holesMax bounds the gaps that are remembered of one sender replica; when
// there are more, the oldest is forgotten.
const holesMax = 64

// sequenceState is what a device saw of one sender replica's numbers.
type sequenceState struct {
	Next  uint64 `cbor:"1,keyasint"`
	Holes []hole `cbor:"2,keyasint,omitempty"` // ascending
}

// A hole is a run of numbers that never came, and the message that showed it.
type hole struct {
	From    uint64             `cbor:"1,keyasint"`
	To      uint64             `cbor:"2,keyasint"` // inclusive
	Shown   sealpost.MessageID `cbor:"3,keyasint"`
	Expires sealpost.UnixMilli `cbor:"4,keyasint"` // of that message
	Signed  bool               `cbor:"5,keyasint"`
}

func stateKey(replica uint32) string {
	return at("sequence-of", binary.BigEndian.AppendUint32(nil, replica))
}

func numberKey(replica uint32, number uint64) string {
	return at("number", binary.BigEndian.AppendUint32(nil, replica), binary.BigEndian.AppendUint64(nil, number))
}

// noteSequence takes a message's place among the others. A predecessor that is
// not the one held, or a number that is taken, is the sender's fault and is kept.
func noteSequence(tx Tx, hash sealpost.Hash, c sealpost.Commitment, s sealpost.Sequence, now sealpost.UnixMilli) error {
	blame := func(what string) error {
		return keepFault(tx, Fault{Time: now, ID: c.ID, What: what, Parts: [][]byte{hash[:]}})
	}
	st, known, err := load[sequenceState](tx, stateKey(s.Replica))
	if err != nil {
		return err
	}
	if tx.Get(numberKey(s.Replica, s.Number)) != nil {
		return blame(fmt.Sprintf("sequence number %d was used twice", s.Number))
	}
	if before := tx.Get(numberKey(s.Replica, s.Number-1)); before != nil && sealpost.Hash(before) != s.Previous {
		if err := blame(fmt.Sprintf("sequence number %d names another predecessor", s.Number)); err != nil {
			return err
		}
	}
	switch {
	case !known:
		st.Next = s.Number + 1
	case s.Number >= st.Next:
		if s.Number > st.Next {
			st.Holes = append(st.Holes, hole{From: st.Next, To: s.Number - 1, Shown: c.ID, Expires: c.Expires})
		}
		st.Next = s.Number + 1
	default:
		st.fill(s.Number)
	}
	if len(st.Holes) > holesMax {
		st.Holes = st.Holes[len(st.Holes)-holesMax:]
	}
	return errors.Join(save(tx, stateKey(s.Replica), st), tx.Put(numberKey(s.Replica, s.Number), hash[:]))
}

// fill takes a number out of the hole that it lies in.
func (st *sequenceState) fill(number uint64) {
	for i, h := range st.Holes {
		if number < h.From || number > h.To {
			continue
		}
		var left []hole
		if h.From < number {
			left = append(left, hole{h.From, number - 1, h.Shown, h.Expires, h.Signed})
		}
		if number < h.To {
			left = append(left, hole{number + 1, h.To, h.Shown, h.Expires, h.Signed})
		}
		st.Holes = slices.Replace(st.Holes, i, i+1, left...)
		return
	}
}

// signGaps signs a gap receipt for every hole whose message has expired.
func (d *Device) signGaps() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	err := d.cfg.Store.Update(func(tx Tx) error {
		due := map[string]sequenceState{}
		err := tx.Scan("sequence-of/", func(key string, value []byte) error {
			var st sequenceState
			if err := st.decode(value); err != nil {
				return err
			}
			if slices.ContainsFunc(st.Holes, func(h hole) bool { return !h.Signed && h.Expires < now }) {
				due[key] = st
			}
			return nil
		})
		if err != nil {
			return err
		}
		for key, st := range due {
			for i := range st.Holes {
				if h := &st.Holes[i]; !h.Signed && h.Expires < now {
					if err := d.signGap(tx, h.Shown); err != nil {
						return err
					}
					h.Signed = true
				}
			}
			if err := save(tx, key, st); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("sign gaps: %w", err)
	}
	return nil
}

func (st *sequenceState) decode(value []byte) error {
	if err := sealpost.Decode(value, st); err != nil {
		return fmt.Errorf("read record sequence-of: %w", err)
	}
	return nil
}

// signGap signs the gap receipt on the message that showed a hole.
func (d *Device) signGap(tx Tx, id sealpost.MessageID) error {
	r, found, err := load[inboxRecord](tx, inboxKey(id))
	if err != nil || !found {
		return errors.Join(err, missing(!found, "the message that showed a gap"))
	}
	signed, err := sealpost.Parse(r.Statement)
	if err != nil {
		return err
	}
	c, err := signed.Commitment()
	if err != nil {
		return err
	}
	return d.sign(tx, signed.Hash(), c, &r, sealpost.Gap)
}
