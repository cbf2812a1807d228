package lab

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// DevicesMax bounds the phones one server holds.
const DevicesMax = 1 << 20

// A Device is the two names a phone has with the vendor: a Firebase Installation
// ID and a registration token. Either reaches it until it unregisters.
type Device struct {
	FID   string `json:"fid"`
	Token string `json:"token"`
}

// A Push is one message as the app gets it.
type Push struct {
	Token    string            `json:"token"`
	N        uint64            `json:"n"` // 1 for the device's first
	Data     map[string]string `json:"data"`
	Priority string            `json:"priority"`
	Dropped  bool              `json:"dropped,omitempty"` // onDeletedMessages: pushes before this one are lost

	until time.Time // undelivered after this it is discarded
}

// A registry is all phones by both names.
type registry struct {
	mu         sync.RWMutex
	targets    map[string]*phone // by FID and by token; a phone that unregistered stays, as a tombstone
	racks      map[string]*rack
	pendingMax int
	sent       atomic.Uint64
}

// A phone is one registered device. Pushes wait for it in order.
type phone struct {
	Device
	rack    *rack
	foreign bool // registered with another sender

	mu      sync.Mutex
	gone    bool
	next    uint64
	pending []Push
	dropped bool
	polls   int           // open long polls
	wake    chan struct{} // closed by the next push; nil when nobody waits
	racked  bool          // stands in its rack's ready list
}

// A rack is a set of phones served over one stream.
type rack struct {
	mu      sync.Mutex
	ready   []*phone
	wake    chan struct{}
	streams int
}

// Registration is what a phone may ask for when it registers.
type Registration struct {
	// Rack, if set, joins the phone to a rack of that name.
	Rack string `json:"rack,omitempty"`
	// Foreign registers it with another sender: a push is SENDER_ID_MISMATCH.
	Foreign bool `json:"foreign,omitempty"`
}

// Register adds a phone.
func (f *FCM) Register(reg Registration) (Device, error) {
	p := &phone{Device: Device{FID: newFID(), Token: ""}, foreign: reg.Foreign}
	p.Token = p.FID + ":APA91b" + rand.Text() + rand.Text() + rand.Text() + rand.Text() + rand.Text()
	r := &f.phones
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.targets) >= 2*DevicesMax {
		return Device{}, fmt.Errorf("the lab holds %d devices already", DevicesMax)
	}
	if reg.Rack != "" {
		if r.racks[reg.Rack] == nil {
			r.racks[reg.Rack] = &rack{}
		}
		p.rack = r.racks[reg.Rack]
	}
	r.targets[p.FID], r.targets[p.Token] = p, p
	return p.Device, nil
}

// Unregister makes both names of a phone answer UNREGISTERED from now on.
func (f *FCM) Unregister(target string) error {
	p := f.phones.get(target)
	if p == nil {
		return errors.New("no such device")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone, p.pending = true, nil
	p.rouse()
	return nil
}

func (r *registry) get(target string) *phone {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.targets[target]
}

// newFID draws 22 characters of base64url whose first four bits are 0111, the
// form of a Firebase Installation ID.
func newFID() string {
	var b [17]byte
	rand.Read(b[:])
	b[0] = 0x70 | b[0]&0x0f
	return base64.RawURLEncoding.EncodeToString(b[:])[:22]
}

func isFID(s string) bool {
	return len(s) == 22 && 'c' <= s[0] && s[0] <= 'f' && base64urlOnly(s)
}

// isToken holds a registration token to the form the lab issues; the vendor's own
// form is unpublished.
func isToken(s string) bool {
	fid, rest, ok := strings.Cut(s, ":")
	return ok && isFID(fid) && strings.HasPrefix(rest, "APA91b") && len(s) < 256 && base64urlOnly(rest)
}

func base64urlOnly(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// find resolves the target of a request. The field "token" also takes an FID
// while the vendor's transition lasts; the field "fid" takes nothing else.
func (r *registry) find(q *sendRequest) (*phone, *apiError) {
	target, formed := q.fid, isFID(q.fid)
	if target == "" {
		target, formed = q.token, isToken(q.token) || isFID(q.token)
	}
	if !formed {
		e := vendorError("INVALID_ARGUMENT")
		if q.fid != "" {
			e.message = "The fid is not a valid Firebase Installation ID"
		}
		return nil, &e
	}
	p := r.get(target)
	if p == nil || p.isGone() {
		e := vendorError("UNREGISTERED")
		return nil, &e
	}
	if p.foreign {
		e := vendorError("SENDER_ID_MISMATCH")
		return nil, &e
	}
	return p, nil
}

// deliver queues a push. Beyond pendingMax all that wait are dropped, this one
// included, and the app is told so with the next one it gets. A phone that
// unregistered between find and here just never sees it.
func (r *registry) deliver(p *phone, q *sendRequest, now time.Time) {
	pairs := q.pairs()
	data := make(map[string]string, len(pairs))
	for _, kv := range pairs {
		data[kv.key] = kv.value
	}
	priority := q.priority
	if priority == "" {
		priority = "NORMAL"
	}
	p.mu.Lock()
	if p.gone || q.ttl < time.Second && !p.connected() { // ttl is rounded down: 0 means now or never
		p.mu.Unlock()
		return
	}
	p.next++
	if len(p.pending) >= r.pendingMax {
		p.pending, p.dropped = nil, true
	} else {
		p.pending = append(p.pending, Push{Token: p.Token, N: p.next, Data: data, Priority: priority, until: now.Add(max(q.ttl, time.Second))})
	}
	p.rouse()
	join := p.rack != nil && !p.racked
	p.racked = p.racked || join
	p.mu.Unlock()
	if join {
		p.rack.add(p)
	}
}

func (p *phone) isGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// connected reports whether somebody is listening for p; the caller holds p.mu.
func (p *phone) connected() bool {
	if p.polls > 0 {
		return true
	}
	if p.rack == nil {
		return false
	}
	p.rack.mu.Lock()
	defer p.rack.mu.Unlock()
	return p.rack.streams > 0
}

// rouse wakes every open poll; the caller holds p.mu.
func (p *phone) rouse() {
	if p.wake != nil {
		close(p.wake)
		p.wake = nil
	}
}

// waiting returns the channel the next push closes; the caller holds p.mu.
func (p *phone) waiting() <-chan struct{} {
	if p.wake == nil {
		p.wake = make(chan struct{})
	}
	return p.wake
}

// Batch is what one poll returns. Dropped means that pushes were lost since the
// last poll and the app must fetch for itself.
type Batch struct {
	Pushes  []Push `json:"pushes"`
	Dropped bool   `json:"dropped"`
}

// collect forgets pushes up to after and returns those beyond it that are not too
// old. With nothing to return it gives the channel to wait on.
func (p *phone) collect(after uint64, now time.Time) (b Batch, wait <-chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return b, nil, false
	}
	keep := p.pending[:0]
	for _, push := range p.pending {
		if push.N > after && now.Before(push.until) {
			keep = append(keep, push)
		}
	}
	clear(p.pending[len(keep):])
	p.pending = keep
	if len(keep) == 0 && !p.dropped {
		return b, p.waiting(), true
	}
	b.Pushes, b.Dropped = append([]Push{}, keep...), p.dropped
	p.dropped = false
	return b, nil, true
}

// poll counts an open long poll in (1) or out (-1).
func (p *phone) poll(delta int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.polls += delta
}

// drain takes all that waits for p, for its rack's stream.
func (p *phone) drain(now time.Time) []Push {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.pending[:0]
	for _, push := range p.pending {
		if now.Before(push.until) {
			out = append(out, push)
		}
	}
	if p.dropped && len(out) == 0 {
		out = append(out, Push{Token: p.Token, N: p.next})
	}
	if len(out) > 0 {
		out[0].Dropped = p.dropped
		p.dropped = false
	}
	p.pending, p.racked = nil, false
	return out
}

func (k *rack) add(p *phone) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ready = append(k.ready, p)
	if k.wake != nil {
		close(k.wake)
		k.wake = nil
	}
}

// take returns the phones with something pending, or the channel to wait on.
func (k *rack) take() ([]*phone, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.ready) > 0 {
		ready := k.ready
		k.ready = nil
		return ready, nil
	}
	if k.wake == nil {
		k.wake = make(chan struct{})
	}
	return nil, k.wake
}

func (k *rack) stream(delta int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.streams += delta
}
