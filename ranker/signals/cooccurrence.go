package signals

import (
	"context"

	"relish/ranker"
)

// Cooccurrence compares by the items that the same users interacted with. Each item's neighbors are
// learned from the log:
//
//	cooccurrence.next  how often users went from the history's items to the candidate, relative to
//	                   how often they had those items
//	cooccurrence.lift  the same, also relative to the candidate's popularity
//	cooccurrence.with  how often the same users had the candidate and the history's items, in any
//	                   order, as a cosine
//	cooccurrence.max   the largest such cosine with one item of the history
//	cooccurrence.last  lift of the newest item alone
//
// Sums over the history are weighted by recency. A candidate that never occurred together with an
// item of the history has 0. The columns are missing for an unknown candidate, and if the history
// has no known item. Cooccurrence is read-only once built and safe for concurrent use.
type Cooccurrence struct {
	Items  *ranker.ItemTable
	Counts []float32 // by item: interactions
	// First is where each item's neighbors begin in the following lists, and one more: their end.
	First       []int32
	Neighbors   []int32   // items
	NextCounts  []float32 // how often the neighbor came after the item, decayed by the distance
	JointCounts []float32 // how often the same users had both, decayed by their history's length

	roots []float32 // by item: see root; nil if it was not read from a file
}

var _ TrainedSignal = (*Cooccurrence)(nil)

// KindCooccurrence is the kind of Cooccurrence in bundles.
const KindCooccurrence = "cooccurrence"

const (
	maxCooccurrenceHistory = 50
	nextDecay              = 0.8  // by position, for next and lift: the newest items say most
	jointDecay             = 0.95 // by position, for with: nearly the whole history counts
	// supportSmoothing is added to counts in denominators, because a pair of rare items proves
	// little.
	supportSmoothing = 5
)

var cooccurrenceColumns = []string{
	"cooccurrence.next", "cooccurrence.lift", "cooccurrence.with", "cooccurrence.max",
	"cooccurrence.last",
}

// Kind implements TrainedSignal.
func (*Cooccurrence) Kind() string { return KindCooccurrence }

// Columns implements ranker.Signal.
func (*Cooccurrence) Columns() []string { return cooccurrenceColumns }

// InMemory implements ranker.InMemory.
func (*Cooccurrence) InMemory() bool { return true }

// Compute implements ranker.Signal.
func (c *Cooccurrence) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	fillMissing(out)
	indices := in.ItemIndices(c.Items)
	history := distinctItems(indices.Recent, maxCooccurrenceHistory)
	if len(history) == 0 {
		return nil
	}
	w := len(cooccurrenceColumns)
	rows := newCandidateRows(indices.Candidates)
	for i, item := range indices.Candidates {
		if item >= 0 {
			clear(out[i*w : (i+1)*w])
		}
	}
	nextWeight, jointWeight := float32(1), float32(1)
	for k, h := range history {
		support, root := c.Counts[h]+supportSmoothing, c.root(h)
		for e := c.First[h]; e < c.First[h+1]; e++ {
			i := rows.row(c.Neighbors[e])
			if i < 0 {
				continue
			}
			roots := root * c.root(c.Neighbors[e])
			lift, cosine := c.NextCounts[e]/roots, c.JointCounts[e]/roots
			row := out[int(i)*w:]
			row[0] += nextWeight * c.NextCounts[e] / support
			row[1] += nextWeight * lift
			row[2] += jointWeight * cosine
			row[3] = max(row[3], cosine)
			if k == 0 {
				row[4] = lift
			}
		}
		nextWeight, jointWeight = nextWeight*nextDecay, jointWeight*jointDecay
	}
	return nil
}

// root returns the square root of an item's smoothed count.
func (c *Cooccurrence) root(item int32) float32 {
	if c.roots != nil {
		return c.roots[item]
	}
	return sqrt32(c.Counts[item] + supportSmoothing)
}

// Encode implements TrainedSignal.
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

func decodeCooccurrence(
	data []byte, shared *ranker.ItemTable,
) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindCooccurrence, data)
	c := &Cooccurrence{Items: r.items(shared)}
	n := c.Items.Len()
	c.Counts = r.boundedFloats(n, 0)
	c.Neighbors = r.ints(-1, 0, n)
	c.First = r.rowOffsets(n, len(c.Neighbors))
	c.NextCounts = r.boundedFloats(len(c.Neighbors), 0)
	c.JointCounts = r.boundedFloats(len(c.Neighbors), 0)
	if r.err == nil {
		roots := make([]float32, n)
		for i := range roots {
			roots[i] = c.root(int32(i))
		}
		c.roots = roots
	}
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

// candidateRows finds the row of a candidate by its item index. It is a hash table with open
// addressing that is at most a quarter full.
type candidateRows struct {
	mask  uint32
	items []int32 // -1: the slot is free
	rows  []int32
}

func newCandidateRows(candidates []int32) *candidateRows {
	size := 16
	for size < 4*len(candidates) {
		size *= 2
	}
	c := &candidateRows{
		mask:  uint32(size - 1),
		items: make([]int32, size),
		rows:  make([]int32, size),
	}
	for i := range c.items {
		c.items[i] = -1
	}
	for row, item := range candidates {
		if item < 0 {
			continue
		}
		at := c.slot(item)
		for c.items[at] >= 0 {
			at = (at + 1) & c.mask
		}
		c.items[at], c.rows[at] = item, int32(row)
	}
	return c
}

// slot returns where the search for an item begins (Fibonacci hashing).
func (c *candidateRows) slot(item int32) uint32 { return uint32(item) * 2654435769 >> 7 & c.mask }

// row returns the item's row, -1 if it is no candidate.
func (c *candidateRows) row(item int32) int32 {
	for at := c.slot(item); c.items[at] >= 0; at = (at + 1) & c.mask {
		if c.items[at] == item {
			return c.rows[at]
		}
	}
	return -1
}
