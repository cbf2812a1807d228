package sealpost

// Merkle trees of RFC 9162 2.1 over a few leaves: the field root and the
// promise group. (The log's own tree is the log's business.)

// merkleLeaf is HASH(0x00 || d).
func merkleLeaf(alg HashAlg, d []byte) []byte {
	h := alg.new()
	h.Write([]byte{0})
	h.Write(d)
	return h.Sum(nil)
}

// merkleNode is HASH(0x01 || left || right).
func merkleNode(alg HashAlg, left, right []byte) []byte {
	h := alg.new()
	h.Write([]byte{1})
	h.Write(left)
	h.Write(right)
	return h.Sum(nil)
}

// merkleRoot is MTH of at least one entry.
func merkleRoot(alg HashAlg, entries [][]byte) []byte {
	level := make([][]byte, len(entries))
	for i, e := range entries {
		level[i] = merkleLeaf(alg, e)
	}
	for len(level) > 1 {
		level = merkleUp(alg, level)
	}
	return level[0]
}

// merkleUp hashes a level in pairs; a last single node moves up as it is,
// which for every size gives the tree of RFC 9162 2.1.1.
func merkleUp(alg HashAlg, level [][]byte) [][]byte {
	up := level[:0:0]
	for i := 0; i+1 < len(level); i += 2 {
		up = append(up, merkleNode(alg, level[i], level[i+1]))
	}
	if len(level)%2 == 1 {
		up = append(up, level[len(level)-1])
	}
	return up
}
