package signals

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"relish/internal/parallel"
	served "relish/ranker/signals"
)

const (
	nextWindow   = 10  // interactions after an item that count as what came next
	jointWindow  = 50  // interactions before and after an item that count as joint
	maxNeighbors = 200 // neighbours that are kept for each item
)

// TrainCooccurrence counts which items users interacted with after each other and together.
func TrainCooccurrence(c *Corpus) *served.Cooccurrence {
	n := c.Items.Len()
	out := &served.Cooccurrence{
		Items: c.Items, Counts: make([]float32, n), First: make([]int32, n+1),
	}
	at := occurrences(c)
	for item := range n {
		out.Counts[item] = float32(len(at[item]))
	}
	rows := make([][]neighbor, n)
	counters := sync.Pool{New: func() any {
		return &pairCounter{next: make([]float32, n), joint: make([]float32, n)}
	}}
	parallel.Each(n, func(item int) {
		counter := counters.Get().(*pairCounter)
		rows[item] = counter.neighbors(c, int32(item), at[item], out.Counts)
		counters.Put(counter)
	})
	for item, row := range rows {
		for _, x := range row {
			out.Neighbors = append(out.Neighbors, x.item)
			out.NextCounts = append(out.NextCounts, x.next)
			out.JointCounts = append(out.JointCounts, x.joint)
		}
		out.First[item+1] = int32(len(out.Neighbors))
	}
	return out
}

// occurrence is the index of an interaction in a user's history.
type occurrence struct{ user, index int32 }

// occurrences returns the occurrences of each item.
func occurrences(c *Corpus) [][]occurrence {
	out := make([][]occurrence, c.Items.Len())
	for u := range c.Users {
		for i, x := range c.Users[u].Interactions {
			out[x.Item] = append(out[x.Item], occurrence{int32(u), int32(i)})
		}
	}
	return out
}

// neighbor is an item with its weighted counts.
type neighbor struct {
	item        int32
	next, joint float32
}

// pairCounter counts the pairs of one item at a time. All counts are 0 between two items.
type pairCounter struct {
	next, joint []float32 // by other item
	touched     []int32   // other items with a count
}

// neighbors returns the nearest neighbours of an item, nearest first.
func (p *pairCounter) neighbors(
	c *Corpus,
	item int32,
	at []occurrence,
	counts []float32,
) []neighbor {
	p.touched = p.touched[:0]
	for _, o := range at {
		history := c.Users[o.user].Interactions
		// Each pair of a long history says less (Breese, Heckerman and Kadie 1998).
		weight := float32(1 / math.Log2(1+float64(len(history))))
		first, end := max(
			0,
			int(o.index)-jointWindow,
		), min(
			len(history),
			int(o.index)+jointWindow+1,
		)
		for k := first; k < end; k++ {
			other := history[k].Item
			if other == item {
				continue
			}
			if p.joint[other] == 0 {
				p.touched = append(p.touched, other)
			}
			if distance := k - int(o.index); distance > 0 && distance <= nextWindow {
				p.next[other] += 1 / float32(distance)
			}
			p.joint[other] += weight
		}
	}
	row := make([]neighbor, len(p.touched))
	for i, other := range p.touched {
		row[i] = neighbor{other, p.next[other], p.joint[other]}
		p.next[other], p.joint[other] = 0, 0
	}
	similarity := func(x neighbor) float32 {
		return (x.next + x.joint) / float32(math.Sqrt(float64(counts[x.item])+5))
	}
	slices.SortFunc(row, func(a, b neighbor) int {
		return cmp.Or(cmp.Compare(similarity(b), similarity(a)), cmp.Compare(a.item, b.item))
	})
	return row[:min(len(row), maxNeighbors)]
}
