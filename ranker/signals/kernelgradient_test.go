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

// A list that a user without a history saw has the likelihood by which the residuals are served: an
// item that stands where nobody looks is no evidence.
func TestKernelLikelihoodKnowsWhatIsLookedAt(t *testing.T) {
	gp := newWorld(5, 40).residual
	at := func(examined float32) float64 {
		c := signals.WeightCase{
			LogOdds: []float32{0.5, -0.5, 1},
			List: []signals.Residual{
				{Item: 0, Value: 1, Examined: 1}, {Item: 1, Value: -1, Examined: 0.8},
				{Item: 2, Value: -1, Examined: examined},
			},
		}
		out := make([]float64, gp.Kernel.Weights.Size())
		return gp.Kernel.NewGradient().Add(&c, out)
	}
	naive := func(examined float64) float64 {
		p := func(logOdds, offset float64) float64 { return 1 / (1 + math.Exp(-logOdds-offset)) }
		low, high := -30.0, 30.0
		for range 100 {
			o := (low + high) / 2
			if p(0.5, o)+0.8*p(-0.5, o)+examined*p(1, o) < 1 {
				low = o
			} else {
				high = o
			}
		}
		return math.Log(p(0.5, low) * (1 - 0.8*p(-0.5, low)) * (1 - examined*p(1, low)))
	}
	for _, examined := range []float32{1, 0.5, 0.1} {
		if got, want := at(examined), naive(float64(examined)); math.Abs(got-want) > 1e-4 {
			t.Errorf("looked at with %g: log-likelihood %g, want %g", examined, got, want)
		}
	}
}
