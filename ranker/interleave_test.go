package ranker_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"relish/ranker"
)

// interleave merges control's list and the arm's into every answer.
func (w *world) interleave(arm ranker.Arm) *fixedExperiments {
	e := w.assign(arm)
	e.assignments[0].Interleave = true
	return e
}

// addNegated adds a model "second" that ranks in the reverse order.
func (w *world) addNegated() *ranker.Model {
	return w.addModel(w.with("second", tunable{times: -1}))
}

// reversedArm reverses the list by a rule.
var reversedArm = ranker.Arm{
	Sets:  ranker.PartDiversity,
	Rules: ranker.RuleSet{ranker.RuleDiversity: reverse},
}

// checkDraft checks that the answer is a team draft of control's list and the arm's, and that the
// propensities are right.
func checkDraft(
	t *testing.T, control, arm []string, resp *ranker.Response, imp *ranker.Impression,
) {
	t.Helper()
	in := imp.Interleaved
	if in == nil || len(in.Teams) != len(imp.Items) ||
		in.Arms != [2]string{"control", "other"} || in.Experiment != "x" {
		t.Fatalf("interleaved %+v", in)
	}
	lists, counts := [2][]string{control, arm}, [2]int{}
	seen := map[string]bool{}
	isNew := func(id string) bool { return !seen[id] }
	for i, it := range resp.Items {
		team, next := in.Teams[i], [2]string{}
		for side, list := range lists {
			if k := slices.IndexFunc(list, isNew); k >= 0 {
				next[side] = list[k]
			}
		}
		if it.ID != next[team] {
			t.Fatalf(
				"position %d: %s of team %d, whose next item is %s",
				i+1,
				it.ID,
				team,
				next[team],
			)
		}
		if other := 1 - team; next[other] != "" && counts[team] > counts[other] {
			t.Fatalf("position %d: team %d picks, the counts are %v", i+1, team, counts)
		}
		want := 1.0
		coin := counts[0] == counts[1] && next[0] != "" && next[1] != ""
		if coin && next[0] != next[1] {
			want = 0.5
		}
		if imp.Propensity[i] != want {
			t.Fatalf("position %d: propensity %g, want %g", i+1, imp.Propensity[i], want)
		}
		counts[team]++
		seen[it.ID] = true
	}
}

func TestInterleaving(t *testing.T) {
	filter := keepIndex(func(i int) bool { return i%3 != 1 })
	for name, arm := range map[string]ranker.Arm{
		"two models":       {Sets: ranker.PartModel, Model: "second"},
		"two orders":       reversedArm,
		"with and no text": {Sets: ranker.PartText},
		"equal arms":       {Sets: ranker.PartModel, Model: "main"},
		"a filter in an arm": {
			Sets:  ranker.PartFilter,
			Rules: ranker.RuleSet{ranker.RuleFilter: filter},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 30)
			w.addNegated()
			control := w.rank(t, w.request(30))
			w.assign(arm)
			other := w.rank(t, w.request(30))
			scores := [2]map[string]float64{{}, {}} // by team and item
			for team, resp := range []*ranker.Response{control, other} {
				for _, it := range resp.Items {
					scores[team][it.ID] = it.Score
				}
			}
			w.interleave(arm)
			for i := range 20 {
				req := w.request(30)
				req.ID, req.Explain = fmt.Sprint("request-", i), 30
				resp := w.rank(t, req)
				checkComplete(t, req, resp)
				imp := w.records[len(w.records)-1]
				checkDraft(t, ids(control), ids(other), resp, imp)
				if resp.Experiments["x"] != ranker.InterleavedArm || resp.Model != "main" {
					t.Fatalf("experiments %v, model %q", resp.Experiments, resp.Model)
				}
				if !slices.Equal(imp.Exposed, []string{"x"}) || len(w.errs) != 0 {
					t.Fatalf("exposed %v, errors %v", imp.Exposed, w.errs)
				}
				if again := w.rank(t, req); !slices.Equal(ids(resp), ids(again)) {
					t.Fatalf("order %v, of the same request again %v", ids(resp), ids(again))
				}
				for k, it := range resp.Items {
					team := imp.Interleaved.Teams[k]
					if it.Score != scores[team][it.ID] || it.Explain == nil {
						t.Fatalf(
							"%s: score %g, want team %d's %g",
							it.ID,
							it.Score,
							team,
							scores[team][it.ID],
						)
					}
				}
			}
		})
	}
}

// The coin is fair: each team has each position in half of the answers.
func TestTeamsAlternate(t *testing.T) {
	w := newWorld(t, 4)
	w.interleave(reversedArm)
	const n = 2000
	var positions [4]int
	for i := range n {
		req := w.request(4)
		req.ID = fmt.Sprint("request-", i)
		w.rank(t, req)
		for position, team := range w.records[i].Interleaved.Teams {
			positions[position] += int(team)
		}
	}
	for position, count := range positions {
		if math.Abs(float64(count)-n/2) > 5*math.Sqrt(n)/2 {
			t.Errorf(
				"position %d: the second team has it in %d of %d answers",
				position+1,
				count,
				n,
			)
		}
	}
}

// Work that both sides share is done once.
func TestInterleavingSharesWork(t *testing.T) {
	second := ranker.Arm{Sets: ranker.PartModel, Model: "second"}
	quality := []ranker.Feature{{Name: "quality", Kind: ranker.KindNumber, Field: "quality"}}
	other, err := ranker.NewSchema(quality)
	if err != nil {
		t.Fatal(err)
	}
	type work struct{ reads, fetches, scorings int }
	for name, c := range map[string]struct {
		arm    ranker.Arm
		schema *ranker.Schema // of the second model, if not nil
		want   work
	}{
		"one model":                 {reversedArm, nil, work{1, 1, 1}},
		"two models of one schema":  {second, nil, work{1, 1, 2}},
		"two models of two schemas": {second, other, work{2, 2, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10)
			var got work
			counting := sum{before: func() error { got.scorings++; return nil }}
			w.models.main.Scorer = counting
			second := w.addNegated()
			second.Scorer = counting
			if c.schema != nil {
				second.Schema = c.schema
			}
			w.reading(func(*ranker.RequestState) { got.reads++ })
			w.opt.Vectors = vectorsFunc(func(
				ctx context.Context, items []*ranker.ItemInfo, out [][]float32,
			) {
				got.fetches++
				w.vectors(ctx, items, out)
			})
			w.interleave(c.arm)
			checkComplete(t, w.request(10), w.rank(t, w.request(10)))
			if got != c.want || w.records[0].Interleaved == nil {
				t.Errorf("work %+v, want %+v", got, c.want)
			}
		})
	}
}

// If a side cannot be ranked, the answer is control's list, and says so.
func TestInterleavingFallsBackToControl(t *testing.T) {
	failingRule := ruleFunc(func(*ranker.List) error { return errBroken })
	for name, c := range map[string]struct {
		arm    ranker.Arm
		change func(*world)
	}{
		"the arm's model is unknown": {
			ranker.Arm{Sets: ranker.PartModel, Model: "gone"}, func(*world) {},
		},
		"the arm's model fails": {
			ranker.Arm{Sets: ranker.PartModel, Model: "second"},
			func(w *world) { w.addNegated().Scorer = failing },
		},
		"the arm's rule fails": {
			ranker.Arm{
				Sets:  ranker.PartDiversity,
				Rules: ranker.RuleSet{ranker.RuleDiversity: failingRule},
			},
			func(*world) {},
		},
		"no model scores": {reversedArm, func(w *world) { w.models.main.Scorer = failing }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10)
			c.change(w)
			plain := w.rank(t, w.request(10))
			w.interleave(c.arm)
			got := w.rank(t, w.request(10))
			if !slices.Equal(ids(got), ids(plain)) || got.Experiments["x"] != "control" {
				t.Errorf(
					"order %v, experiments %v; want control's %v",
					ids(got),
					got.Experiments,
					ids(plain),
				)
			}
			imp := w.records[1]
			if imp.Interleaved != nil || imp.Fallback["x"] != "other" || len(imp.Exposed) != 0 {
				t.Errorf("impression %+v, want a fallback of x", imp)
			}
			if len(w.errs) == 0 {
				t.Error("no error was observed")
			}
		})
	}
}

// Interleaving is the exploration, so the service's own exploration is off, and its part is not
// exposed.
func TestInterleavingDoesNotExplore(t *testing.T) {
	w := newWorld(t, 10)
	w.opt.Rules[ranker.RuleExploration] = reverse
	e := w.interleave(ranker.Arm{Sets: ranker.PartModel, Model: "main"})
	e.assignments = append(e.assignments, ranker.Assignment{
		Experiment: "y",
		Parts:      ranker.PartExploration,
		Control:    &ranker.Arm{Name: "control"},
		Arm:        &ranker.Arm{Name: "none", Sets: ranker.PartExploration},
	})
	got := w.rank(t, w.request(10))
	w.opt.Experiments, w.opt.Rules = nil, ranker.RuleSet{}
	plain := w.rank(t, w.request(10))
	if !slices.Equal(ids(got), ids(plain)) {
		t.Errorf("order %v, want %v, which is not explored", ids(got), ids(plain))
	}
	if exposed := w.records[0].Exposed; !slices.Equal(exposed, []string{"x"}) {
		t.Errorf("exposed %v, want x alone", exposed)
	}
}

// If the second side cannot be ranked with the arm of another experiment, the answer is control's
// list, which was ranked with that arm, and the other experiment keeps its arm.
func TestInterleavingKeepsTheArmsOfOtherExperiments(t *testing.T) {
	control := ranker.Arm{Name: "control"}
	negated := ranker.Arm{
		Name: "negated", Sets: ranker.PartScorer, ScorerParams: map[string]float64{"times": -1},
	}
	calls := 0
	failsSecond := ruleFunc(func(l *ranker.List) error {
		if calls++; calls > 1 {
			return errBroken
		}
		return reverse(l)
	})
	reversed := ranker.Arm{
		Name: "reversed", Sets: ranker.PartDiversity,
		Rules: ranker.RuleSet{ranker.RuleDiversity: failsSecond},
	}
	for name, other := range map[string]ranker.Arm{
		"the model has no parameters": negated,
		"a rule fails":                reversed,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10)
			w.models.main.Scorer = tunable{times: 1}
			w.addModel(w.with("plain", sum{}))
			tested := ranker.Arm{Name: "plain", Sets: ranker.PartModel, Model: "plain"}
			e := &fixedExperiments{assignments: []ranker.Assignment{
				{Experiment: "a", Parts: other.Sets, Control: &control, Arm: &other},
			}}
			w.opt.Experiments = e
			calls = 0
			alone := w.rank(t, w.request(10))
			calls = 0
			e.assignments = append(e.assignments, ranker.Assignment{
				Experiment: "b", Parts: ranker.PartModel, Control: &control, Arm: &tested,
				Interleave: true,
			})
			got := w.rank(t, w.request(10))
			imp := w.records[1]
			if !slices.Equal(ids(got), ids(alone)) || imp.Interleaved != nil {
				t.Errorf("order %v, want %v, not interleaved", ids(got), ids(alone))
			}
			if got.Experiments["a"] != other.Name || got.Experiments["b"] != "control" {
				t.Errorf("experiments %v", got.Experiments)
			}
			if imp.Fallback["b"] != "plain" || len(imp.Fallback) != 1 ||
				!slices.Equal(imp.Exposed, []string{"a"}) {
				t.Errorf("fallback %v, exposed %v", imp.Fallback, imp.Exposed)
			}
		})
	}
}
