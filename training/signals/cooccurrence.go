package signals

import (
	"cmp"
	"math"
	"runtime"
	"slices"

	"relish/ranker/signals"
)

// Of co-occurrence.
const (
	nextWindow    = 10  // places after an item that still count as what came next
	withWindow    = 50  // places around an item that count as taken together
	maxNeighbours = 200 // kept per item
)

// TrainCooccurrence counts which items users took after each other and together.
func TrainCooccurrence(c *Corpus) *signals.Cooccurrence {
	n := c.Items.Len()
	out := &signals.Cooccurrence{Items: c.Items, Counts: make([]float32, n), First: make([]int32, n+1)}
	at := occurrences(c)
	for item := range n {
		out.Counts[item] = float32(len(at[item]))
	}
	rows := make([][]neighbour, n)
	workers := make([]*pairCounter, runtime.GOMAXPROCS(0))
	parallel(n, func(worker, item int) {
		if workers[worker] == nil {
			workers[worker] = &pairCounter{next: make([]float32, n), with: make([]float32, n)}
		}
		rows[item] = workers[worker].row(c, int32(item), at[item], out.Counts)
	})
	for item, row := range rows {
		for _, p := range row {
			out.Neighbors, out.NextCounts, out.JointCounts = append(out.Neighbors, p.item), append(out.NextCounts, p.next), append(out.JointCounts, p.with)
		}
		out.First[item+1] = int32(len(out.Neighbors))
	}
	return out
}

// occurrence is where an item stands in a user's history.
type occurrence struct{ user, index int32 }

func occurrences(c *Corpus) [][]occurrence {
	out := make([][]occurrence, c.Items.Len())
	for u := range c.Users {
		for s, step := range c.Users[u].Interactions {
			out[step.Item] = append(out[step.Item], occurrence{int32(u), int32(s)})
		}
	}
	return out
}

type neighbour struct {
	item       int32
	next, with float32
}

// pairCounter is one worker's scratch.
type pairCounter struct {
	next, with []float32
	touched    []int32
}

// row returns the nearest neighbours of an item.
func (p *pairCounter) row(c *Corpus, item int32, at []occurrence, counts []float32) []neighbour {
	p.touched = p.touched[:0]
	add := func(other int32, next, with float32) {
		if p.with[other] == 0 {
			p.touched = append(p.touched, other)
		}
		p.next[other] += next
		p.with[other] += with
	}
	for _, pl := range at {
		steps := c.Users[pl.user].Interactions
		// Who takes a lot tells less with each pair (Breese, Heckerman and Kadie 1998).
		with := float32(1 / math.Log2(1+float64(len(steps))))
		for k := max(0, int(pl.index)-withWindow); k < min(len(steps), int(pl.index)+withWindow+1); k++ {
			if steps[k].Item == item {
				continue
			}
			next := float32(0)
			if d := k - int(pl.index); d > 0 && d <= nextWindow {
				next = 1 / float32(d)
			}
			add(steps[k].Item, next, with)
		}
	}
	row := make([]neighbour, len(p.touched))
	for i, other := range p.touched {
		row[i] = neighbour{other, p.next[other], p.with[other]}
		p.next[other], p.with[other] = 0, 0
	}
	near := func(x neighbour) float32 { return (x.next + x.with) / float32(math.Sqrt(float64(counts[x.item])+5)) }
	slices.SortFunc(row, func(a, b neighbour) int { return cmp.Or(cmp.Compare(near(b), near(a)), cmp.Compare(a.item, b.item)) })
	return row[:min(len(row), maxNeighbours)]
}
