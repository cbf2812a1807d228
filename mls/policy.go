package mls

import (
	"crypto/rand"
	"io"
	"time"
)

// Defaults of [DefaultPolicy].
const (
	DefaultMaxForward  = 1000
	DefaultSkippedKeys = 1000
	DefaultMaxLifetime = 400 * 24 * time.Hour
)

// Limits bound what is read from the wire before anything is allocated for it.
type Limits struct {
	// Message is the longest encoding of any kind, in bytes.
	Message int
	// Leaves is the widest ratchet tree.
	Leaves uint32
	// Items is the number of list elements in one encoding, over all its lists.
	Items int
}

// A Policy is what the caller decides for its side of a group. It is not part
// of the group's state: pass it again to [Unmarshal].
type Policy struct {
	// MaxForward is how far beyond the next expected generation of a sender a
	// message may be. It bounds the work that one message can cause.
	MaxForward uint32
	// SkippedKeys is how many keys of skipped messages are kept for each sender
	// and content type. The oldest is evicted first.
	SkippedKeys uint32
	// Padding says how many zero bytes to append to n bytes of encoded content.
	// Nil pads nothing.
	Padding func(n int) int
	// Now is the clock for lifetimes of KeyPackages that this member adds, by itself
	// or from a proposal. Those in what others commit, and in the tree of a group
	// that is joined, are not held to it: clocks differ, and the group would split
	// (7.3 leaves it open). Nil leaves lifetimes unchecked.
	Now func() time.Time
	// MaxLifetime is the longest lifetime accepted in a KeyPackage, when there
	// is a clock. Zero accepts any.
	MaxLifetime time.Duration
	// Limits bound every decoder.
	Limits Limits
	// Rand is the source of key material and reuse guards; nil is crypto/rand.
	// HPKE encapsulation and ECDSA always draw from crypto/rand.
	Rand io.Reader
	// PSK looks up an external pre-shared key by its id. Nil knows none.
	PSK func(id []byte) ([]byte, bool)
	// PastResumption is for how many past epochs the resumption key is kept, so
	// that a Commit may inject it (8.6). It opens no message. Zero keeps none.
	PastResumption int
	// PastEpochs is for how many epochs that are over application messages that
	// come late are still opened, at most 64. Zero keeps none. What is kept of an
	// epoch opens its messages and leads to no other epoch; but a state that is
	// captured opens late messages of all that are kept.
	PastEpochs int
	// PastEpochTTL is for how long an epoch is kept after its end; it needs Now,
	// without which none is kept. Zero keeps them until PastEpochs is exceeded.
	PastEpochTTL time.Duration
	// Store keeps the group's state; nil leaves that to the caller.
	Store Store
	// Support is what leaves of this member list beyond RFC 9420's own.
	Support Support
	// EncryptHandshake sends proposals and Commits as PrivateMessage: a relay
	// then sees no more of them than of an application message. Both forms are
	// received in any case.
	EncryptHandshake bool
	// AllowProposal is asked before a proposal that came by itself is kept; an
	// error refuses it, and any Commit that names it. Nil allows all.
	AllowProposal func(ProposalReceived) error
	// Experimental admits the suites that have no code point of their own yet:
	// [X25519MLKEM768] and [P256MLKEM768].
	Experimental bool
	// AllowExternal lets a non-member join by an external Commit.
	AllowExternal bool
}

// Support lists the types that a client understands beside the default ones of
// 7.2, which every client has: they are left out where they are named. A type is
// listed so that a group may use it; what it means is the application's matter. A
// proposal type is one for private use ([CustomProposal]).
type Support struct{ Extensions, Proposals []uint16 }

// DefaultPolicy is strict and has no clock.
func DefaultPolicy() Policy {
	return Policy{
		MaxForward:  DefaultMaxForward,
		SkippedKeys: DefaultSkippedKeys,
		MaxLifetime: DefaultMaxLifetime,
		Limits:      DefaultLimits(),
	}
}

// DefaultLimits fit groups of a few thousand members.
func DefaultLimits() Limits {
	return Limits{Message: 4 << 20, Leaves: 1 << 13, Items: 1 << 18}
}

// withDefaults replaces limits that were left at zero; zero forward and skipped
// keys are meant.
func (p Policy) withDefaults() Policy {
	d := DefaultLimits()
	if p.Limits.Message <= 0 || p.Limits.Message > vectorMax/2 {
		p.Limits.Message = d.Message
	}
	if p.Limits.Leaves == 0 || p.Limits.Leaves > leavesMax {
		p.Limits.Leaves = d.Leaves
	}
	if p.Limits.Items <= 0 {
		p.Limits.Items = d.Items
	}
	if p.Rand == nil {
		p.Rand = rand.Reader
	}
	return p
}
