package interop_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/sealpost/sealpost/mls"
)

// checks are what is held between each foreign engine and ours. Every step of a
// room ends with all members agreeing and talking, so that a check says only what
// happens.
var checks = []check{
	{name: "they join our group", run: func(s *session) {
		alice, bob := s.ours("alice"), s.theirs("bob")
		r := newRoom(s.t, alice)
		r.add(alice, bob)
	}},
	{name: "we join their group", run: func(s *session) {
		alice, bob := s.ours("alice"), s.theirs("bob")
		r := newRoom(s.t, bob)
		r.add(bob, alice)
	}},
	{name: "several messages, in order", run: func(s *session) {
		alice, bob, r := s.pair()
		for i := range 20 {
			r.say(alice, nil, fmt.Appendf(nil, "from ours %d", i))
			r.say(bob, nil, fmt.Appendf(nil, "from theirs %d", i))
		}
	}},
	{name: "messages of every length to 300 bytes, and long ones", run: func(s *session) {
		alice, bob, r := s.pair()
		for _, n := range []int{1, 2, 62, 63, 64, 65, 200, 255, 256, 300, 16383, 16384, 65536} {
			text := bytes.Repeat([]byte{'x'}, n)
			r.say(alice, nil, text)
			r.say(bob, nil, text)
		}
	}},
	{name: "messages out of order, ours to theirs", run: func(s *session) {
		alice, bob, r := s.pair()
		if s.peer.engine == coreCrypto { // keeps the key of the generation before the newest, no older
			r.scrambled(alice, bob, 1, 0, 2, 4, 3, 6, 5, 7)
			return
		}
		r.scrambled(alice, bob, 2, 0, 4, 1, 7, 3, 6, 5)
	}},
	{name: "messages out of order, theirs to ours", run: func(s *session) {
		alice, bob, r := s.pair()
		r.scrambled(bob, alice, 2, 0, 4, 1, 7, 3, 6, 5)
	}},
	{name: "a message opens once", run: func(s *session) {
		alice, bob, r := s.pair()
		for _, way := range [][2]member{{alice, bob}, {bob, alice}} {
			msg, err := way[0].seal(nil, []byte("once"))
			r.must(err, "%s seals", way[0].name())
			r.opens(way[1], msg, nil, []byte("once"))
			r.refuses(way[1], msg, "a replay")
			r.goesOn()
		}
	}},
	{name: "a spoiled message is refused and changes nothing", run: func(s *session) {
		alice, bob, r := s.pair()
		for _, way := range [][2]member{{alice, bob}, {bob, alice}} {
			msg, err := way[0].seal(nil, []byte("whole"))
			r.must(err, "%s seals", way[0].name())
			spoiled := bytes.Clone(msg)
			spoiled[len(spoiled)-1] ^= 1
			r.refuses(way[1], spoiled, "a spoiled ciphertext")
			r.opens(way[1], msg, nil, []byte("whole"))
			r.goesOn()
		}
	}},
	{name: "authenticated data, ours", run: func(s *session) {
		alice, _, r := s.pair()
		r.say(alice, []byte("message id"), []byte("with authenticated data"))
	}},
	{name: "authenticated data of a commit, ours", run: func(s *session) {
		alice, _, r := s.pair()
		r.change(alice, change{aad: []byte("commit id")})
	}},
	{name: "authenticated data, theirs", except: map[string]string{
		coreCrypto: "it seals without",
	}, run: func(s *session) {
		_, bob, r := s.pair()
		r.say(bob, []byte("message id"), []byte("with authenticated data"))
	}},
	{name: "our padding", run: func(s *session) {
		alice, bob := s.ours("alice"), s.theirs("bob")
		alice.policy.Padding = func(n int) int { return 512 - n%512 }
		r := newRoom(s.t, alice)
		r.add(alice, bob)
		r.say(alice, nil, []byte("short"))
	}},
	{name: "path commits, ours", run: func(s *session) {
		alice, _, r := s.pair()
		for range 3 {
			r.update(alice)
		}
	}},
	{name: "path commits, theirs", run: func(s *session) {
		_, bob, r := s.pair()
		for range 3 {
			r.update(bob)
		}
	}},
	{name: "path commits in turn", run: func(s *session) {
		alice, bob, r := s.pair()
		for range 4 {
			r.update(alice)
			r.update(bob)
		}
	}},
	{name: "they make the group and we commit first", run: func(s *session) {
		alice, bob := s.ours("alice"), s.theirs("bob")
		r := newRoom(s.t, bob)
		r.add(bob, alice)
		r.update(alice)
		r.update(bob)
	}},
	{name: "we add a third, theirs", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.theirs("carol")
		r.add(alice, carol)
		r.update(carol)
		r.update(bob)
		r.update(alice)
	}},
	{name: "we add a third, ours", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.ours("carol")
		r.add(alice, carol)
		r.update(bob)
		r.update(carol)
	}},
	{name: "they add a third, ours", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.ours("carol")
		r.add(bob, carol)
		r.update(carol)
		r.update(alice)
		r.update(bob)
	}},
	{name: "they add a third, theirs", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.theirs("carol")
		r.add(bob, carol)
		r.update(alice)
		r.update(carol)
	}},
	{name: "several added by one commit of ours", run: func(s *session) {
		alice, bob, r := s.pair()
		carol, dave, erin := s.theirs("carol"), s.ours("dave"), s.theirs("erin")
		r.add(alice, carol, dave, erin)
		r.update(erin)
		r.update(dave)
		r.update(bob)
	}},
	{name: "several added by one commit of theirs", run: func(s *session) {
		alice, bob, r := s.pair()
		carol, dave, erin := s.theirs("carol"), s.ours("dave"), s.ours("erin")
		r.add(bob, carol, dave, erin)
		r.update(erin)
		r.update(carol)
		r.update(alice)
	}},
	{name: "we remove a third", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.theirs("carol")
		r.add(alice, carol)
		r.remove(alice, carol)
		r.has(alice, bob)
		r.update(bob)
		r.add(bob, s.ours("dave")) // takes the empty leaf
	}},
	{name: "they remove a third", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.ours("carol")
		r.add(bob, carol)
		r.remove(bob, carol)
		r.has(alice, bob)
		r.update(alice)
		r.add(alice, s.theirs("dave")) // takes the empty leaf
	}},
	{name: "they remove the one who made the group", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.ours("carol")
		r.add(bob, carol)
		r.remove(bob, alice)
		r.has(bob, carol)
		r.update(carol)
		r.update(bob)
	}},
	{name: "we restart from what was stored at every step", run: func(s *session) {
		alice, bob, r := s.pair()
		again := func() {
			for _, restart := range []func() error{alice.restart, alice.reread} {
				r.must(restart(), "restart")
				r.goesOn()
			}
		}
		again()
		r.update(bob)
		again()
		r.update(alice)
		again()
		r.add(bob, s.theirs("carol"))
		again()
		late, err := bob.seal(nil, []byte("late"))
		r.must(err, "seal")
		r.must(alice.restart(), "restart")
		r.opens(alice, late, nil, []byte("late"))
		r.must(alice.restart(), "restart")
		r.refuses(alice, late, "a replay")
	}},
	{name: "exporter under labels and contexts", except: map[string]string{
		coreCrypto: "it exports under the label \"exporter\" and no context, which every step compares",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		for _, label := range []string{"", "Sealpost", "exporter"} {
			for _, n := range []int{1, 16, 32, 33, 255} {
				a, err := alice.export(label, []byte("context"), n)
				r.must(err, "export")
				b, err := bob.export(label, []byte("context"), n)
				r.must(err, "export")
				if len(a) != n || !bytes.Equal(a, b) {
					s.t.Errorf("%d bytes under label %q differ", n, label)
				}
			}
		}
	}},
	{name: "their commits as PrivateMessages", except: map[string]string{
		coreCrypto: "it sends handshakes as PublicMessages only",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		carol, dave := s.ours("carol"), s.theirs("dave")
		r.change(bob, change{encrypted: true})
		r.change(bob, change{encrypted: true, add: r.keyPackages(carol, dave)}, carol, dave)
		r.change(dave, change{encrypted: true})
		r.change(dave, change{encrypted: true, remove: r.seats(carol)})
		r.has(alice, bob, dave)
	}},
	{name: "their proposals, committed by us", except: map[string]string{
		coreCrypto: "it makes no proposals by themselves",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		for _, encrypted := range []bool{false, true} {
			carol := s.ours("carol")
			r.proposes(bob, change{add: r.keyPackages(carol), encrypted: encrypted})
			r.change(alice, change{received: true}, carol)
			r.proposes(bob, change{remove: r.seats(carol), encrypted: encrypted})
			r.change(alice, change{received: true})
			r.has(alice, bob)
		}
	}},
	{name: "their proposals, committed by them", except: map[string]string{
		coreCrypto: "it makes no proposals by themselves",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		carol, dave := s.theirs("carol"), s.ours("dave")
		r.add(bob, carol)
		r.proposes(bob, change{add: r.keyPackages(dave)})
		r.change(carol, change{received: true}, dave)
		r.proposes(carol, change{remove: r.seats(dave), encrypted: true})
		r.change(bob, change{received: true, encrypted: true})
		r.has(alice, bob, carol)
	}},
	{name: "an external pre-shared key, injected by them", except: map[string]string{
		coreCrypto: "it knows no pre-shared keys",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.ours("carol")
		id, secret := []byte("psk id"), bytes.Repeat([]byte{7}, 32)
		for _, o := range []*ours{alice, carol} {
			o.psks[string(id)] = secret
		}
		r.must(bob.psk(id, secret), "psk")
		r.change(bob, change{psk: id})
		r.change(bob, change{psk: id, add: r.keyPackages(carol)}, carol)
		r.change(bob, change{psk: id, encrypted: true})
	}},
	{name: "a pre-shared key that differs is refused by us", except: map[string]string{
		coreCrypto: "it knows no pre-shared keys",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		id := []byte("psk id")
		alice.psks[string(id)] = bytes.Repeat([]byte{7}, 32)
		r.must(bob.psk(id, bytes.Repeat([]byte{8}, 32)), "psk")
		c, err := bob.commit(change{psk: id})
		r.must(err, "%s commits", bob.name())
		r.refuses(alice, c.Commit, "a commit over another key")
	}},
	{name: "the resumption key of a past epoch, injected by them", except: map[string]string{
		coreCrypto: "it knows no pre-shared keys",
	}, run: func(s *session) {
		_, bob, r := s.pair()
		r.update(bob)
		r.update(bob)
		r.change(bob, change{resumption: 2})
	}},
	{name: "one of theirs joins theirs by external commit", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.theirs("carol")
		r.update(bob)
		r.joinsByItself(carol, bob)
		r.update(alice)
		r.update(carol)
		r.has(alice, bob, carol)
	}},
	{name: "one of theirs asks to be added", except: map[string]string{
		coreCrypto: "it makes no proposals",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.theirs("carol")
		gi, err := bob.groupInfo()
		r.must(err, "%s gives its group info", bob.name())
		msg, err := carol.askToJoin(gi)
		r.must(err, "%s asks to be added", carol.name())
		r.deliver(carol, msg, "proposal")
		r.change(alice, change{received: true}, carol)
	}},
	{name: "our commits as PrivateMessages", except: map[string]string{
		coreCrypto: "it takes handshakes as PublicMessages only",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		carol, dave := s.theirs("carol"), s.ours("dave")
		r.must(alice.encrypt(), "encrypt")
		r.update(alice)
		r.add(alice, carol, dave)
		r.update(carol)
		r.remove(alice, carol)
		r.has(alice, bob, dave)
	}},
	{name: "our proposals, committed by them", run: func(s *session) {
		alice, bob, r := s.pair()
		carol, dave := s.ours("carol"), s.theirs("dave")
		r.add(bob, carol)
		r.proposes(alice, change{update: true})
		r.change(bob, change{received: true})
		r.proposes(alice, change{add: r.keyPackages(dave)})
		r.change(bob, change{received: true}, dave)
		r.proposes(alice, change{update: true})
		r.proposes(carol, change{update: true})
		r.change(dave, change{received: true})
		r.proposes(carol, change{remove: r.seats(dave)})
		r.proposes(alice, change{update: true})
		r.change(bob, change{received: true})
		r.has(alice, bob, carol)
	}},
	{name: "our proposals as PrivateMessages, committed by them", except: map[string]string{
		coreCrypto: "it takes handshakes as PublicMessages only",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		r.must(alice.encrypt(), "encrypt")
		r.proposes(alice, change{update: true})
		r.change(bob, change{received: true, encrypted: true})
		r.proposes(alice, change{remove: r.seats(bob)})
		r.change(alice, change{received: true})
		r.has(alice)
	}},
	{name: "our proposals, committed by another of ours", run: func(s *session) {
		alice, bob, r := s.pair()
		carol, dave := s.ours("carol"), s.theirs("dave")
		r.add(bob, carol)
		r.proposes(alice, change{update: true})
		r.proposes(alice, change{add: r.keyPackages(dave)})
		r.change(carol, change{received: true}, dave)
		r.proposes(alice, change{remove: r.seats(bob)})
		r.change(carol, change{received: true})
		r.has(alice, carol, dave)
	}},
	{name: "another signature key of ours, by commit", except: map[string]string{
		coreCrypto: "it refuses the signature of every commit that brings another key, of its own kind too",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.ours("carol")
		r.add(bob, carol)
		r.change(alice, change{leaf: mls.LeafOptions{Signer: alice.newSigner(s.t)}})
		r.update(bob)
		r.update(alice)
		r.add(alice, s.theirs("dave"))
	}},
	{name: "another signature key of ours, by update", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.ours("carol")
		r.add(bob, carol)
		r.proposes(carol, change{update: true, leaf: mls.LeafOptions{Signer: carol.newSigner(s.t)}})
		r.change(bob, change{received: true})
		r.update(carol)
		r.update(alice)
	}},
	{name: "adds of ours with and without a path", run: func(s *session) {
		alice, bob, r := s.pair()
		carol, dave := s.theirs("carol"), s.theirs("dave")
		r.change(alice, change{add: r.keyPackages(carol), noPath: true}, carol)
		r.change(alice, change{add: r.keyPackages(dave)}, dave)
		r.update(carol)
		r.update(bob)
		r.update(dave)
	}},
	{name: "an external pre-shared key, injected by us", except: map[string]string{
		coreCrypto: "it knows no pre-shared keys",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.theirs("carol")
		id, secret := []byte("psk id"), bytes.Repeat([]byte{7}, 32)
		alice.psks[string(id)] = secret
		r.must(bob.psk(id, secret), "psk")
		r.must(carol.psk(id, secret), "psk")
		r.change(alice, change{psk: id})
		r.change(alice, change{psk: id, noPath: true})
		r.change(alice, change{psk: id, add: r.keyPackages(carol)}, carol)
		r.proposes(alice, change{psk: id})
		r.change(bob, change{received: true})
	}},
	{name: "the resumption key of this epoch, injected by us", except: map[string]string{
		coreCrypto: "it knows no pre-shared keys",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		r.update(bob)
		r.change(alice, change{resumption: alice.group.Epoch()})
		r.change(alice, change{resumption: alice.group.Epoch() - 1})
	}},
	{name: "one of ours joins by external commit, on our word", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.ours("carol")
		r.joinsByItself(carol, alice)
		r.update(bob)
		r.update(carol)
		r.has(alice, bob, carol)
	}},
	{name: "one of ours joins by external commit, on their word", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.ours("carol")
		r.update(bob)
		r.joinsByItself(carol, bob)
		r.update(bob)
		r.update(carol)
		r.has(alice, bob, carol)
	}},
	{name: "one of theirs joins by external commit, on our word", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.theirs("carol")
		r.joinsByItself(carol, alice)
		r.update(bob)
		r.update(carol)
		r.has(alice, bob, carol)
	}},
	{name: "one of ours comes back by external commit", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.ours("carol")
		r.add(bob, carol)
		r.in = []member{alice, bob}
		r.joinsByItself(carol, alice)
		r.update(bob)
		r.update(carol)
		if n := len(alice.group.Members()); n != 3 {
			s.t.Errorf("%d members, want 3: carol once", n)
		}
	}},
	{name: "extensions of the group, set by us", run: func(s *session) {
		alice, bob, r := s.pair()
		r.change(alice, change{extensions: []mls.Extension{bothCredentials}})
		r.update(bob)
		r.add(bob, s.theirs("carol"), s.ours("dave"))
	}},
	{name: "extensions of the group, cleared by us", except: map[string]string{
		tsMLS: "it keeps the old extensions where a commit sets none",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		r.change(alice, change{extensions: []mls.Extension{bothCredentials}})
		r.change(alice, change{extensions: []mls.Extension{}})
		r.update(bob)
	}},
	{name: "extensions of the group, set by them, need the path that 12.4 asks for", except: map[string]string{
		coreCrypto: "it sets them only as it makes a group",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		c, err := bob.commit(change{extensions: []mls.Extension{bothCredentials}})
		r.must(err, "bob commits")
		r.refuses(alice, c.Commit, "new extensions without a path")
	}},
	{name: "ratchet trees beside our Welcomes", except: map[string]string{
		coreCrypto: "it takes the tree from the Welcome only",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.theirs("carol")
		r.change(alice, change{add: r.keyPackages(carol), noTree: true}, carol)
		r.update(bob)
		r.update(carol)
	}},
	{name: "ratchet trees beside their Welcomes", except: map[string]string{
		coreCrypto: "its Welcomes carry the tree",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.ours("carol")
		r.change(bob, change{add: r.keyPackages(carol), noTree: true}, carol)
		r.update(alice)
		r.update(carol)
	}},
	{name: "our group is reinitialised by us", except: noResumption, run: func(s *session) {
		alice, bob, r := s.pair()
		next := r.closes(alice, s.suite)
		r.followedBy(alice, bob, next)
	}},
	{name: "our group is reinitialised by them", except: noResumption, run: func(s *session) {
		alice, bob, r := s.pair()
		next := r.closes(bob, s.suite)
		r.followedBy(bob, alice, next)
	}},
	{name: "our group goes on with another suite", except: noResumption, run: func(s *session) {
		alice, bob, r := s.pair()
		next := r.closes(alice, s.otherSuite())
		r.followedBy(alice, bob, next)
	}},
	{name: "we branch a subgroup", except: noResumption, run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.theirs("carol")
		r.add(alice, carol)
		r.branched(alice, bob)
		r.goesOn()
	}},
	{name: "they branch a subgroup", except: noResumption, run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.theirs("carol")
		r.add(alice, carol)
		r.branched(bob, alice)
		r.goesOn()
	}},
	{name: "one of ours asks to be added", run: func(s *session) {
		alice, bob, r := s.pair()
		carol := s.ours("carol")
		kp := r.keyPackages(carol)[0]
		msg, err := mls.SelfAddProposal(alice.group.GroupID(), alice.group.Epoch(), kp, carol.signer)
		r.must(err, "carol asks to be added")
		r.deliver(carol, msg, "proposal")
		r.change(bob, change{received: true}, carol)
		r.update(carol)
	}},
	{name: "removals by a sender outside, whom their group lists", except: map[string]string{
		tsMLS: "it has one sender where 12.1.8.1 has a list",
	}, run: func(s *session) {
		alice, bob, carol, dave := s.ours("alice"), s.theirs("bob"), s.theirs("carol"), s.ours("dave")
		server := s.ours("server").signer
		r := newRoom(s.t, listing{bob, server.Public()})
		r.in = []member{bob}
		r.add(bob, alice, carol, dave)
		r.removedFromOutside(alice, 0, server, carol, bob) // it takes no adds
		r.removedFromOutside(alice, 0, server, dave, alice)
		r.has(bob, alice)
	}},
	{name: "removals by a sender outside, whom our group lists", except: map[string]string{
		tsMLS: "it has one sender where 12.1.8.1 has a list",
	}, run: func(s *session) {
		alice, bob, r := s.pair()
		carol, dave := s.theirs("carol"), s.ours("dave")
		r.add(bob, carol, dave)
		server, other := s.ours("server"), s.ours("other")
		r.change(alice, change{extensions: []mls.Extension{mls.ExternalSenders(
			mls.ExternalSender{SignatureKey: other.signer.Public(), Credential: other.cred},
			mls.ExternalSender{SignatureKey: server.signer.Public(), Credential: server.cred},
		)}})
		r.removedFromOutside(alice, 1, server.signer, dave, bob)
		r.removedFromOutside(alice, 1, server.signer, carol, alice)
		r.has(alice, bob)
	}},
	{name: "commits that cross: one counts, the other is refused", run: func(s *session) {
		alice, bob, r := s.pair()
		ours, err := alice.stage(change{})
		r.must(err, "alice stages a commit")
		theirs, err := bob.commit(change{})
		r.must(err, "bob commits")
		r.refuses(bob, ours.Commit, "the commit that lost")
		r.deliver(bob, theirs.Commit, "commit")
		if err := alice.group.Apply(ours); !errors.Is(err, mls.ErrStale) {
			s.t.Errorf("the commit that lost: %v, want it stale", err)
		}
		r.goesOn()
	}},
	{name: "X.509 credentials of ours", except: map[string]string{
		coreCrypto: "it takes certificates of Wire's own profile only",
	}, run: func(s *session) {
		alice, bob, carol := s.ours("alice"), s.theirs("bob"), s.ours("carol")
		alice.certify(s.t)
		carol.certify(s.t)
		r := newRoom(s.t, alice)
		r.add(alice, bob)
		r.add(bob, carol)
		r.update(carol)
		r.update(alice)
		r.update(bob)
	}},
	{name: "ours as far ahead as they allow, and no further", run: func(s *session) {
		most := reach[s.peer.engine]
		for _, skipped := range []int{most.forward, most.forward + 1} {
			alice, bob := s.ours("alice"), s.theirs("bob")
			alice.policy.MaxForward = 2000
			r := newRoom(s.t, alice)
			r.add(alice, bob) // its first message was number 0
			r.must(alice.group.SkipTo(uint32(1+skipped)), "skip %d", skipped)
			msg, err := alice.seal(nil, []byte("far"))
			r.must(err, "seal")
			if skipped > most.forward {
				r.refuses(bob, msg, "a message too far ahead")
				continue
			}
			r.opens(bob, msg, nil, []byte("far"))
			r.goesOn()
		}
	}},
	{name: "ours as late as they allow, and no later", run: func(s *session) {
		most := reach[s.peer.engine]
		for _, late := range []int{most.backward, most.backward + 1} {
			alice, bob, r := s.pair()
			first, err := alice.seal(nil, []byte("late"))
			r.must(err, "seal")
			var newest []byte
			for range late {
				newest, err = alice.seal(nil, []byte("newest"))
				r.must(err, "seal")
			}
			r.opens(bob, newest, nil, []byte("newest"))
			if late > most.backward {
				r.refuses(bob, first, "a message too late")
				continue
			}
			r.opens(bob, first, nil, []byte("late"))
			r.goesOn()
		}
	}},
	{name: "ours of as many past epochs as they keep, and no more", run: func(s *session) {
		most := reach[s.peer.engine]
		for _, past := range []int{most.epochs, most.epochs + 1} {
			alice, bob, r := s.pair()
			first, err := alice.seal(nil, []byte("of a past epoch"))
			r.must(err, "seal")
			for range past {
				r.update(bob)
			}
			if past > most.epochs {
				r.refuses(bob, first, "a message of an epoch too old")
				continue
			}
			r.opens(bob, first, nil, []byte("of a past epoch"))
			r.goesOn()
		}
	}},
	{name: "theirs as far ahead as we allow, and no further", run: func(s *session) {
		alice, bob := s.ours("alice"), s.theirs("bob")
		alice.policy.MaxForward = 50
		for _, skipped := range []uint32{50, 51} {
			r := newRoom(s.t, alice)
			r.add(alice, bob) // its first message was number 0
			var msg []byte
			for range skipped + 1 {
				var err error
				msg, err = bob.seal(nil, []byte("far"))
				r.must(err, "seal")
			}
			if skipped > alice.policy.MaxForward {
				if _, err := alice.process(msg); !errors.Is(err, mls.ErrTooFarAhead) {
					s.t.Errorf("a message too far ahead: %v", err)
				}
				continue
			}
			r.opens(alice, msg, nil, []byte("far"))
			r.goesOn()
		}
	}},
	{name: "theirs of as many past epochs as we keep, and no more", run: func(s *session) {
		const keep = 2
		for _, past := range []int{keep, keep + 1} {
			alice, bob := s.ours("alice"), s.theirs("bob")
			alice.policy.PastEpochs = keep
			r := newRoom(s.t, alice)
			r.add(alice, bob)
			first, err := bob.seal(nil, []byte("of a past epoch"))
			r.must(err, "seal")
			for range past {
				r.update(bob)
			}
			if past > keep {
				r.refuses(alice, first, "a message of an epoch too old")
				continue
			}
			r.opens(alice, first, nil, []byte("of a past epoch"))
			r.refuses(alice, first, "a replay")
			r.goesOn()
		}
	}},
	{name: "a growing and shrinking group of nine", run: func(s *session) {
		alice, bob, r := s.pair()
		all := []member{alice, bob}
		for i := range 7 {
			var m member = s.ours(fmt.Sprint("ours ", i))
			if i%2 == 0 {
				m = s.theirs(fmt.Sprint("theirs ", i))
			}
			by := all[i%len(all)]
			r.add(by, m)
			all = append(all, m)
			if i%3 == 2 {
				r.update(m)
			}
		}
		for i, gone := range []int{3, 5, 4, 2, 8} {
			by := all[[]int{1, 0, 6, 1, 0}[i]]
			r.remove(by, all[gone])
			r.update(r.in[len(r.in)-1])
		}
		r.has(all[0], all[1], all[6], all[7])
	}},
}

var noResumption = map[string]string{coreCrypto: "it has neither ReInit nor branches"}

var bothCredentials = mls.RequiredCapabilities(nil, nil, []uint16{mls.CredentialBasic, mls.CredentialX509})

// reach is what a foreign engine opens as it comes: how many generations may be
// missing before a message, how far behind the newest one it may be, and how many epochs
// may have passed.
var reach = map[string]struct{ forward, backward, epochs int }{
	tsMLS:      {200, 10, 4},
	coreCrypto: {1000, 1, 3},
}

// pair is the usual beginning: our group with one of theirs in it.
func (s *session) pair() (alice *ours, bob *theirs, r *room) {
	s.t.Helper()
	alice, bob = s.ours("alice"), s.theirs("bob")
	r = newRoom(s.t, alice)
	r.add(alice, bob)
	return alice, bob, r
}

// scrambled has messages arrive in another order than they were sent.
func (r *room) scrambled(from, to member, order ...int) {
	r.t.Helper()
	var msgs [][]byte
	text := func(i int) []byte { return fmt.Appendf(nil, "message %d", i) }
	for i := range order {
		msg, err := from.seal(nil, text(i))
		r.must(err, "%s seals", from.name())
		msgs = append(msgs, msg)
	}
	for _, i := range order {
		r.opens(to, msgs[i], nil, text(i))
	}
	r.goesOn()
}

// proposes has a member propose what change says, for somebody to commit.
func (r *room) proposes(by member, c change) {
	r.t.Helper()
	r.steps++
	msg, err := by.propose(c)
	r.must(err, "%s proposes", by.name())
	r.deliver(by, msg, "proposal")
}

// joinsByItself has a newcomer enter by an external commit.
func (r *room) joinsByItself(m, from member) {
	r.t.Helper()
	gi, err := from.groupInfo()
	r.must(err, "%s gives its group info", from.name())
	commit, err := m.externalJoin(gi)
	r.must(err, "%s joins by itself", m.name())
	r.enters(m, commit)
}

// enters has everybody take the commit by which a newcomer lets itself in.
func (r *room) enters(m member, commit []byte) {
	r.t.Helper()
	r.steps++
	r.deliver(m, commit, "commit")
	r.in = append(r.in, m)
	r.goesOn()
}

// removedFromOutside has a listed sender propose to remove somebody, and a member
// commit that.
func (r *room) removedFromOutside(in *ours, place uint32, server mls.Signer, gone, by member) {
	r.t.Helper()
	p := mls.RemoveProposal(r.seats(gone)[0].Leaf)
	msg, err := mls.ExternalProposal(in.group.GroupID(), in.group.Epoch(), in.suite, place, p, server)
	r.must(err, "somebody outside proposes")
	r.deliver(nil, msg, "proposal")
	r.change(by, change{received: true})
}

// listing makes a group that lists a sender outside.
type listing struct {
	*theirs
	key []byte
}

func (l listing) create(groupID []byte) error {
	return l.ask("create", request{"group": groupID, "senderKey": l.key}, nil)
}

// refuses: it is an error, and the engine lives on.
func (r *room) refuses(m member, msg []byte, what string) {
	r.t.Helper()
	if got, err := m.process(msg); err == nil {
		r.t.Fatalf("step %d: %s took %s for a %s", r.steps, m.name(), what, got.Kind)
	}
}

// has holds the room to its members.
func (r *room) has(want ...member) {
	r.t.Helper()
	if !slices.Equal(r.in, want) {
		r.t.Fatalf("step %d: %d members are in, want %d", r.steps, len(r.in), len(want))
	}
}

// Ours and both foreign engines in one group.
func TestThreeEngines(t *testing.T) {
	needPeers(t)
	for _, suite := range suites() {
		t.Run(fmt.Sprintf("suite=%d", suite), func(t *testing.T) {
			t.Parallel()
			people := new(int)
			ts := session{t, suite, startPeer(t, tsMLS), people}
			cc := session{t, suite, startPeer(t, coreCrypto), people}
			alice, bob, carol := ts.ours("alice"), ts.theirs("bob"), cc.theirs("carol")
			for _, order := range [][]member{{alice, bob, carol}, {bob, carol, alice}, {carol, alice, bob}} {
				r := newRoom(t, order[0])
				r.add(order[0], order[1])
				r.add(order[1], order[2])
				for _, m := range order {
					r.update(m)
				}
				r.has(order...)
			}
			if !t.Failed() {
				fmt.Printf("interop %s+%s suite=%d checks=3 ok\n", tsMLS, coreCrypto, suite)
			}
		})
	}
}

// 5.1.1 has uncompressed points only. ts-mls makes compressed ones by itself, so
// its peer gives it a key.
func TestCompressedKeyIsRefused(t *testing.T) {
	needPeers(t)
	s := session{t, mls.P256AES128, startPeer(t, tsMLS), new(int)}
	alice, bob, _ := s.pair()
	if err := bob.ask("client", request{"suite": s.suite, "identity": bob.id, "compressed": true}, nil); err != nil {
		t.Fatal(err)
	}
	kp, err := bob.keyPackage()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.stage(change{add: [][]byte{kp}}); !errors.Is(err, mls.ErrRefused) {
		t.Errorf("a compressed signature key: %v", err)
	}
}
