package scorer

import (
	"math"
	"slices"
	"sort"
)

// On processors with AVX-512 the steps of a program work on vectors. The scores have the same bits.
//
//  1. The cells of a column become ranks, the numbers of thresholds below them, which are bytes.
//     A condition is then a comparison of bytes, of all rows of a block at once. No masks are kept.
//  2. The leaf numbers of all rows are the bytes of one register. A node changes those of the rows
//     that are in its subtree and go left.
//  3. The values of 16 leaves are two registers, from which the leaf numbers select. So trees share
//     no tables.

// useVectors says whether blocks take the vector path. Tests change it.
var useVectors = hasVectors

// vectorTree is a tree for the vector path. Its leaves are numbered from right to left.
type vectorTree struct {
	nodes []vectorNode // parents before children, right subtrees before left ones
	// values are the leaf values by number. Zeros fill the last page.
	values []float64
}

// vectorNode sends rows of its subtree left. Its rows have the number first, that of the rightmost
// leaf below it, until they go left: then they get the number of the rightmost leaf there.
type vectorNode struct {
	ranks uint32 // where the ranks begin in vectorScratch.ranks, in bytes
	// A row goes left if its rank is at most limit. Each number is repeated in four bytes.
	limit, first, left uint32
}

const (
	// pageLeaves is the number of leaf values that two registers hold.
	pageLeaves = 16
	// pageKeys is the number of thresholds among which one search finds a rank. They are followed
	// by an infinity.
	pageKeys = 31
)

// rankPair is the ranks of a block's rows in a column. Missing values go right by the first ranks,
// left by the second.
type rankPair [2][blockRows]uint8

// vectorScratch is the memory for one block.
type vectorScratch struct {
	ranks  []rankPair // by threshold set, and then by category set
	cells  [blockRows]float32
	values [groupBatch][blockRows]float64 // by group
	scores [blockRows]float64
}

// vectorTree compiles a tree for the vector path. values are its leaf values from left to right.
func (c *compiler) vectorTree(t slicedTree, values []float64) (v vectorTree) {
	var walk func(slot uint8)
	walk = func(slot uint8) {
		if slot < maxSliced {
			v.values = append(v.values, values[slot])
			return
		}
		op, i := t.nodes[slot-maxSliced], len(v.nodes)
		v.nodes = append(v.nodes, c.vectorNode(int(op>>maskShift)))
		v.nodes[i].first = repeatByte(len(v.values))
		walk(uint8(op >> 8))
		v.nodes[i].left = repeatByte(len(v.values))
		walk(uint8(op))
	}
	walk(maxSliced)
	rest := -len(v.values) & (pageLeaves - 1)
	v.values = append(v.values, make([]float64, rest)...)
	return v
}

// vectorNode returns a node with the condition of a mask.
func (c *compiler) vectorNode(mask int) vectorNode {
	const size = uint32(len(rankPair{}) * blockRows)
	sets := c.thresholdSets
	if mask >= c.firstCategoryMask {
		return vectorNode{ranks: uint32(len(sets)+mask-c.firstCategoryMask) * size}
	}
	i := sort.Search(len(sets), func(i int) bool { return sets[i].firstMask > mask }) - 1
	if s := &sets[i]; s.firstMaskLeft < 0 || mask < s.firstMaskLeft {
		return vectorNode{ranks: uint32(i) * size, limit: repeatByte(mask - s.firstMask)}
	}
	limit := repeatByte(mask - sets[i].firstMaskLeft)
	return vectorNode{ranks: uint32(i)*size + blockRows, limit: limit}
}

// repeatByte returns four bytes of the given value.
func repeatByte(b int) uint32 { return uint32(b) * 0x01010101 }

// searchKeys returns the thresholds of the keys, in groups of pageKeys.
func searchKeys(keys []int32) (out []float32) {
	for page := range slices.Chunk(keys, pageKeys) {
		from := len(out)
		for _, k := range page {
			out = append(out, ofOrderedKey(k))
		}
		for len(out) < from+pageKeys+1 {
			out = append(out, float32(math.Inf(1)))
		}
	}
	return out
}

// vectorBlock is block on the vector path.
func (p *program) vectorBlock(s *vectorScratch, data []float32, columns int, out []float64) {
	sets := len(p.thresholdSets)
	for i := range p.thresholdSets {
		p.thresholdSets[i].rank(&s.ranks[i], &s.cells, data, columns)
	}
	for i := range p.categorySets {
		p.categorySets[i].rank(&s.ranks[sets+i], data, columns)
	}
	for i := range s.scores {
		s.scores[i] = p.constant
	}
	eights := (len(out) + 7) / 8
	for groups := p.groups; len(groups) > 0; {
		n := min(len(groups), groupBatch)
		for i := range groups[:n] {
			trees := groups[i].trees
			for k := range trees {
				evaluateTree(&trees[k].vector, &s.ranks[0], eights, k > 0, &s.values[i])
			}
		}
		if n == groupBatch {
			addBatch(&s.values, &s.scores, eights)
		} else {
			for i := range n {
				for row := range s.scores {
					s.scores[row] += s.values[i][row]
				}
			}
		}
		groups = groups[n:]
	}
	copy(out, s.scores[:])
}

// rank writes the ranks of a column's cells. cells is memory.
func (t *thresholdSet) rank(
	ranks *rankPair, cells *[blockRows]float32, data []float32, columns int,
) {
	row := uint(0)
	for at := t.column; at < len(data); at += columns {
		cells[row%blockRows] = data[at]
		row++
	}
	if t.missing != missingNaN {
		for i, x := range cells {
			switch {
			case t.missing == missingNone && x != x:
				cells[i] = 0
			case t.missing == missingZero && x >= -zeroThreshold && x <= zeroThreshold:
				cells[i] = float32(math.NaN())
			}
		}
	}
	rankCells(cells, &t.thresholds[0], len(t.thresholds), (row+15)/16, ranks)
}

// rank writes 0 for rows of which the category is in the set, else 1.
func (s *categorySet) rank(ranks *rankPair, data []float32, columns int) {
	row := uint(0)
	for at := s.column; at < len(data); at += columns {
		ranks[0][row%blockRows] = 1
		if inCategorySet(s.bits, data[at]) {
			ranks[0][row%blockRows] = 0
		}
		row++
	}
}
