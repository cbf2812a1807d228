package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// R7: what package sealpost refuses while it reads a submission has its own
// problem types too, whichever of its functions refuses.
func TestProblem(t *testing.T) {
	key := newKey(t, sealpost.EdDSA)
	honest := func() sealpost.Commitment {
		return sealpost.Commitment{ID: sealpost.MessageID{6: 0x70, 8: 0x80}, App: bank, Transaction: "t", Created: 1, Expires: 2,
			Canonicalization: 1, HashAlg: sealpost.SHA256, C: make([]byte, 32), FieldRoot: make([]byte, 32), Pattern: sealpost.PatternA,
			Carriers: []sealpost.Carrier{sealpost.FCM}, LeastPrivacy: 1, Release: 1, LeastAssurance: 1}
	}
	sign := func(spoil func(c *sealpost.Commitment)) error {
		c := honest()
		spoil(&c)
		_, err := sealpost.Sign(c, key)
		return err
	}
	if err := sign(func(*sealpost.Commitment) {}); err != nil {
		t.Fatal(err)
	}
	signed, err := sealpost.Sign(honest(), key)
	if err != nil {
		t.Fatal(err)
	}
	_, mismatch := sealpost.NewSealed(signed, []byte("another blob"))
	_, large := sealpost.ParseSealed(make([]byte, sealpost.SubmissionMax+1))
	_, garbage := sealpost.ParseSealed([]byte("garbage"))
	for name, c := range map[string]struct {
		err  error
		want *api.Problem
	}{
		"canonicalization": {sign(func(c *sealpost.Commitment) { c.Canonicalization = 2 }), api.ErrCanonicalization},
		"pattern":          {sign(func(c *sealpost.Commitment) { c.Pattern = 2 }), api.ErrPattern},
		"hash algorithm":   {sign(func(c *sealpost.Commitment) { c.HashAlg = -18 }), api.ErrAlgorithm},
		"another rule":     {sign(func(c *sealpost.Commitment) { c.Expires = 1 }), api.ErrMalformed},
		"blob":             {mismatch, api.ErrBlobMismatch},
		"too large":        {large, api.ErrTooLarge},
		"garbage":          {garbage, api.ErrMalformed},
		"signature":        {fmt.Errorf("x: %w", sealpost.ErrSignature), api.ErrSignature},
		"conflict":         {fmt.Errorf("x: %w", sealpost.ErrConflict), api.ErrConflict},
		"epoch":            {fmt.Errorf("x: %w", sealpost.ErrEpochTaken), api.ErrEpochTaken},
		"ended":            {fmt.Errorf("x: %w", sealpost.ErrEnded), api.ErrEnded},
		"not found":        {fmt.Errorf("x: %w", sealpost.ErrNotFound), api.ErrNotFound},
		"a problem":        {fmt.Errorf("x: %w", api.ErrHead), api.ErrHead},
		"anything else":    {errors.New("x"), api.ErrInternal},
	} {
		if got := Problem(c.err); got == nil || got.Type != c.want.Type {
			t.Errorf("%s: %v is %v, want %v", name, c.err, got, c.want)
		}
	}
	if Problem(nil) != nil {
		t.Error("no error is a problem")
	}
}

// An envelope is accepted in its one form only.
func TestReadEnvelope(t *testing.T) {
	c := sealpost.Commitment{ID: sealpost.MessageID{1}, App: bank, C: bytes.Repeat([]byte{2}, 32)}
	message := func() []byte { return privateMessage([]byte("g"), 1, contentApplication, c.AAD()) }
	commit := privateMessage([]byte("g"), 1, contentCommit, nil)
	public := append([]byte{0, 1, 0, wirePublicMessage, 1, 'g', 0, 0, 0, 0, 0, 0, 0, 1}, "rest"...)
	blob := func(e sealpost.Envelope) []byte {
		b, err := sealpost.EncodeEnvelope(e)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	commits, ok := readEnvelope(c, blob(sealpost.Envelope{Message: message(), Commits: [][]byte{commit, public}}))
	if !ok || len(commits) != 2 || commits[0].Place != commits[1].Place || commits[0].Commit == commits[1].Commit {
		t.Fatalf("an honest envelope: %v, %d commits", ok, len(commits))
	}
	if other, _ := readCommit("shop", commit); other.Place == commits[0].Place {
		t.Error("tenants share a place")
	}
	flip := func(b []byte, i int) []byte { b[i] ^= 0x80; return b }
	for name, e := range map[string]sealpost.Envelope{
		"a plain text":             {Message: []byte("your code is 123456")},
		"another version":          {Message: flip(message(), 0)},
		"a public message":         {Message: public},
		"a commit for a message":   {Message: commit},
		"a commit with the AAD":    {Message: privateMessage([]byte("g"), 1, contentCommit, c.AAD())},
		"another message's AAD":    {Message: flip(message(), 20)},
		"a byte too many":          {Message: append(message(), 0)},
		"a byte too few":           {Message: message()[:len(message())-1]},
		"a message for a commit":   {Message: message(), Commits: [][]byte{message()}},
		"a commit of no group":     {Message: message(), Commits: [][]byte{privateMessage(nil, 1, contentCommit, nil)}},
		"a commit that is cut off": {Message: message(), Commits: [][]byte{commit[:9]}},
	} {
		if _, ok := readEnvelope(c, blob(e)); ok {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, ok := readEnvelope(c, []byte{0xa0}); ok {
		t.Error("an empty envelope is accepted")
	}
}

// FuzzParseEnvelope: the short way accepts what package sealpost accepts, and
// reads the same.
func FuzzParseEnvelope(f *testing.F) {
	for _, n := range []int{1, 23, 24, 255, 256, 257, 4000} {
		b, err := sealpost.EncodeEnvelope(sealpost.Envelope{Message: bytes.Repeat([]byte("m"), n)})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(append(b[:len(b):len(b)], 0))
	}
	f.Add([]byte("\xa1\x03\x59\x00\x01m")) // a length that has a shorter form
	f.Add(append([]byte("\xa1\x03\x59\x00\xff"), bytes.Repeat([]byte("m"), 255)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := parseEnvelope(b)
		want, err := sealpost.ParseEnvelope(b)
		if ok != (err == nil) || ok && !bytes.Equal(got.Message, want.Message) {
			t.Errorf("read as %v %v, want %v %v", got, ok, want, err)
		}
	})
}

// FuzzPrivateMessage: what is accepted re-encodes to itself.
func FuzzPrivateMessage(f *testing.F) {
	f.Add(privateMessage([]byte("group"), 7, contentApplication, []byte("aad")))
	f.Add(privateMessage(nil, 0, contentCommit, make([]byte, 100)))
	f.Add([]byte{0, 1, 0, 2, 0x40, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = readCommit(bank, b)
		h, ok := readPrivateMessage(b)
		if !ok {
			return
		}
		again := privateMessage(h.group, h.epoch, h.content, h.aad)
		head := len(again) - len(privateMessage(nil, 0, 0, nil)) + len([]byte{0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		if len(h.group) < 1<<14 && len(h.aad) < 1<<14 && !bytes.Equal(again[:head], b[:head]) {
			t.Errorf("%x is read as %x", b[:head], again[:head])
		}
	})
}

// A cache asks once for look-ups that come together, forgets on demand even what
// is under way, and remembers for its time.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[string, int](2, 3*time.Second, time.Now)
		asked := 0
		fetch := func(context.Context, string) (int, error) {
			asked++
			n := asked
			time.Sleep(time.Second)
			return n, nil
		}
		get := func() int {
			v, err := c.get(t.Context(), "k", fetch)
			if err != nil {
				t.Error(err)
			}
			return v
		}
		for range 3 {
			go get()
		}
		if v := get(); v != 1 || asked != 1 {
			t.Errorf("four look-ups asked %d times", asked)
		}
		time.Sleep(3*time.Second - 2*time.Second)
		if v := get(); v != 1 {
			t.Error("forgotten early")
		}
		time.Sleep(3 * time.Second)
		if v := get(); v != 2 {
			t.Error("remembered for too long")
		}
		c.forget("k")
		slow := make(chan int)
		go func() { slow <- get() }()
		synctest.Wait()
		c.forget("k") // while it is read
		if v := get(); v != 4 {
			t.Errorf("an answer from before a change is given after it: %d", v)
		}
		<-slow
		if v := get(); v != 4 {
			t.Errorf("an answer from before a change is kept: %d", v)
		}
		bad := errors.New("bad")
		if _, err := c.get(t.Context(), "x", func(context.Context, string) (int, error) { return 0, bad }); !errors.Is(err, bad) {
			t.Error(err)
		}
		if v, err := c.get(t.Context(), "x", fetch); err != nil || v == 0 {
			t.Error("an error is remembered")
		}
	})
}

// A waiter is woken by what it could not see when it came, and by what comes,
// each once it is released; nobody else is.
func TestInboxes(t *testing.T) {
	me, other := recipientKey{bank, sealpost.Recipient{1}}, recipientKey{bank, sealpost.Recipient{2}}
	woken := func(w *waiter) bool {
		select {
		case <-w.ready:
			return true
		default:
			return false
		}
	}
	b := newInboxes()
	empty, stranger, late := b.join(me, 0), b.join(other, 0), b.join(recipientKey{"shop", me.recipient}, 6)
	b.arrived(me, 9)
	b.release(5)
	if woken(empty) || woken(late) {
		t.Error("woken before the release")
	}
	b.release(6)
	if woken(empty) || !woken(late) {
		t.Error("what was held when a waiter came does not wake it")
	}
	b.release(10)
	if !woken(empty) || woken(stranger) || woken(late) {
		t.Error("what comes does not wake whom it is for, and nobody else")
	}
	b.leave(me, empty)
	b.arrived(me, 10) // nobody waits
	if len(b.due) != 0 || len(b.waiting) != 2 {
		t.Errorf("%d arrivals are kept for nobody, %d recipients wait", len(b.due), len(b.waiting))
	}
}

// What was checked before a revocation was held is held before it.
func TestInOrder(t *testing.T) {
	event := func() *item { return &item{hold: sealpost.Hold{KeyEvent: new(sealpost.KeyEvent)}} }
	a, b, c, d := event(), &item{}, event(), &item{}
	group := []*item{a, b, c, d}
	inOrder(group)
	for i, want := range []*item{b, d, a, c} {
		if group[i] != want {
			t.Errorf("place %d has another item", i)
		}
	}
}

// The lag is that of the oldest statement without a checkpoint.
func TestLag(t *testing.T) {
	p := newPublished()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	p.start(10, 10, at(0))
	if p.lag(at(100)) != 0 {
		t.Error("nothing waits")
	}
	p.hold(20, at(100))
	p.hold(30, at(105))
	if d := p.lag(at(110)); d != 10*time.Second {
		t.Errorf("lag %v, want 10s", d)
	}
	p.publish(19)
	if d := p.lag(at(110)); d != 10*time.Second {
		t.Errorf("lag %v with one of ten unpublished, want 10s", d)
	}
	p.publish(20)
	if d := p.lag(at(110)); d != 5*time.Second {
		t.Errorf("lag %v, want 5s", d)
	}
	p.publish(30)
	p.publish(5) // an older checkpoint changes nothing
	if p.lag(at(110)) != 0 || p.size() != 30 {
		t.Errorf("lag %v at %d", p.lag(at(110)), p.size())
	}
	for i := range 3 * marksMax {
		p.hold(uint64(100+i), at(200+i))
	}
	if len(p.marks) > marksMax || p.marks[len(p.marks)-1].end != uint64(99+3*marksMax) {
		t.Errorf("%d marks", len(p.marks))
	}
}

// Config says every fault at once and opens nothing.
func TestConfig(t *testing.T) {
	_, err := New(Config{Tenants: map[string][]sealpost.KeyID{"a b": nil}, MergeDelay: time.Second})
	if err == nil {
		t.Fatal("an empty config is accepted")
	}
	for _, want := range []string{"store", "log", "now", "logger", "statement", "origin", "lag", "tenants"} {
		if !bytes.Contains([]byte(err.Error()), []byte(want+":")) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

// Leaves are gathered: what is held while little time has passed is one append,
// a full append waits for no time and ends with a full file of the log, and the
// rest does not wait at the end.
func TestProjectorGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { _ = w.stop() }()
		log := &countingLog{Log: w.log}
		p := newProjector(Config{Store: w.store, Log: log, Logger: slog.New(slog.DiscardHandler), Gather: time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.run(ctx)
		next := uint64(0)
		feed := func(n int) {
			leaves := slices.Repeat([]sealpost.Leaf{sealpost.MakeLeaf(sealpost.Salt{}, nil)}, n)
			p.feed(news{first: next, leaves: leaves, end: next + uint64(n)})
			next += uint64(n)
			synctest.Wait()
		}
		want := func(when string, appends ...int) {
			t.Helper()
			if got := log.seen(); !slices.Equal(got, appends) {
				t.Errorf("%s: appends of %v, want %v", when, got, appends)
			}
		}
		feed(1)
		want("the first", 1)
		feed(1)
		feed(1)
		want("within the time", 1)
		time.Sleep(time.Second)
		synctest.Wait()
		want("after it", 1, 2)
		feed(appendMax)
		const whole = appendMax - 3 // after which the log has a multiple of fileLeaves
		want("a full append", 1, 2, whole)
		feed(1)
		want("one more", 1, 2, whole)
		p.drained(ctx)
		want("the end", 1, 2, whole, 4)
	})
}

// A countingLog notes how many leaves each append had.
type countingLog struct {
	Log
	mu      sync.Mutex
	appends []int
}

func (l *countingLog) seen() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.appends)
}

func (l *countingLog) Append(ctx context.Context, leaves [][]byte) (uint64, error) {
	l.mu.Lock()
	l.appends = append(l.appends, len(leaves))
	l.mu.Unlock()
	return l.Log.Append(ctx, leaves)
}

// FuzzCursor: a cursor has one spelling.
func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add("17")
	f.Add("017")
	f.Fuzz(func(t *testing.T, s string) {
		n, p := parseCursor(s)
		if p == nil && s != "" && strconv.FormatUint(n, 10) != s {
			t.Errorf("%q is accepted and is written %d", s, n)
		}
	})
}
