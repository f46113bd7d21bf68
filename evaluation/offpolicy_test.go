package evaluation_test

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"relish/evaluation"
	"relish/features"
	"relish/features/event"
	"relish/internal/demo"
	"relish/internal/stats"
	"relish/ranker"
	"relish/training/replay"
)

// oracle ranks by the demo world's true click probabilities (sign 1), or against them (sign -1).
type oracle struct {
	world *demo.World
	sign  float64
	truth float64 // expected clicks on the first ten, summed over lists
}

func (o *oracle) Name() string { return "oracle" }

func (o *oracle) Score(_ context.Context, c *replay.Example) ([]float64, error) {
	scores := make([]float64, len(c.Request.Candidates))
	for i, cand := range c.Request.Candidates {
		scores[i] = o.sign * o.world.ClickProbability(c.Request.User, cand.ID)
	}
	sorted := slices.SortedFunc(
		slices.Values(scores),
		func(a, b float64) int { return cmp.Compare(b, a) },
	)
	for position, score := range sorted[:10] {
		o.truth += demo.Examination(position) * o.sign * score
	}
	return scores, nil
}

// worldLog returns the demo world's log, each impression changed by change unless that is nil.
func worldLog(w *demo.World, change func(*ranker.Impression)) replay.Source {
	return func() iter.Seq2[event.Record, error] {
		return func(yield func(event.Record, error) bool) {
			seq := uint64(0)
			for e := range w.Events() {
				if change != nil && e.Impression != nil {
					change(e.Impression)
				}
				seq++
				if !yield(event.Record{Seq: seq, Arrival: e.Time, Event: e}, nil) {
					return
				}
			}
		}
	}
}

func estimate(t *testing.T, src replay.Source, s evaluation.Scorer) *evaluation.OffPolicyEstimate {
	t.Helper()
	opt := evaluation.Options{TestShare: 1, Prequential: true, K: 10, Seed: 1}
	r, err := evaluation.EstimateOffPolicy(
		t.Context(),
		src,
		features.New(features.DefaultConfig()),
		opt,
		s,
	)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// An action counts for a list only within the follow-up time, as in training.
func TestEstimatesCountFollowUpsInTime(t *testing.T) {
	w := demo.New(demo.Options{Seed: 7, Users: 50, Lists: 400})
	for followUp, clicked := range map[int64]bool{0: true, 1: false} {
		opt := evaluation.Options{
			TestShare: 1, Prequential: true, K: 10, Seed: 1, FollowUp: followUp,
		}
		r, err := evaluation.EstimateOffPolicy(t.Context(), worldLog(w, nil),
			features.New(features.DefaultConfig()), opt, &oracle{world: w, sign: 1})
		if err != nil || r.Logged == nil || (r.Logged.Mean > 0) != clicked {
			t.Errorf("follow-up time %d ms: %+v, %v", followUp, r, err)
		}
	}
}

// The intervals contain the true value, which the world knows, both for a ranker that is far better
// than the one that served and for one that is far worse.
func TestEstimatesContainTheTruth(t *testing.T) {
	for _, sign := range []float64{1, -1} {
		w := demo.New(demo.Options{Seed: 7, Users: 400, Lists: 5000})
		o := &oracle{world: w, sign: sign}
		r := estimate(t, worldLog(w, nil), o)
		truth := o.truth / float64(r.Lists)
		t.Logf("truth %.3f, logged %v, IPS %v, SNIPS %v, DR %v, effective lists %.0f, "+
			"mean weight %.3f", truth, r.Logged, r.IPS, r.SNIPS, r.DR, r.EffectiveLists,
			r.MeanWeight)
		for name, e := range estimates(r) {
			if truth < e.Low || truth > e.High || e.High-e.Low > 0.5 {
				t.Errorf("%s is %+v, the truth is %.3f", name, e, truth)
			}
		}
		if r.Lists != 5000 || r.Unsupported != 0 || math.Abs(r.MeanWeight-1) > 0.1 ||
			r.Refused != "" {
			t.Errorf("%+v", r)
		}
		if better := r.DRMinusLogged.Low > 0; better != (sign > 0) {
			t.Errorf("difference to the logged lists: %v", r.DRMinusLogged)
		}
		if r.SNIPS.High-r.SNIPS.Low > r.IPS.High-r.IPS.Low {
			t.Errorf("SNIPS %v has a wider interval than IPS %v", r.SNIPS, r.IPS)
		}
	}
}

// estimates returns the estimates by name.
func estimates(r *evaluation.OffPolicyEstimate) map[string]*stats.Interval {
	return map[string]*stats.Interval{"IPS": r.IPS, "SNIPS": r.SNIPS, "DR": r.DR}
}

// Over 20 worlds, at most 4 of the 95 % intervals miss the truth. Correct intervals pass 4 misses
// once in 400 runs.
func TestEstimatesCover(t *testing.T) {
	const worlds = 20
	misses := map[string]int{}
	for seed := range uint64(worlds) {
		w := demo.New(demo.Options{Seed: 100 + seed, Users: 150, Lists: 600})
		o := &oracle{world: w, sign: 1}
		r := estimate(t, worldLog(w, nil), o)
		truth := o.truth / float64(r.Lists)
		for name, e := range estimates(r) {
			if truth < e.Low || truth > e.High {
				misses[name]++
			}
		}
	}
	for name, n := range misses {
		if n > 4 {
			t.Errorf("%s missed the truth in %d of %d worlds", name, n, worlds)
		}
	}
}

func TestRefusals(t *testing.T) {
	w := demo.New(demo.Options{Seed: 7, Users: 100, Lists: 600})
	for _, c := range []struct {
		name, want string
		change     func(*ranker.Impression)
	}{
		{"no exploration", "600 were not explored", func(i *ranker.Impression) {
			i.Propensity = nil
		}},
		{"truncated lists", "600 were logged only in part", func(i *ranker.Impression) {
			i.Items, i.Propensity = i.Items[:12], i.Propensity[:12]
		}},
		{"two positions explored", "the log could never have shown", func(i *ranker.Impression) {
			for k := 2; k < len(i.Propensity); k++ {
				i.Propensity[k] = 1
			}
		}},
		{"wrong propensities", "do not describe", func(i *ranker.Impression) {
			// As if half of the items had been drawn evenly.
			for k := range max(0, len(i.Propensity)-1) {
				i.Propensity[k] = min(0.99, 2/float64(len(i.Propensity)-k))
			}
		}},
	} {
		r := estimate(t, worldLog(w, c.change), &oracle{world: w, sign: 1})
		if !strings.Contains(r.Refused, c.want) || r.IPS != nil || r.DR != nil {
			t.Errorf("%s: %q, %v", c.name, r.Refused, r.IPS)
		}
	}
	few := demo.New(demo.Options{Seed: 7, Users: 100, Lists: 150})
	r := estimate(t, worldLog(few, nil), &oracle{world: few, sign: 1})
	if !strings.Contains(r.Refused, "agrees too rarely") || r.EffectiveLists <= 0 || r.IPS != nil {
		t.Errorf("few lists: %+v", r)
	}
	try := func(opt evaluation.Options, s evaluation.Scorer) error {
		state := features.New(features.DefaultConfig())
		_, err := evaluation.EstimateOffPolicy(t.Context(), worldLog(w, nil), state, opt, s)
		return err
	}
	if err := try(evaluation.Options{}, &oracle{world: w}); err == nil {
		t.Error("no error for a test share of 0")
	}
	err := try(evaluation.Options{TestShare: 1}, failing{})
	if err == nil || !strings.Contains(err.Error(), "failing") {
		t.Errorf("a scorer's error must name the scorer: %v", err)
	}
}

type failing struct{}

func (failing) Name() string { return "failing" }

func (failing) Score(context.Context, *replay.Example) ([]float64, error) {
	return nil, fmt.Errorf("out of order")
}
