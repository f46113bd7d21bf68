package signals

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
	Items       *ranker.ItemTable
	Counts      []float32 // by item: interactions
	First       []int32   // by item, and one more: where its neighbours start
	Neighbors   []int32   // items
	NextCounts  []float32 // aligned with Neighbour: how often it came after, decayed by the distance
	JointCounts []float32 // how often the same users had both, decayed by the length of their histories
}

var _ TrainedSignal = (*Cooccurrence)(nil)

// KindCooccurrence is the kind of Cooccurrence's file.
const KindCooccurrence = "cooccurrence"

const (
	maxCooccurrenceHistory = 50   // of the history
	nextDecay              = 0.8  // per place, for what comes next: the newest items say most
	jointDecay             = 0.95 // per place, for what goes together: nearly the whole history says it
	supportSmoothing       = 5    // added to counts in the denominators: a pair of two rare items proves little
)

var cooccurrenceColumns = []string{"cooccurrence.next", "cooccurrence.lift", "cooccurrence.with", "cooccurrence.max", "cooccurrence.last"}

// Kind implements Learned.
func (*Cooccurrence) Kind() string { return KindCooccurrence }

// Columns implements ranker.Matcher.
func (*Cooccurrence) Columns() []string { return cooccurrenceColumns }

// Compute implements ranker.Matcher.
func (c *Cooccurrence) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	fillMissing(out)
	n := in.ItemIndices(c.Items)
	history := distinctItems(n.Recent, maxCooccurrenceHistory)
	if len(history) == 0 {
		return nil
	}
	w := len(cooccurrenceColumns)
	rows := newCandidateRows(n.Candidates)
	for i, item := range n.Candidates {
		if item >= 0 {
			clear(out[i*w : (i+1)*w])
		}
	}
	next, with := float32(1), float32(1)
	for k, h := range history {
		support := c.Counts[h] + supportSmoothing
		root := sqrt32(support)
		for e := c.First[h]; e < c.First[h+1]; e++ {
			i := rows.row(c.Neighbors[e])
			if i < 0 {
				continue
			}
			popular := sqrt32(c.Counts[c.Neighbors[e]] + supportSmoothing)
			lift, cosine := c.NextCounts[e]/(root*popular), c.JointCounts[e]/(root*popular)
			row := out[int(i)*w:]
			row[0] += next * c.NextCounts[e] / support
			row[1] += next * lift
			row[2] += with * cosine
			row[3] = max(row[3], cosine)
			if k == 0 {
				row[4] = lift
			}
		}
		next, with = next*nextDecay, with*jointDecay
	}
	return nil
}

func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }

// Encode implements Learned.
func (c *Cooccurrence) Encode() []byte {
	w := newFileWriter(KindCooccurrence)
	w.strings(c.Items.IDs())
	w.floats(c.Counts)
	w.ints(c.Neighbors)
	w.ints(c.First)
	w.floats(c.NextCounts)
	w.floats(c.JointCounts)
	return w.buf
}

func decodeCooccurrence(data []byte, shared *ranker.ItemTable) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindCooccurrence, data)
	c := &Cooccurrence{Items: r.items(shared)}
	n := c.Items.Len()
	c.Counts = r.boundedFloats(n, 0)
	c.Neighbors = r.ints(-1, 0, n)
	c.First = r.rowOffsets(n, len(c.Neighbors))
	c.NextCounts = r.boundedFloats(len(c.Neighbors), 0)
	c.JointCounts = r.boundedFloats(len(c.Neighbors), 0)
	return c, c.Items, r.end()
}

// distinctItems returns the first n different known items of a list, in its order.
func distinctItems(list []int32, n int) []int32 {
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

// candidateRows finds the row of a candidate by its number: a table of open addressing, at most a quarter full.
type candidateRows struct {
	mask  uint32
	items []int32 // -1: free
	rows  []int32
}

func newCandidateRows(candidates []int32) *candidateRows {
	size := 16
	for size < 4*len(candidates) {
		size *= 2
	}
	s := &candidateRows{mask: uint32(size - 1), items: make([]int32, size), rows: make([]int32, size)}
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

func (s *candidateRows) row(item int32) int32 {
	for at := uint32(item) * 2654435769 >> 7 & s.mask; s.items[at] >= 0; at = (at + 1) & s.mask {
		if s.items[at] == item {
			return s.rows[at]
		}
	}
	return -1
}
