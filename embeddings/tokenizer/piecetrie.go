package tokenizer

import (
	"bytes"
	"maps"
	"slices"
)

// pieceTrie is an immutable trie of pieces. It finds all pieces that a text begins with in one
// walk. A node is a number. The children of node n are the nodes from first[n] to first[n+1].
type pieceTrie struct {
	first  []uint32
	labels []byte  // by node: the byte that leads to it
	ids    []int32 // by node: the id of the piece that ends there, -1 without one
}

// trieRange is a node that has no children yet: the sorted pieces from lo to hi share the first
// depth bytes.
type trieRange struct{ lo, hi, depth int }

// newPieceTrie returns a trie of the pieces. The empty piece is left out.
func newPieceTrie(ids map[string]int32) *pieceTrie {
	pieces := slices.Sorted(maps.Keys(ids))
	t := &pieceTrie{labels: []byte{0}, ids: []int32{-1}}
	queue := []trieRange{{0, len(pieces), 0}}
	for n := 0; n < len(queue); n++ {
		r := queue[n]
		t.first = append(t.first, uint32(len(queue)))
		if r.lo < r.hi && len(pieces[r.lo]) == r.depth { // the shortest sorts first
			if r.depth > 0 {
				t.ids[n] = ids[pieces[r.lo]]
			}
			r.lo++
		}
		for r.lo < r.hi {
			label, hi := pieces[r.lo][r.depth], r.lo
			for hi < r.hi && pieces[hi][r.depth] == label {
				hi++
			}
			t.labels, t.ids = append(t.labels, label), append(t.ids, -1)
			queue = append(queue, trieRange{r.lo, hi, r.depth + 1})
			r.lo = hi
		}
	}
	t.first = append(t.first, uint32(len(queue)))
	return t
}

// child returns the child of a node by a byte, 0 without one.
func (t *pieceTrie) child(node uint32, label byte) uint32 {
	first := t.first[node]
	i := bytes.IndexByte(t.labels[first:t.first[node+1]], label)
	if i < 0 {
		return 0
	}
	return first + uint32(i)
}
