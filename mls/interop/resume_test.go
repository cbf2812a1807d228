package interop_test

import (
	"crypto/rand"

	"github.com/sealpost/sealpost/mls"
)

// resumer is a member that can take part in the group that follows its own, or
// branches off it. beside is itself in the new group.
type resumer interface {
	member
	beside(s successor) (member, error)
	resume(next member, s successor, branch bool, keyPackages ...[]byte) (welcome, tree []byte, err error)
	joinFrom(next member, welcome, tree []byte, branch bool) error
}

func (s *session) otherSuite() mls.Suite {
	if s.suite == mls.X25519AES128 {
		return mls.P256AES128
	}
	return mls.X25519AES128
}

// closes ends the group by a commit that says how it goes on. Nobody says anything
// in it any more.
func (r *room) closes(by member, suite mls.Suite) successor {
	r.t.Helper()
	r.steps++
	next := successor{make([]byte, 16), suite}
	rand.Read(next.group)
	c, err := by.commit(change{reInit: &next})
	r.must(err, "%s ends the group", by.name())
	r.deliver(by, c.Commit, "commit")
	r.agree()
	return next
}

// followedBy has one member make the group that was announced and another join.
func (r *room) followedBy(by, other resumer, next successor) {
	r.t.Helper()
	r.resumed(by, other, next, false)
}

// branched has one member make a subgroup with another.
func (r *room) branched(by, other resumer) {
	r.t.Helper()
	id := make([]byte, 16)
	rand.Read(id)
	suite := mls.P256AES128
	for _, m := range r.in {
		if o, ok := m.(*ours); ok {
			suite = o.suite
		}
	}
	r.resumed(by, other, successor{id, suite}, true)
}

func (r *room) resumed(by, other resumer, next successor, branch bool) {
	r.t.Helper()
	r.steps++
	maker, err := by.beside(next)
	r.must(err, "%s in the next group", by.name())
	joiner, err := other.beside(next)
	r.must(err, "%s in the next group", other.name())
	kp, err := joiner.keyPackage()
	r.must(err, "%s makes a key package", other.name())
	welcome, tree, err := by.resume(maker, next, branch, kp)
	r.must(err, "%s makes the next group", by.name())
	r.must(other.joinFrom(joiner, welcome, tree, branch), "%s joins the next group", other.name())
	after := &room{t: r.t, in: []member{maker, joiner}, steps: r.steps}
	after.goesOn()
	after.update(joiner)
	after.update(maker)
}

func (o *ours) beside(s successor) (member, error) {
	next := *o
	next.who, next.suite, next.group = o.who+" later", s.suite, nil
	if s.suite != o.suite {
		_, signer, err := freshKey(s.suite)
		if err != nil {
			return nil, err
		}
		next.signer = signer
	}
	return &next, nil
}

func (o *ours) resume(m member, s successor, branch bool, keyPackages ...[]byte) (welcome, tree []byte, err error) {
	next, with := m.(*ours), mls.ResumeOptions{KeyPackages: keyPackages}
	if branch {
		next.group, welcome, err = o.group.Branch(s.group, next.cred, next.signer, anybody{}, next.stored(), with)
	} else {
		next.group, welcome, err = o.group.ReInit(next.cred, next.signer, anybody{}, next.stored(), with)
	}
	return welcome, nil, err
}

func (o *ours) joinFrom(m member, welcome, tree []byte, _ bool) (err error) {
	next := m.(*ours)
	next.group, err = mls.JoinFrom(o.group, welcome, tree, next.secrets, next.signer, anybody{}, next.stored())
	return err
}

func (x *theirs) beside(s successor) (member, error) {
	next := *x
	next.who = x.who + " later"
	return &next, x.ask("beside", request{"as": next.who, "suite": s.suite}, nil)
}

func (x *theirs) resume(m member, s successor, branch bool, keyPackages ...[]byte) (welcome, tree []byte, err error) {
	var out sent
	err = x.ask("resume", request{"as": m.name(), "group": s.group, "suite": s.suite, "branch": branch, "keyPackages": keyPackages}, &out)
	return out.Welcome, out.Tree, err
}

func (x *theirs) joinFrom(m member, welcome, tree []byte, branch bool) error {
	return x.ask("joinFrom", request{"as": m.name(), "welcome": welcome, "tree": tree, "branch": branch}, nil)
}
