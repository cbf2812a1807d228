package mls

import "math/bits"

// Array-based trees, appendix C. A tree of n leaves, n a power of two, has
// nodes 0 to 2n-2; leaf i is node 2i.

type nodeIndex = uint32

// leavesMax bounds every tree, far below where an index could wrap.
const leavesMax = 1 << 24

func nodeCount(leaves uint32) uint32      { return 2*leaves - 1 }
func rootOf(leaves uint32) nodeIndex      { return leaves - 1 }
func leafNodeIndex(leaf uint32) nodeIndex { return 2 * leaf }
func isLeaf(x nodeIndex) bool             { return x&1 == 0 }

// level is the height of a node: 0 for a leaf.
func level(x nodeIndex) uint32 { return uint32(bits.TrailingZeros32(^x)) }

// left and right are the children of a parent node.
func left(x nodeIndex) nodeIndex  { return x ^ 1<<(level(x)-1) }
func right(x nodeIndex) nodeIndex { return x ^ 3<<(level(x)-1) }

// parentOf is the parent of a node that is not the root.
func parentOf(x nodeIndex) nodeIndex {
	k := level(x)
	return (x | 1<<k) &^ (1 << (k + 1))
}

// siblingOf is the other child of the node's parent.
func siblingOf(x nodeIndex) nodeIndex {
	p := parentOf(x)
	if x < p {
		return right(p)
	}
	return left(p)
}

// directPath lists the nodes above x, up to and with the root.
func directPath(x nodeIndex, leaves uint32) []nodeIndex {
	var path []nodeIndex
	for root := rootOf(leaves); x != root; {
		x = parentOf(x)
		path = append(path, x)
	}
	return path
}

// inSubtree says whether node x lies in the subtree under node top.
func inSubtree(x, top nodeIndex) bool {
	half := uint32(1)<<level(top) - 1
	return x >= top-half && x <= top+half
}

// commonAncestor is the lowest node above or at both leaves.
func commonAncestor(a, b uint32) nodeIndex {
	x, y := leafNodeIndex(a), leafNodeIndex(b)
	for !inSubtree(y, x) {
		x = parentOf(x)
	}
	return x
}
