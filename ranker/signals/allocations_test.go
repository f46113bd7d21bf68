//go:build !race

// The race detector drops entries of sync.Pool at random, so allocations are counted without it.

package signals_test

import (
	"testing"

	"relish/ranker"
	"relish/ranker/signals"
)

// A signal whose user is kept allocates nothing for the user's part, also if the user has been
// shown another list since and has clicked nothing in it.
func TestKeptHistoryAllocations(t *testing.T) {
	w := sizedWorld(5, 400, production)
	in := w.input(100, 50, 100)
	in.Request.User = "u"
	tower := twoTower(t, randomModel(w.r, 1, 64, 2, 30, w.text, 10))
	kept := []ranker.Signal{w.residual, w.factorization, tower, signals.TextSimilarity{}}
	for _, s := range kept {
		in.UseHistory(nil)
		out := make([]float32, len(in.ItemVectors)*len(s.Columns()))
		compute := func() {
			if err := s.Compute(t.Context(), in, out); err != nil {
				t.Fatal(err)
			}
		}
		without := testing.AllocsPerRun(20, compute)
		in.UseHistory(ranker.NewHistoryCache(1 << 20))
		with := testing.AllocsPerRun(20, compute)
		if with >= without {
			t.Errorf("%T: %v allocations with a kept history, %v without", s, with, without)
		}
		shown := in.State.Shown
		next := ranker.Shown{Item: "k1", Time: shown[0].Time + 1000}
		in.State.Shown = append([]ranker.Shown{next}, shown...)
		// Only the first run may find another history.
		if again := testing.AllocsPerRun(1, compute); again > with+1 {
			t.Errorf("%T: %v allocations after another list, %v before", s, again, with)
		}
		in.State.Shown = shown
	}
}
