package liar

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// inName signs with a key that the operator has and says that it is another's.
type inName struct {
	name sealpost.PublicKey
	by   sealpost.Signer
}

// Public is the key in whose name it signs.
func (n inName) Public() sealpost.PublicKey { return n.name }

// Sign signs with the operator's own.
func (n inName) Sign(message []byte) ([]byte, error) { return n.by.Sign(message) }

// hold signs a statement and puts it on the relay's own road.
func (o *operator) hold(ctx context.Context, app string, id sealpost.MessageID, st sealpost.Statement, by sealpost.Signer) (sealpost.Held, error) {
	signed, err := sealpost.Sign(st, by)
	if err != nil {
		return sealpost.Held{}, err
	}
	h := sealpost.Hold{Record: sealpost.Record{Kind: signed.Kind(), App: app, ID: id, Statement: signed.Bytes(), Hash: signed.Hash()}}
	switch v := st.(type) {
	case sealpost.KeyEvent:
		h.KeyEvent = &v
	case sealpost.Receipt:
		h.Receipt = &v
	default:
		return sealpost.Held{}, fmt.Errorf("no lie holds a %v", st.Kind())
	}
	held, err := o.Hold(ctx, h)
	if err == nil {
		err = held.Err
	}
	return held, err
}

// promise promises a statement as the relay does, and holds nothing.
func (o *operator) promise(signed sealpost.Signed, within time.Duration, outcomeBy sealpost.UnixMilli) (salt, promise api.Bytes, err error) {
	var s sealpost.Salt
	_, _ = rand.Read(s[:]) // never fails
	entry := sealpost.PromiseEntry{Leaf: sealpost.MakeLeaf(s, signed.Bytes()), Statement: signed.Hash(), OutcomeBy: int64(outcomeBy)}
	made, err := sealpost.SignPromise([]sealpost.PromiseEntry{entry}, o.Log.Name(), o.time(), 0, within, o.Statement)
	if err != nil {
		return nil, nil, err
	}
	return s[:], made[0].Encode(), nil
}

// keyEvents are the key events among exhibits.
func keyEvents(exhibits []api.Exhibit) (out []sealpost.KeyEvent) {
	for _, x := range exhibits {
		if signed, err := sealpost.Parse(x.Statement); err == nil {
			if e, err := signed.KeyEvent(); err == nil {
				out = append(out, e)
			}
		}
	}
	return out
}
