package liar

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// A Hand is what an operator with root has in it.
type Hand struct {
	// Statement is the relay's statement key, Log the log's key.
	Statement sealpost.Signer
	Log       note.Signer
	// Hold makes a statement durable and has it logged, on the real road. On this
	// side of the API nobody checks a signature.
	Hold func(ctx context.Context, h sealpost.Hold) (sealpost.Held, error)
	// Logged returns once a signed checkpoint covers so many leaves.
	Logged func(ctx context.Context, size uint64) error
	// Leaves gives at most max leaves of the log from an index on.
	Leaves func(ctx context.Context, from uint64, max int) ([]sealpost.Leaf, error)
}

// A Lie is one thing that an operator tries.
type Lie struct {
	Name  string
	Tries string // in one sentence
	tell  func(*operator, rooms) rooms
}

// Lies are all that the liar knows.
func Lies() []Lie {
	return []Lie{
		{"enrol-ghost", "answers an invitation with a device of its own, signs the key event that the sender does not sign, and passes its device off as the reader of a message that it keeps back", enrolGhost},
		{"swap-package", "hands out a KeyPackage of its own under the name of the recipient's device", swapPackage},
		{"drop-welcome", "takes the Welcome out of the message on its way to the device, so that it cannot be opened", dropWelcome},
		{"sign-commitment", "takes the Welcome out and signs, promises and hands out a commitment that fits what is left", signCommitment},
		{"edit-roster", "writes a device of its own into the roster that the sender committed to, in the sender's name, for the device and for the sender", editRoster},
		{"forge-receipt", "keeps a message back and logs receipts for it: one in the device's name, one by its own key", forgeReceipt},
		{"bury-refusal", "takes the Welcome out, promises to log the device's refusal, and throws it away", buryRefusal},
		{"forget-message", "promises to log a message at once, and throws it away", forgetMessage},
		{"drop-message", "keeps one message back and hands over those after it", dropMessage},
		{"two-outcomes", "tells the sender one outcome and, when it asks again, another one in a second history of the log", twoOutcomes},
	}
}

// rooms are the parts of a relay that a lie can be told in.
type rooms struct {
	api.Intake
	api.Reading
	api.Directory
	api.DeviceRoad
}

// A Liar is an [http.Handler]: the relay's API, told by a liar.
type Liar struct {
	cfg    api.ServerConfig
	op     *operator
	answer atomic.Pointer[http.Handler]
}

// New puts an operator before the rooms of a relay. It is honest until it is
// told to lie.
func New(cfg api.ServerConfig, hand Hand) (*Liar, error) {
	g, err := newGhost(cfg.Now)
	if err != nil {
		return nil, fmt.Errorf("liar: %w", err)
	}
	l := &Liar{cfg: cfg, op: &operator{Hand: hand, now: cfg.Now, ghost: g}}
	l.lie(Lie{tell: func(_ *operator, honest rooms) rooms { return honest }})
	return l, nil
}

// Tell begins a lie by its name, in place of the one before; "" ends lying.
func (l *Liar) Tell(name string) error {
	if name == "" {
		l.lie(Lie{tell: func(_ *operator, honest rooms) rooms { return honest }})
		return nil
	}
	all := Lies()
	i := slices.IndexFunc(all, func(x Lie) bool { return x.Name == name })
	if i < 0 {
		return fmt.Errorf("no lie is called %q", name)
	}
	l.lie(all[i])
	return nil
}

func (l *Liar) lie(x Lie) {
	told := x.tell(l.op, rooms{l.cfg.Intake, l.cfg.Reading, l.cfg.Directory, l.cfg.DeviceRoad})
	cfg := l.cfg
	cfg.Intake, cfg.Reading, cfg.Directory, cfg.DeviceRoad = reader{told.Intake, l.op.ghost}, told.Reading, told.Directory, told.DeviceRoad
	h := api.NewServer(cfg)
	l.answer.Store(&h)
}

// ServeHTTP answers one request as the lie of the moment has it.
func (l *Liar) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*l.answer.Load()).ServeHTTP(w, r) }

// Read is every text that the operator could open with the keys that it has.
func (l *Liar) Read() []string { return l.op.ghost.texts() }

// A reader tries to open whatever senders submit.
type reader struct {
	api.Intake
	ghost *ghost
}

func (r reader) Submit(ctx context.Context, caller api.Caller, batch []sealpost.Sealed) []api.Verdict {
	for _, s := range batch {
		r.ghost.read(s.Blob())
	}
	return r.Intake.Submit(ctx, caller, batch)
}

// An operator is who lies: what it has in hand, and the device of its own that
// it would like to see in a group.
type operator struct {
	Hand
	now   func() time.Time
	ghost *ghost
}

func (o *operator) time() sealpost.UnixMilli { return sealpost.FromTime(o.now()) }
