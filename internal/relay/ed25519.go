package relay

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"

	"github.com/sealpost/sealpost"
)

// Ed25519 in batches. The verdict is that of ZIP 215 (DESIGN section 12,
// Signatures), which the batch equation, the single one and package sealpost's
// own check share: a differential test holds them together, because the library
// below has no releases any more.
const (
	expandedMax = 4096             // keys kept expanded, 1.5 KiB each
	singlesMax  = 4                // a part of a batch this small is judged one by one
	suspectsMax = 1024             // keys that are judged singly
	suspectFor  = 30 * time.Second // after a signature under the key was wrong
)

var zip215 = &ed25519.Options{Verify: ed25519.VerifyOptionsZIP_215}

// verifiers keep the memory of a batch for the next one.
var verifiers = sync.Pool{New: func() any { return ed25519.NewBatchVerifierWithCapacity(batchMax) }}

// An ed25519Judge verifies many signatures. A key under which a signature was
// wrong is judged singly for a while, so that one sender cannot spoil the
// batches of the others. It may be used concurrently.
type ed25519Judge struct {
	report func(signatures int, sound bool)

	mu       sync.Mutex
	expanded *simplelru.LRU[sealpost.PublicKey, *ed25519.ExpandedPublicKey]
	suspects *simplelru.LRU[sealpost.PublicKey, time.Time]
}

func newEd25519Judge(report func(int, bool)) *ed25519Judge {
	expanded, err := simplelru.NewLRU[sealpost.PublicKey, *ed25519.ExpandedPublicKey](expandedMax, nil)
	if err != nil {
		panic("relay: no room for keys: " + err.Error())
	}
	suspects, err := simplelru.NewLRU[sealpost.PublicKey, time.Time](suspectsMax, nil)
	if err != nil {
		panic("relay: no room for suspects: " + err.Error())
	}
	return &ed25519Judge{report: report, expanded: expanded, suspects: suspects}
}

// An entry is an item with its key made ready.
type entry struct {
	*item
	key *ed25519.ExpandedPublicKey
}

// verify splits a batch into the sound and the refused.
func (j *ed25519Judge) verify(batch []*item, now time.Time) (sound, refused []*item) {
	ready := make([]entry, 0, len(batch))
	sound = make([]*item, 0, len(batch))
	for _, it := range batch {
		e, suspect := j.prepare(it, now)
		switch {
		case e.key == nil:
			refused = append(refused, it)
		case !suspect:
			ready = append(ready, e)
		case e.isSound():
			sound = append(sound, it)
		default:
			refused = append(refused, it)
			j.suspect(it.check.key, now)
		}
	}
	good, bad := j.divide(ready)
	for _, it := range bad {
		j.suspect(it.check.key, now)
	}
	return append(sound, good...), append(refused, bad...)
}

// divide finds the bad signatures of a batch by bisection.
func (j *ed25519Judge) divide(batch []entry) (sound, refused []*item) {
	if len(batch) <= singlesMax {
		for _, e := range batch {
			if e.isSound() {
				sound = append(sound, e.item)
			} else {
				refused = append(refused, e.item)
			}
		}
		return sound, refused
	}
	if j.allSound(batch) {
		for _, e := range batch {
			sound = append(sound, e.item)
		}
		return sound, nil
	}
	half := len(batch) / 2
	s1, r1 := j.divide(batch[:half])
	s2, r2 := j.divide(batch[half:])
	return append(s1, s2...), append(r1, r2...)
}

func (j *ed25519Judge) allSound(batch []entry) bool {
	v := verifiers.Get().(*ed25519.BatchVerifier)
	defer func() { verifiers.Put(v.Reset()) }()
	var message []byte // which the verifier hashes and does not keep
	for _, e := range batch {
		message = e.check.message.AppendToBeSigned(message[:0])
		v.AddExpandedWithOptions(e.key, message, e.check.sig, zip215)
	}
	ok := v.VerifyBatchOnly(nil)
	j.report(len(batch), ok)
	return ok
}

func (e entry) isSound() bool {
	return ed25519.VerifyExpandedWithOptions(e.key, e.check.message.AppendToBeSigned(nil), e.check.sig, zip215)
}

// prepare finds the expanded key, nil where the bytes are no point, and says
// whether the key is to be judged singly.
func (j *ed25519Judge) prepare(it *item, now time.Time) (e entry, suspect bool) {
	k := it.check.key
	j.mu.Lock()
	key, known := j.expanded.Get(k)
	until, isSuspect := j.suspects.Get(k)
	j.mu.Unlock()
	if !known {
		var err error
		if key, err = ed25519.NewExpandedPublicKey(k.Bytes()); err != nil {
			return entry{it, nil}, false
		}
		j.mu.Lock()
		j.expanded.Add(k, key)
		j.mu.Unlock()
	}
	return entry{it, key}, isSuspect && now.Before(until)
}

func (j *ed25519Judge) suspect(k sealpost.PublicKey, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.suspects.Add(k, now.Add(suspectFor))
}
