package blend

import (
	"encoding/binary"
	"math"
)

const (
	blockRows = 64 // bits of a word
	batch     = 8  // groups whose tables are added up in one pass over the rows
)

// scratch is what scoring one block needs.
type scratch struct {
	answers []uint64
	slots   [2 * maxSliced]uint64
	planes  [8]uint64
	leaves  [batch][blockRows]uint8
}

// score writes the sliced trees' sums for rows of the given width.
func (p *program) score(s *scratch, data []float32, columns int, out []float64) {
	for len(out) > 0 {
		n := min(len(out), blockRows)
		p.block(s, data[:n*columns], columns, out[:n])
		data, out = data[n*columns:], out[n:]
	}
}

func (p *program) block(s *scratch, data []float32, columns int, out []float64) {
	for i := range p.numeric {
		p.numeric[i].answer(s.answers, data, columns)
	}
	for i := range p.sets {
		p.sets[i].answer(s.answers, data, columns)
	}
	for i := range out {
		out[i] = p.constant
	}
	for groups := p.groups; len(groups) > 0; {
		n := min(len(groups), batch)
		for i := range groups[:n] {
			s.walk(&groups[i], &s.leaves[i])
		}
		p.sum(groups[:n], &s.leaves, out)
		groups = groups[n:]
	}
}

// answer writes the words of a column.
func (n *numeric) answer(answers []uint64, data []float32, columns int) {
	marks := answers[n.first : n.first+n.count+1]
	clear(marks)
	missing := uint64(0)
	keys := n.keys
	for bit, at := uint64(1), n.column; at < len(data); bit, at = bit<<1, at+columns {
		x := data[at]
		k := key(x)
		if x != x || n.missing == missingZero && x >= -tiny && x <= tiny {
			k = 0
			if n.missing != missingNone {
				k = largestKey
				missing |= bit
			}
		}
		// The place is the number of keys below k, found without a branch on the data.
		place := 0
		for half := (len(keys) + 1) / 2; half > 0; half /= 2 {
			below := int(int64(keys[place+half-1])-int64(k)) >> 63
			place += half & below
		}
		marks[place] |= bit
	}
	above := uint64(0)
	for i, m := range marks {
		above |= m
		marks[i] = above
	}
	if n.left >= 0 {
		left := answers[n.left : n.left+n.count]
		for i := range left {
			left[i] = marks[i] | missing
		}
	}
}

func (s *set) answer(answers []uint64, data []float32, columns int) {
	word := uint64(0)
	for bit, at := uint64(1), s.column; at < len(data); bit, at = bit<<1, at+columns {
		if holds(s.bits, data[at]) {
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
		w := &s.slots
		w[maxSliced] = math.MaxUint64
		for i, n := range t.nodes {
			here, yes := w[uint8(maxSliced+i)], s.answers[n.answer]
			w[n.left] = here & yes
			w[n.right] = here &^ yes
		}
		clear(w[len(t.nodes)+1 : t.width])
		// A leaf number's lowest bit is set in the odd leaves. Joining the leaves in pairs halves them, and
		// the next bit is the lowest.
		for half := t.width / 2; half > 0; half /= 2 {
			odd := uint64(0)
			for i := range half {
				a, b := w[2*i], w[2*i+1]
				odd |= b
				w[i] = a | b
			}
			planes = append(planes, odd)
		}
	}
	for i := 0; i < blockRows; i += 8 {
		bytes := uint64(0)
		for k := len(planes) - 1; k >= 0; k-- {
			bytes = bytes<<1 | spread[uint8(planes[k]>>i)]
		}
		binary.LittleEndian.PutUint64(leaves[i:], bytes)
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
func (p *program) sum(groups []group, leaves *[batch][blockRows]uint8, out []float64) {
	var t [batch]*[256]float64
	for i := range groups {
		t[i] = (*[256]float64)(p.tables[groups[i].table:])
	}
	if len(groups) < batch {
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
