package signals_test

import (
	"math"
	"testing"

	"relish/ranker/signals"
)

// The derivatives agree with the change of the likelihood when one weight changes.
func TestKernelGradient(t *testing.T) {
	w := newWorld(5, 40)
	gp := w.residual
	weights := gp.Kernel.Weights
	checked := 0
	for range 20 {
		in := w.input(1, 0, 80)
		indices := make([]int32, len(in.State.Shown))
		for i, s := range in.State.Shown {
			indices[i] = w.table.Index(s.Item)
		}
		all := gp.Residuals(in.State.Shown, indices)
		if len(all) < 30 {
			continue
		}
		c := signals.WeightCase{History: all[8:], List: all[:8]}
		clicks := 0
		for i := range c.List {
			c.LogOdds = append(c.LogOdds, gp.LogOdds[c.List[i].Item])
			if c.List[i].Value > 0 {
				clicks++
			}
		}
		if clicks == 0 || clicks == len(c.List) {
			continue
		}
		at := func(i int, factor float64) (float64, []float64) {
			factors := make([]float64, weights.Size())
			for k := range factors {
				factors[k] = 1
			}
			factors[i] = factor
			out := make([]float64, len(factors))
			kernel := gp.Kernel.WithWeights(weights.Multiply(factors))
			return kernel.NewGradient().Add(&c, out), out
		}
		_, got := at(0, 1)
		for i := range got {
			const step = 0.05
			high, _ := at(i, math.Exp(step))
			low, _ := at(i, math.Exp(-step))
			if want := (high - low) / (2 * step); math.Abs(got[i]-want) > 0.01+0.03*math.Abs(want) {
				t.Errorf("derivative by weight %d: %g, want %g", i, got[i], want)
			}
			checked++
		}
	}
	if checked < 50 {
		t.Fatalf("only %d derivatives were checked", checked)
	}
}
