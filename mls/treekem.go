package mls

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// climb derives the private keys of node from and of every non-blank node above
// it, checks them against the tree, and returns the commit secret, 7.4. It uses the
// path secret up.
func (t *tree) climb(cs *cryptoSuite, from nodeIndex, pathSecret []byte, privs map[nodeIndex][]byte) ([]byte, error) {
	x, root := from, t.root()
	for {
		if n := t.nodes[x]; !n.blank() {
			priv, pub, err := cs.pathKey(pathSecret)
			if err != nil {
				return nil, err
			}
			if !bytes.Equal(pub, n.key()) {
				return nil, refused("path secret does not make the key of node %d", x)
			}
			privs[x] = priv
			above := cs.derive(pathSecret, "path")
			clear(pathSecret)
			pathSecret = above
		}
		if x == root {
			return pathSecret, nil
		}
		x = parentOf(x)
	}
}

// pathKey is the key pair of a node with a path secret, 7.4.
func (c *cryptoSuite) pathKey(pathSecret []byte) (priv, pub []byte, err error) {
	nodeSecret := c.derive(pathSecret, "node")
	defer clear(nodeSecret)
	return c.keyPair(nodeSecret)
}

// setPath blanks the leaf's direct path, puts keys on its filtered path and
// returns the parent hash that the leaf must carry, 7.5.
func (t *tree) setPath(cs *cryptoSuite, leaf uint32, steps []pathStep, keys [][]byte) []byte {
	t.blankPath(leaf)
	above := []byte{}
	for i := len(steps) - 1; i >= 0; i-- {
		p := &parentNode{encryptionKey: keys[i], parentHash: above}
		t.set(steps[i].node, node{parent: p})
		above = t.parentHash(cs, p, steps[i].copath)
	}
	return above
}

// mergePath applies a received UpdatePath to the tree, 7.5. The leaf in it has
// been validated.
func (t *tree) mergePath(cs *cryptoSuite, leaf uint32, path *updatePath) ([]pathStep, error) {
	steps := t.filteredPath(leaf)
	if len(steps) != len(path.nodes) {
		return nil, refused("update path of %d nodes, want %d", len(path.nodes), len(steps))
	}
	var keys [][]byte
	for _, n := range path.nodes {
		if _, err := cs.kem.NewPublicKey(n.encryptionKey); err != nil {
			return nil, refused("public key in the update path")
		}
		keys = append(keys, n.encryptionKey)
	}
	if want := t.setPath(cs, leaf, steps, keys); !bytes.Equal(want, path.leaf.parentHash) {
		return nil, refused("parent hash of the committer's leaf")
	}
	t.set(leafNodeIndex(leaf), node{leaf: &path.leaf})
	return steps, nil
}

// receivers is the resolution of a copath node without the leaves that the same
// Commit adds, 7.5.
func (t *tree) receivers(copath nodeIndex, added []uint32) []nodeIndex {
	return slices.DeleteFunc(t.resolution(copath), func(x nodeIndex) bool {
		return isLeaf(x) && slices.Contains(added, x/2)
	})
}

// openPath decrypts the path secret meant for leaf own, puts the private keys it
// yields into privs, and returns the commit secret, 7.5.
func (t *tree) openPath(cs *cryptoSuite, own uint32, path *updatePath, steps []pathStep, added []uint32, privs map[nodeIndex][]byte, context []byte) ([]byte, error) {
	var secret []byte
	var from nodeIndex
	for i, step := range steps {
		to := t.receivers(step.copath, added)
		if len(to) != len(path.nodes[i].encrypted) {
			return nil, refused("node %d has %d path secrets, want %d", step.node, len(path.nodes[i].encrypted), len(to))
		}
		if !inSubtree(leafNodeIndex(own), step.copath) {
			continue
		}
		at := slices.IndexFunc(to, func(x nodeIndex) bool { return privs[x] != nil })
		if at < 0 {
			return nil, refused("no path secret for leaf %d", own)
		}
		var err error
		if secret, err = cs.open(privs[to[at]], "UpdatePathNode", context, path.nodes[i].encrypted[at]); err != nil {
			return nil, err
		}
		from = step.node
	}
	if secret == nil {
		return nil, refused("update path does not reach leaf %d", own)
	}
	return t.climb(cs, from, secret, privs)
}

// A freshPath is an UpdatePath in the making: the tree has it, nobody else yet.
type freshPath struct {
	steps   []pathStep
	secrets [][]byte // one for each step
	commit  []byte   // commit secret
	leaf    *leafNode
	privs   map[nodeIndex][]byte
}

// forget overwrites the path secrets, once they are sealed to all who get one.
func (f *freshPath) forget() {
	for _, s := range f.secrets {
		clear(s)
	}
}

// newPath draws new keys for a member's leaf and filtered path and puts them
// into the tree, 7.5. template gives the new leaf's unchanging contents.
func (t *tree) newPath(cs *cryptoSuite, own uint32, template leafNode, groupID []byte, sg Signer, random io.Reader) (*freshPath, error) {
	f := &freshPath{steps: t.filteredPath(own), leaf: &template, privs: make(map[nodeIndex][]byte)}
	secret, err := cs.random(random)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for _, step := range f.steps {
		priv, pub, err := cs.pathKey(secret)
		if err != nil {
			return nil, err
		}
		f.secrets, f.privs[step.node], keys = append(f.secrets, secret), priv, append(keys, pub)
		secret = cs.derive(secret, "path")
	}
	f.commit = secret
	if f.privs[leafNodeIndex(own)], template.encryptionKey, err = cs.freshKeyPair(random); err != nil {
		return nil, fmt.Errorf("make leaf key: %w", err)
	}
	template.source = sourceCommit
	template.parentHash = t.setPath(cs, own, f.steps, keys)
	if err := template.sign(sg, groupID, own); err != nil {
		return nil, err
	}
	t.set(leafNodeIndex(own), node{leaf: f.leaf})
	return f, nil
}

// seal encrypts the path secrets to the group, 7.6; context is the encoded
// provisional GroupContext.
func (f *freshPath) seal(cs *cryptoSuite, t *tree, added []uint32, context []byte) (*updatePath, error) {
	path := &updatePath{leaf: *f.leaf}
	for i, step := range f.steps {
		n := updatePathNode{encryptionKey: t.nodes[step.node].parent.encryptionKey}
		for _, x := range t.receivers(step.copath, added) {
			ct, err := cs.seal(t.nodes[x].key(), "UpdatePathNode", context, f.secrets[i])
			if err != nil {
				return nil, err
			}
			n.encrypted = append(n.encrypted, ct)
		}
		path.nodes = append(path.nodes, n)
	}
	return path, nil
}

// secretFor is the path secret that a new member gets: that of its lowest common
// ancestor with the committer, 12.4.3.1.
func (f *freshPath) secretFor(leaf uint32) []byte {
	for i, step := range f.steps {
		if inSubtree(leafNodeIndex(leaf), step.copath) {
			return f.secrets[i]
		}
	}
	return nil
}
