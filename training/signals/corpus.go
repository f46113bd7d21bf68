// Package match trains what package ranker/match serves: the learned tables of its matchers.
//
// All of them learn from a Corpus, which is some users' part of the log. To train the blend, matchers are
// first trained without the users whose lists the blend learns from, so that no list meets its own clicks in
// a learned table; then they are trained again on everyone, for serving.
package signals

import (
	"runtime"
	"sync"
	"sync/atomic"

	"relish/ranker"
)

// Interaction is one interaction of a user's history.
type Interaction struct {
	Item int32
	Gain float32 // of its action, above 0
}

// List is a list that was shown, with what followed.
type List struct {
	Items []int32   // without repeats, -1 for an item that must not be learned from
	Gains []float32 // aligned with Items; 0: nothing followed
}

// UserHistory is what one user did and saw.
type UserHistory struct {
	Interactions []Interaction // oldest first
	Lists        []List        // oldest first
}

// Corpus is what matchers learn from. It is only read.
type Corpus struct {
	Items     *ranker.ItemTable
	ItemInfos []*ranker.ItemInfo // by item: what is known of it, nil for nothing
	Vectors   [][]float32        // by item: its text's vector, nil for none
	Users     []UserHistory
}

// counts returns how often each item was interacted with, and shown.
func (c *Corpus) counts() (taken, shown []float64) {
	taken, shown = make([]float64, c.Items.Len()), make([]float64, c.Items.Len())
	for _, u := range c.Users {
		for _, s := range u.Interactions {
			taken[s.Item]++
		}
		for _, l := range u.Lists {
			for _, item := range l.Items {
				if item >= 0 {
					shown[item]++
				}
			}
		}
	}
	return taken, shown
}

// parallel calls f for 0 to n-1 from as many goroutines as there are cores, each with its own worker number.
func parallel(n int, f func(worker, i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for worker := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(worker, i)
			}
		})
	}
	wg.Wait()
}

// HasPairs reports whether any user took two items.
func (c *Corpus) HasPairs() bool {
	for _, u := range c.Users {
		if len(u.Interactions) > 1 {
			return true
		}
	}
	return false
}
