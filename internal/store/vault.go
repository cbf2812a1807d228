package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sealpost/sealpost"
)

// The vault seals what the database holds (11, At rest) and makes the keyed
// look-ups.

// Purposes that wrapped keys are bound to.
const (
	purposeLookup  = "sealpost/store/lookup/v1"
	purposeRouting = "sealpost/store/routing/v1"
	purposeData    = "sealpost/store/data/v1"
)

// purposeOf binds a data key to its day and, by the keyed look-up, its tenant.
func purposeOf(day int64, app []byte) string { return fmt.Sprintf("%s/%d/%x", purposeData, day, app) }

// tagSize is the length of a keyed look-up, bytes: HMAC-SHA256, truncated.
const tagSize = 16

// Names of what tags stand for; each has a domain of its own.
const (
	tagApp       = "app"
	tagMessage   = "message"
	tagStatement = "statement"
	tagAttempt   = "attempt"
	tagKey       = "key"
	tagOwner     = "owner"
	tagEnrolment = "enrolment"
	tagChallenge = "challenge"
	tagNonce     = "nonce"
	tagAPIKey    = "api key"
	tagEpoch     = "epoch"
	tagCommit    = "epoch's commit"
	tagAPIName   = "api key name"
	tagEndpoint  = "endpoint" // a domain of sealing only, as the next two
	tagPackage   = "package"
	tagResort    = "last-resort" // a KeyPackage, too
	tagAnswer    = "answer"
	tagPromise   = "promise"
	markEpoch    = "epoch row" // a domain of marks only, as the next three
	markNonce    = "nonce row"
	markSegment  = "segment row"
	markSpent    = "spent row"
)

type vault struct {
	keys    Keys
	macs    sync.Pool // of hash.Hash under the look-up key
	routing cipher.AEAD

	mu      sync.Mutex
	day     int64
	current map[string]*dataKey // by tenant: what this day's statements are sealed under
	opened  *lru.Cache[int64, *dataKey]

	promises *lru.Cache[int64, *sealpost.GroupPromise] // read lately
}

// A dataKey seals the statements of one tenant that were held on one day.
type dataKey struct {
	id      int64 // 0 until a transaction has stored it
	app     string
	appID   int64
	day     int64
	wrapped []byte
	aead    cipher.AEAD
}

func newVault(keys Keys, lookup, routing []byte) (*vault, error) {
	aead, err := randomNonceGCM(routing)
	if err != nil {
		return nil, err
	}
	opened, err := lru.New[int64, *dataKey](dataKeyCache)
	if err != nil {
		return nil, err
	}
	promises, err := lru.New[int64, *sealpost.GroupPromise](promiseCache)
	if err != nil {
		return nil, err
	}
	v := &vault{keys: keys, routing: aead, opened: opened, promises: promises, current: map[string]*dataKey{}}
	v.macs.New = func() any { return hmac.New(sha256.New, lookup) }
	return v, nil
}

// tag is the keyed look-up of a value: domain and every part with its length
// in front, so that no two lists of parts are one.
func (v *vault) tag(domain string, parts ...[]byte) []byte {
	m := v.macs.Get().(hash.Hash)
	defer v.macs.Put(m)
	m.Reset()
	b := make([]byte, 0, 128)
	b = append(append(b, byte(len(domain))), domain...)
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	m.Write(b)
	return m.Sum(b[:0])[:tagSize]
}

// bucketBits of an id's milliseconds are dropped from the time in clear at the
// head of its look-up, which leaves steps of 64 ms.
const bucketBits = 6

// messageLookup is the look-up of a message id: when the id claims to be made,
// then a tag. Random keys would write a page of the index for nearly every
// message; these write the few pages of the last moment (measured: two thirds
// of the bytes written in all). The time tells no more than expires beside it does.
func (v *vault) messageLookup(id sealpost.MessageID) []byte {
	out := binary.BigEndian.AppendUint64(make([]byte, 0, 8+tagSize), uint64(id.Created())>>bucketBits)
	return append(out[2:8:8], v.tag(tagMessage, id[:])...)
}

// seal encrypts a value of a routing table, bound to its domain and row.
func (v *vault) seal(domain string, row, plain []byte) []byte {
	return v.routing.Seal(nil, nil, plain, bindRow(domain, row))
}

func (v *vault) open(domain string, row, sealed []byte) ([]byte, error) {
	plain, err := v.routing.Open(nil, nil, sealed, bindRow(domain, row))
	if err != nil {
		return nil, fmt.Errorf("%w: a sealed %s does not open", ErrDamaged, domain)
	}
	return plain, nil
}

func bindRow(domain string, row []byte) []byte {
	return append(append([]byte{byte(len(domain))}, domain...), row...)
}

// Columns of a statement's row; part of the nonce.
const (
	columnStatement = 1 + iota
	columnSalt
)

// A place is what a sealed column is bound to.
type place struct {
	seq     uint64
	kind    sealpost.Kind
	message int64 // the commitment's seq, -1 for none
}

// nonce is seq and column. It never repeats under one data key: rows are
// written once, and a key ends with its process or a failed transaction.
func (p place) nonce(b []byte, column byte) []byte {
	b = binary.BigEndian.AppendUint64(b[:0], p.seq)
	return append(b, 0, 0, 0, column)
}

func (p place) bind(b []byte) []byte {
	b = append(b[:0], byte(p.kind))
	b = binary.BigEndian.AppendUint64(b, p.seq)
	return binary.BigEndian.AppendUint64(b, uint64(p.message))
}

// A sealer seals the columns of one row after the other into buffers that it
// uses again for the next row.
type sealer struct {
	nonce, bind []byte
	out         [columnSalt + 1][]byte
}

func (s *sealer) seal(k *dataKey, p place, column byte, plain []byte) []byte {
	s.nonce, s.bind = p.nonce(s.nonce, column), p.bind(s.bind)
	s.out[column] = k.aead.Seal(s.out[column][:0], s.nonce, plain, s.bind)
	return s.out[column]
}

func (k *dataKey) open(p place, column byte, sealed []byte) ([]byte, error) {
	return k.aead.Open(nil, p.nonce(nil, column), sealed, p.bind(nil))
}

// dataKeyFor returns the key that a tenant's statements are sealed under on a
// day, drawing and wrapping a new one if there is none. The key service is
// asked here, so callers warm this before they begin a transaction.
func (v *vault) dataKeyFor(app string, day int64) (*dataKey, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if day != v.day {
		v.day, v.current = day, map[string]*dataKey{}
	}
	if k, ok := v.current[app]; ok {
		return k, nil
	}
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("draw a data key: %w", err)
	}
	wrapped, err := v.keys.Wrap(purposeOf(day, v.tag(tagApp, []byte(app))), secret)
	if err != nil {
		return nil, fmt.Errorf("wrap a data key: %w", err)
	}
	aead, err := newGCM(secret)
	if err != nil {
		return nil, err
	}
	k := &dataKey{app: app, day: day, wrapped: wrapped, aead: aead}
	v.current[app] = k
	return k, nil
}

// forget ends every data key in use: after a failed transaction its seqs come
// again, and with them its nonces.
func (v *vault) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current = map[string]*dataKey{}
	v.opened.Purge()
	v.promises.Purge()
}

// stored finds a data key by its row, unwrapping it where it is not in memory.
func (v *vault) stored(c *conn, id int64) (*dataKey, error) {
	if k, ok := v.opened.Get(id); ok {
		return k, nil
	}
	r, found, err := c.one(`SELECT k.app, k.day, k.wrapped, a.tag, a.sealed FROM data_keys k JOIN apps a ON a.id = k.app WHERE k.id = ?`, id)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("%w: data_keys row %d or its tenant is missing", ErrDamaged, id)
	}
	app, err := v.open(tagApp, rowKey(r.int(0), r.bytes(3)), r.bytes(4))
	if err != nil {
		return nil, err
	}
	secret, err := v.keys.Unwrap(purposeOf(r.int(1), r.bytes(3)), r.bytes(2))
	if err != nil {
		return nil, fmt.Errorf("data_keys row %d: %w", id, err)
	}
	aead, err := newGCM(secret)
	if err != nil {
		return nil, err
	}
	k := &dataKey{id: id, app: string(app), appID: r.int(0), day: r.int(1), wrapped: r.bytes(2), aead: aead}
	v.opened.Add(id, k)
	return k, nil
}

func newGCM(secret []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
