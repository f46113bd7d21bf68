package match

import (
	"cmp"
	"math"
	"runtime"
	"slices"

	"relish/ranker/match"
)

// Of co-occurrence.
const (
	nextWindow = 10  // places after an item that still count as what came next
	withWindow = 50  // places around an item that count as taken together
	neighbours = 200 // kept per item
)

// TrainCooccurrence counts which items users took after each other and together.
func TrainCooccurrence(c *Corpus) *match.Cooccurrence {
	n := c.Items.Len()
	out := &match.Cooccurrence{Items: c.Items, Counts: make([]float32, n), First: make([]int32, n+1)}
	at := occurrences(c)
	for item := range n {
		out.Counts[item] = float32(len(at[item]))
	}
	rows := make([][]pair, n)
	workers := make([]*pairs, runtime.GOMAXPROCS(0))
	parallel(n, func(worker, item int) {
		if workers[worker] == nil {
			workers[worker] = &pairs{next: make([]float32, n), with: make([]float32, n)}
		}
		rows[item] = workers[worker].row(c, int32(item), at[item], out.Counts)
	})
	for item, row := range rows {
		for _, p := range row {
			out.Neighbour, out.Next, out.With = append(out.Neighbour, p.item), append(out.Next, p.next), append(out.With, p.with)
		}
		out.First[item+1] = int32(len(out.Neighbour))
	}
	return out
}

// place is where an item stands in a user's history.
type place struct{ user, step int32 }

func occurrences(c *Corpus) [][]place {
	out := make([][]place, c.Items.Len())
	for u := range c.Users {
		for s, step := range c.Users[u].Steps {
			out[step.Item] = append(out[step.Item], place{int32(u), int32(s)})
		}
	}
	return out
}

type pair struct {
	item       int32
	next, with float32
}

// pairs is one worker's scratch.
type pairs struct {
	next, with []float32
	touched    []int32
}

// row returns the nearest neighbours of an item.
func (p *pairs) row(c *Corpus, item int32, at []place, counts []float32) []pair {
	p.touched = p.touched[:0]
	add := func(other int32, next, with float32) {
		if p.with[other] == 0 {
			p.touched = append(p.touched, other)
		}
		p.next[other] += next
		p.with[other] += with
	}
	for _, pl := range at {
		steps := c.Users[pl.user].Steps
		// Who takes a lot tells less with each pair (Breese, Heckerman and Kadie 1998).
		with := float32(1 / math.Log2(1+float64(len(steps))))
		for k := max(0, int(pl.step)-withWindow); k < min(len(steps), int(pl.step)+withWindow+1); k++ {
			if steps[k].Item == item {
				continue
			}
			next := float32(0)
			if d := k - int(pl.step); d > 0 && d <= nextWindow {
				next = 1 / float32(d)
			}
			add(steps[k].Item, next, with)
		}
	}
	row := make([]pair, len(p.touched))
	for i, other := range p.touched {
		row[i] = pair{other, p.next[other], p.with[other]}
		p.next[other], p.with[other] = 0, 0
	}
	near := func(x pair) float32 { return (x.next + x.with) / float32(math.Sqrt(float64(counts[x.item])+5)) }
	slices.SortFunc(row, func(a, b pair) int { return cmp.Or(cmp.Compare(near(b), near(a)), cmp.Compare(a.item, b.item)) })
	return row[:min(len(row), neighbours)]
}
