package scorer

import (
	"encoding/binary"
	"math"
)

const (
	blockRows  = 64 // bits of a mask
	groupBatch = 8  // groups whose tables are summed in one pass over the rows
)

// scratch is the memory that scoring one block needs.
type scratch struct {
	masks  []uint64
	slots  [2 * maxSliced]uint64 // rows at each leaf and node of a tree
	planes [8]uint64             // bits of the leaf numbers
	leaves [groupBatch][blockRows]uint8

	vectors vectorScratch
}

func (p *program) newScratch() *scratch {
	s := &scratch{masks: make([]uint64, p.masks)}
	s.vectors.ranks = make([]rankPair, len(p.thresholdSets)+len(p.categorySets))
	return s
}

// Some functions below are kept from being inlined: their loops would run out of registers.

// score writes the sums of the sliced trees for len(out) rows of the given width.
func (p *program) score(s *scratch, data []float32, columns int, out []float64) {
	for len(out) > 0 {
		n := min(len(out), blockRows)
		if useVectors {
			p.vectorBlock(&s.vectors, data[:n*columns], columns, out[:n])
		} else {
			p.block(s, data[:n*columns], columns, out[:n])
		}
		data, out = data[n*columns:], out[n:]
	}
}

// block scores at most blockRows rows.
func (p *program) block(s *scratch, data []float32, columns int, out []float64) {
	for i := range p.thresholdSets {
		p.thresholdSets[i].evaluate(s.masks, data, columns)
	}
	for i := range p.categorySets {
		p.categorySets[i].evaluate(s.masks, data, columns)
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

// evaluate writes the masks of the set's thresholds.
func (t *thresholdSet) evaluate(masks []uint64, data []float32, columns int) {
	var keys [blockRows]int32
	rows, special := readKeys(&keys, data[t.column:], columns)
	missing := uint64(0)
	if special || t.missing == missingZero {
		missing = t.fixMissing(keys[:rows], data[t.column:], columns)
	}
	right := masks[t.firstMask : t.firstMask+t.count+1]
	clear(right)
	t.place(right, keys[:rows])
	atMost := uint64(0)
	for i, m := range right {
		atMost |= m
		right[i] = atMost
	}
	if t.firstMaskLeft >= 0 {
		left := masks[t.firstMaskLeft : t.firstMaskLeft+t.count]
		for i, m := range right[:len(left)] {
			left[i] = m | missing
		}
	}
}

// readKeys writes the keys of every columns-th cell, from the first on, at most blockRows of them.
// It reports whether a NaN or an infinity is among them.
//
//go:noinline
func readKeys(keys *[blockRows]int32, cells []float32, columns int) (rows uint, special bool) {
	seen := int32(0)
	for at := 0; at < len(cells); at += columns {
		b := int32(math.Float32bits(cells[at]))
		keys[rows%blockRows] = b ^ b>>31&math.MaxInt32
		seen |= b&math.MaxInt32 + 1<<23 // overflows to the sign bit if the exponent is all ones
		rows++
	}
	return rows, seen < 0
}

// fixMissing corrects the keys of missing values and returns the mask of their rows.
func (t *thresholdSet) fixMissing(keys []int32, cells []float32, columns int) (missing uint64) {
	for row := range keys {
		x := cells[row*columns]
		switch {
		case x != x && t.missing == missingNone:
			keys[row] = 0
		case x != x, t.missing == missingZero && x >= -zeroThreshold && x <= zeroThreshold:
			keys[row] = largestKey
			missing |= 1 << row
		}
	}
	return missing
}

// place sets each row's bit in the mask whose index is the number of thresholds below the row's
// key. The key's first bits say where to begin, and the rest of the search does not branch on the
// data.
//
//go:noinline
func (t *thresholdSet) place(masks []uint64, keys []int32) {
	thresholds, begin, first := t.keys, t.begin, t.half
	bit := uint64(1)
	for _, key := range keys {
		k := int64(key)
		at := uint(begin[uint32(key)>>beginShift])
		for half := first; half > 0; half /= 2 {
			at += half & uint((int64(thresholds[(at+half)%uint(len(thresholds))])-k)>>63)
		}
		masks[at] |= bit
		bit <<= 1
	}
}

// evaluate writes the set's mask.
func (s *categorySet) evaluate(masks []uint64, data []float32, columns int) {
	mask := uint64(0)
	for bit, at := uint64(1), s.column; at < len(data); bit, at = bit<<1, at+columns {
		if inCategorySet(s.bits, data[at]) {
			mask |= bit
		}
	}
	masks[s.mask] = mask
}

// walk writes each row's leaf number, of all the group's trees together.
func (s *scratch) walk(g *group, leaves *[blockRows]uint8) {
	planes := s.planes[:0]
	for i := range g.trees {
		t := &g.trees[i]
		s.descend(t.nodes)
		planes = leafBits(s.slots[:len(t.nodes)+1], t.width/2, planes)
	}
	spreadBits(planes, leaves)
}

// descend leaves in each leaf's slot the rows that end there.
//
//go:noinline
func (s *scratch) descend(nodes []nodeOp) {
	slots, masks := &s.slots, s.masks
	slots[maxSliced] = math.MaxUint64
	at := uint8(maxSliced)
	for _, n := range nodes {
		here := slots[at]
		at++
		left := here & masks[n>>maskShift]
		slots[uint8(n)] = left
		slots[uint8(n>>8)] = here ^ left
	}
}

// leafBits appends the bits of the leaf numbers to planes, the highest first. The highest bit is
// set for the rows in the upper half of the leaves. OR-ing the upper half onto the lower one leaves
// the other bits. half is half of the tree's width.
func leafBits(leaves []uint64, half int, planes []uint64) []uint64 {
	for ; half > 0; half /= 2 {
		upper := leaves[half:]
		leaves = leaves[:half]
		lower := leaves[:len(upper)]
		bit := uint64(0)
		for i, u := range upper {
			bit |= u
			lower[i] |= u
		}
		planes = append(planes, bit)
	}
	return planes
}

// spreadBits turns bits by plane into one byte for each row.
func spreadBits(planes []uint64, leaves *[blockRows]uint8) {
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

// sum adds the leaf values of at most groupBatch groups to the rows' scores.
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
		out[row] += ((t[0][leaves[0][r]] + t[1][leaves[1][r]]) +
			(t[2][leaves[2][r]] + t[3][leaves[3][r]])) +
			((t[4][leaves[4][r]] + t[5][leaves[5][r]]) +
				(t[6][leaves[6][r]] + t[7][leaves[7][r]]))
	}
}
