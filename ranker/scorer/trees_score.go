package scorer

import (
	"encoding/binary"
	"math"
)

const (
	blockRows  = 64 // bits of a word
	groupBatch = 8  // groups whose tables are added up in one pass over the rows
)

// scratch is what scoring one block needs.
type scratch struct {
	answers []uint64
	slots   [2 * maxSliced]uint64
	planes  [8]uint64
	leaves  [groupBatch][blockRows]uint8
}

// The loops that matter stand in functions that are not inlined: inlined, they run out of registers.

// score writes the sliced trees' sums for rows of the given width.
func (p *program) score(s *scratch, data []float32, columns int, out []float64) {
	for len(out) > 0 {
		n := min(len(out), blockRows)
		p.block(s, data[:n*columns], columns, out[:n])
		data, out = data[n*columns:], out[n:]
	}
}

func (p *program) block(s *scratch, data []float32, columns int, out []float64) {
	for i := range p.thresholdSets {
		p.thresholdSets[i].answer(s.answers, data, columns)
	}
	for i := range p.categorySets {
		p.categorySets[i].answer(s.answers, data, columns)
	}
	for i := range out {
		out[i] = p.constant
	}
	for groups := p.groups; len(groups) > 0; {
		n := min(len(groups), groupBatch)
		for i := range groups[:n] {
			s.walk(&groups[i], &s.leaves[i])
		}
		p.sum(groups[:n], &s.leaves, out)
		groups = groups[n:]
	}
}

// answer writes the words of a column.
func (n *thresholdSet) answer(answers []uint64, data []float32, columns int) {
	var keys [blockRows]int32
	rows, odd := read(&keys, data[n.column:], columns)
	missing := uint64(0)
	if odd || n.missing == missingZero {
		missing = n.special(keys[:rows], data[n.column:], columns)
	}
	marks := answers[n.first : n.first+n.count+1]
	clear(marks)
	n.place(marks, keys[:rows])
	above := uint64(0)
	for i, m := range marks {
		above |= m
		marks[i] = above
	}
	if n.left >= 0 {
		left := answers[n.left : n.left+n.count]
		for i, m := range marks[:len(left)] {
			left[i] = m | missing
		}
	}
}

// read writes the keys of every columns-th cell from the first, at most blockRows of them, and reports
// whether a NaN or an infinity is among them.
//
//go:noinline
func read(keys *[blockRows]int32, cells []float32, columns int) (rows uint, odd bool) {
	seen := int32(0)
	for at := 0; at < len(cells); at += columns {
		b := int32(math.Float32bits(cells[at]))
		keys[rows%blockRows] = b ^ b>>31&math.MaxInt32
		seen |= b&math.MaxInt32 + 1<<23 // overflows to the sign bit if the exponent is all ones
		rows++
	}
	return rows, seen < 0
}

// special corrects the keys of missing values and returns a bit for each.
func (n *thresholdSet) special(keys []int32, cells []float32, columns int) (missing uint64) {
	for row := range keys {
		x := cells[row*columns]
		switch {
		case x != x && n.missing == missingNone:
			keys[row] = 0
		case x != x, n.missing == missingZero && x >= -zeroThreshold && x <= zeroThreshold:
			keys[row] = largestKey
			missing |= 1 << row
		}
	}
	return missing
}

// place marks each row at the number of thresholds below its key. The key's first bits say where to begin,
// and the rest of the search does not branch on the data.
//
//go:noinline
func (n *thresholdSet) place(marks []uint64, keys []int32) {
	thresholds, begin, first := n.keys, n.begin, n.half
	bit := uint64(1)
	for _, key := range keys {
		k := int64(key)
		at := uint(begin[uint32(key)>>beginShift])
		for half := first; half > 0; half /= 2 {
			at += half & uint((int64(thresholds[(at+half)%uint(len(thresholds))])-k)>>63)
		}
		marks[at] |= bit
		bit <<= 1
	}
}

func (s *categorySet) answer(answers []uint64, data []float32, columns int) {
	word := uint64(0)
	for bit, at := uint64(1), s.column; at < len(data); bit, at = bit<<1, at+columns {
		if inCategorySet(s.bits, data[at]) {
			word |= bit
		}
	}
	answers[s.first] = word
}

// walk writes each row's leaf number, of all the group's trees together.
func (s *scratch) walk(g *group, leaves *[blockRows]uint8) {
	planes := s.planes[:0]
	for i := range g.trees {
		t := &g.trees[i]
		s.descend(t.nodes)
		planes = fold(s.slots[:len(t.nodes)+1], t.width/2, planes)
	}
	number(planes, leaves)
}

// descend leaves in each leaf's slot the rows that end there.
//
//go:noinline
func (s *scratch) descend(nodes []nodeOp) {
	w, answers := &s.slots, s.answers
	w[maxSliced] = math.MaxUint64
	at := uint8(maxSliced)
	for _, n := range nodes {
		here := w[at]
		at++
		left := here & answers[n>>answerShift]
		w[uint8(n)] = left
		w[uint8(n>>8)] = here ^ left
	}
}

// fold appends the bits of the leaf numbers, the highest first: it is set in the upper part of the leaves,
// which has at most half a table's width. Laying it over the lower part leaves the other bits.
func fold(leaves []uint64, half int, planes []uint64) []uint64 {
	for ; half > 0; half /= 2 {
		high := leaves[half:]
		leaves = leaves[:half]
		low := leaves[:len(high)]
		bit := uint64(0)
		for i, h := range high {
			bit |= h
			low[i] |= h
		}
		planes = append(planes, bit)
	}
	return planes
}

// number spreads the bits to a byte a row.
func number(planes []uint64, leaves *[blockRows]uint8) {
	var b0, b1, b2, b3, b4, b5, b6, b7 uint64
	for _, p := range planes {
		b0 = b0<<1 | spread[uint8(p)]
		b1 = b1<<1 | spread[uint8(p>>8)]
		b2 = b2<<1 | spread[uint8(p>>16)]
		b3 = b3<<1 | spread[uint8(p>>24)]
		b4 = b4<<1 | spread[uint8(p>>32)]
		b5 = b5<<1 | spread[uint8(p>>40)]
		b6 = b6<<1 | spread[uint8(p>>48)]
		b7 = b7<<1 | spread[uint8(p>>56)]
	}
	for i, b := range [...]uint64{b0, b1, b2, b3, b4, b5, b6, b7} {
		binary.LittleEndian.PutUint64(leaves[8*i:], b)
	}
}

// spread[b] has bit i of b in byte i.
var spread = func() (s [256]uint64) {
	for b := range s {
		for i := range 8 {
			s[b] |= uint64(b>>i&1) << (8 * i)
		}
	}
	return s
}()

// sum adds the leaves of at most batch groups to the rows' scores.
func (p *program) sum(groups []group, leaves *[groupBatch][blockRows]uint8, out []float64) {
	var t [groupBatch]*[256]float64
	for i := range groups {
		t[i] = (*[256]float64)(p.tables[groups[i].table:])
	}
	if len(groups) < groupBatch {
		for i := range groups {
			for row := range out {
				out[row] += t[i][leaves[i][row%blockRows]]
			}
		}
		return
	}
	for row := range out {
		r := row % blockRows
		out[row] += ((t[0][leaves[0][r]] + t[1][leaves[1][r]]) + (t[2][leaves[2][r]] + t[3][leaves[3][r]])) +
			((t[4][leaves[4][r]] + t[5][leaves[5][r]]) + (t[6][leaves[6][r]] + t[7][leaves[7][r]]))
	}
}
