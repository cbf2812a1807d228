package client

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/sealpost/sealpost/mls"
)

// The sender's leaf keys are numbered, and a group's record has the number of the
// one in its leaf. The newest number is in the store that replicas share.

const leafNumberKey = "sender/leaf-number"

// leafNumber is that of the newest leaf keys, one for each suite.
type leafNumber struct {
	Number uint32 `cbor:"1,keyasint"`
}

func loadLeafNumber(tx Tx) (uint32, error) {
	n, _, err := load[leafNumber](tx, leafNumberKey)
	return n.Number, err
}

// RotateLeaf gives the sender another signature key in its groups: each takes it by
// the commit before its next message, and devices follow. A thief of the key before
// can sign nothing in the epochs from then on. That key stays in the store for the
// groups that were not used since. Commitments are signed by [SenderConfig].Key,
// which this leaves alone.
func (s *Sender) RotateLeaf() error {
	err := s.shared.Update(func(tx Tx) error {
		n, err := loadLeafNumber(tx)
		if err != nil {
			return err
		}
		return save(tx, leafNumberKey, leafNumber{n + 1})
	})
	if err != nil {
		return fmt.Errorf("rotate the leaf key: %w", err)
	}
	return nil
}

// leafKeys are those that this process has used.
type leafKeys struct {
	store Store
	rand  io.Reader

	mu   sync.Mutex
	used map[leafName]mls.Signer
}

type leafName struct {
	suite  mls.Suite
	number uint32
}

// signer takes a key from the store, and draws it where there is none yet. One that
// was used before is at hand: asked for again, also inside a transaction.
func (k *leafKeys) signer(suite mls.Suite, number uint32) (mls.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := leafName{suite, number}
	if sg := k.used[at]; sg != nil {
		return sg, nil
	}
	alg := leafAlg(suite)
	name := "sender-leaf-" + alg.String()
	if number > 0 {
		name = fmt.Sprintf("%s-%d", name, number)
	}
	key, err := LoadKey(k.store, name, alg, k.rand)
	if err != nil {
		return nil, err
	}
	sg, err := mlsSigner(key)
	if err != nil {
		return nil, fmt.Errorf("sender's leaf key: %w", err)
	}
	k.used[at] = sg
	return sg, nil
}

// has says whether a public key is one of those in use.
func (k *leafKeys) has(public []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, sg := range k.used {
		if bytes.Equal(sg.Public(), public) {
			return true
		}
	}
	return false
}
