package match

import (
	"context"
	"math"

	"relish/ranker"
)

// Cooccurrence matches by which items users took together, each item's nearest neighbours being learned from the log:
//
//	cooccurrence.next  how often users went on from the history's items to the candidate, relative to how often they
//	                   had those items at all
//	cooccurrence.lift  the same, relative to the candidate's popularity too
//	cooccurrence.with  how often the candidate and the history's items were taken by the same users, in any order, as a
//	                   cosine
//	cooccurrence.max   the largest such cosine with any one item
//	cooccurrence.last  lift from the newest item alone
//
// Sums over the history are weighted by recency. A candidate that was never taken together with anything of the
// history has 0; columns are missing for a candidate or a history that the table does not know.
type Cooccurrence struct {
	Items     *ranker.ItemTable
	Counts    []float32 // by item: interactions
	First     []int32   // by item, and one more: where its neighbours start
	Neighbour []int32   // items
	Next      []float32 // aligned with Neighbour: how often it came after, decayed by the distance
	With      []float32 // how often the same users had both, decayed by the length of their histories
}

var _ Learned = (*Cooccurrence)(nil)

// KindCooccurrence is the kind of Cooccurrence's file.
const KindCooccurrence = "cooccurrence"

const (
	pairItems   = 50   // of the history
	nextDecay   = 0.8  // per place, for what comes next: the newest items say most
	withDecay   = 0.95 // per place, for what goes together: nearly the whole history says it
	pairSupport = 5    // added to counts in the denominators: a pair of two rare items proves little
)

var pairColumns = []string{"cooccurrence.next", "cooccurrence.lift", "cooccurrence.with", "cooccurrence.max", "cooccurrence.last"}

// Kind implements Learned.
func (*Cooccurrence) Kind() string { return KindCooccurrence }

// Columns implements ranker.Matcher.
func (*Cooccurrence) Columns() []string { return pairColumns }

// Match implements ranker.Matcher.
func (c *Cooccurrence) Match(_ context.Context, in *ranker.MatchInput, out []float32) error {
	clearMissing(out)
	n := in.Numbers(c.Items)
	history := knownItems(n.Recent, pairItems)
	if len(history) == 0 {
		return nil
	}
	w := len(pairColumns)
	rows := newSlots(n.Candidates)
	for i, item := range n.Candidates {
		if item >= 0 {
			clear(out[i*w : (i+1)*w])
		}
	}
	next, with := float32(1), float32(1)
	for k, h := range history {
		support := c.Counts[h] + pairSupport
		root := sqrt(support)
		for e := c.First[h]; e < c.First[h+1]; e++ {
			i := rows.find(c.Neighbour[e])
			if i < 0 {
				continue
			}
			popular := sqrt(c.Counts[c.Neighbour[e]] + pairSupport)
			lift, cosine := c.Next[e]/(root*popular), c.With[e]/(root*popular)
			row := out[int(i)*w:]
			row[0] += next * c.Next[e] / support
			row[1] += next * lift
			row[2] += with * cosine
			row[3] = max(row[3], cosine)
			if k == 0 {
				row[4] = lift
			}
		}
		next, with = next*nextDecay, with*withDecay
	}
	return nil
}

func sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) }

// Encode implements Learned.
func (c *Cooccurrence) Encode() []byte {
	w := newWriter(KindCooccurrence)
	w.texts(c.Items.IDs())
	w.floats(c.Counts)
	w.ints(c.Neighbour)
	w.ints(c.First)
	w.floats(c.Next)
	w.floats(c.With)
	return w.buf
}

func decodeCooccurrence(data []byte, shared *ranker.ItemTable) (Learned, *ranker.ItemTable, error) {
	r := newReader(KindCooccurrence, data)
	c := &Cooccurrence{Items: r.items(shared)}
	n := c.Items.Len()
	c.Counts = r.amounts(n, 0)
	c.Neighbour = r.ints(-1, 0, n)
	c.First = r.rows(n, len(c.Neighbour))
	c.Next = r.amounts(len(c.Neighbour), 0)
	c.With = r.amounts(len(c.Neighbour), 0)
	return c, c.Items, r.end()
}

// knownItems returns the first n different known items of a list, in its order.
func knownItems(list []int32, n int) []int32 {
	out := make([]int32, 0, min(n, len(list)))
next:
	for _, item := range list {
		if item < 0 {
			continue
		}
		for _, have := range out {
			if have == item {
				continue next
			}
		}
		if out = append(out, item); len(out) == n {
			break
		}
	}
	return out
}

// slots finds the row of a candidate by its number: a table of open addressing, at most a quarter full.
type slots struct {
	mask  uint32
	items []int32 // -1: free
	rows  []int32
}

func newSlots(candidates []int32) *slots {
	size := 16
	for size < 4*len(candidates) {
		size *= 2
	}
	s := &slots{mask: uint32(size - 1), items: make([]int32, size), rows: make([]int32, size)}
	for i := range s.items {
		s.items[i] = -1
	}
	for row, item := range candidates {
		if item < 0 {
			continue
		}
		at := uint32(item) * 2654435769 >> 7 & s.mask
		for s.items[at] >= 0 {
			at = (at + 1) & s.mask
		}
		s.items[at], s.rows[at] = item, int32(row)
	}
	return s
}

func (s *slots) find(item int32) int32 {
	for at := uint32(item) * 2654435769 >> 7 & s.mask; s.items[at] >= 0; at = (at + 1) & s.mask {
		if s.items[at] == item {
			return s.rows[at]
		}
	}
	return -1
}
