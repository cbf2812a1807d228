package store

import (
	"time"

	"github.com/sealpost/sealpost"
)

// Limits of what the store holds and of one call.
const (
	GroupMax       = 4096        // holds of one call
	GroupBytesMax  = 128 << 20   // bytes of blobs and statements of one call
	PageMax        = 4096        // rows of one answer
	SegmentMax     = 64 << 20    // bytes of a spool segment before the next is begun
	PackagesMax    = 100         // KeyPackages in a device's pool
	PackageMax     = 8 << 10     // bytes of one KeyPackage
	EndpointsMax   = 8           // endpoints of one device
	SenderKeysMax  = 4096        // signing keys of one tenant, revoked ones included
	APIKeysMax     = 1024        // API keys of one tenant, revoked ones included
	EnrolmentsMax  = 1 << 20     // invitations open at one time
	NoncesMax      = 1 << 21     // nonces remembered at one time
	WaitingMax     = 1 << 14     // small writes waiting for the next commit
	SweepMax       = 2048        // rows that one transaction of a sweep touches
	SweepRounds    = 64          // transactions of one step of a sweep
	ReceiptsMax    = receiptsMax // receipts of one device for one message
	AttemptsMax    = sealpost.CountedMax
	receiptsMax    = sealpost.CountedMax / sealpost.DevicesMax
	attemptsFree   = 16 // attempts of a device before the message's are counted
	readers        = 4
	busyTimeout    = 10 * time.Second // for another connection's lock
	cacheKiB       = 32 << 10         // page cache of the writer
	readCacheKiB   = 8 << 10          // of each reader
	walPages       = 8192             // pages in the write-ahead file before the writer itself moves them
	deviceCache    = 1 << 16          // devices kept in memory
	recipientCache = 1 << 16
	dataKeyCache   = 1 << 12
	recentMax      = 32 << 20 // bytes of messages kept in memory until their outcome
	promiseCache   = 1 << 8   // promises of groups, 16 KiB each
	inboxMax       = 1 << 20  // open routes kept in memory, beyond which the older half goes to disk
	inboxSpan      = 1 << 20  // seqs from the mark on that [Open] walks along
	waitingMax     = 1 << 16  // open messages of one device that are looked at
	blockSize      = 1024     // seqs that one mark of a tenant stands for
)

// EpochsKept is how long the commit of a group and epoch is remembered after the
// last message that carried it has expired. From then on nobody can fetch that
// commit here: a device either took it, and follows no other, or has missed its
// group's history and needs a fresh group. The lifetime of a message beyond that
// covers a sender that was away, and repeats or replaces what it sent last.
// So there are at most sealpost.CommitsMax rows for each message of that time.
const EpochsKept = sealpost.LifetimeMax

// AnswersKept is how long an answered invitation waits for its key event
// beyond its own expiry.
const AnswersKept = 7 * 24 * time.Hour

// FaultsMax is how many faults a report names; it counts the rest.
const FaultsMax = 1000
