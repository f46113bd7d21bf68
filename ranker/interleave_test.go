package ranker_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"relish/ranker"
)

// mix drafts every answer from control's and the arm's list.
func (w *world) mix(arm ranker.Arm) *trials {
	e := w.try(arm)
	e.list[0].Interleave = true
	return e
}

// negated is a model under another version whose order is the reverse.
func (w *world) negated() *ranker.Model {
	m := *w.models.main
	m.Version, m.Scorer = "second", tunable{times: -1}
	w.models.others = map[string]*ranker.Model{"second": &m}
	return &m
}

// checkDraft checks that the answer is a team draft of the two lists.
func checkDraft(t *testing.T, a, b []string, resp *ranker.Response, imp *ranker.Impression) {
	t.Helper()
	if imp.Interleaved == nil || len(imp.Interleaved.Teams) != len(imp.Items) || imp.Interleaved.Arms != [2]string{"control", "other"} || imp.Interleaved.Experiment != "x" {
		t.Fatalf("%+v", imp.Interleaved)
	}
	lists, counts := [2][]string{a, b}, [2]int{}
	seen := map[string]bool{}
	for i, it := range resp.Items {
		team := imp.Interleaved.Teams[i]
		next := [2]string{}
		for side, list := range lists {
			for _, id := range list {
				if !seen[id] {
					next[side] = id
					break
				}
			}
		}
		if it.ID != next[team] {
			t.Fatalf("place %d: %s of team %d, whose next is %s", i+1, it.ID, team, next[team])
		}
		if other := 1 - team; next[other] != "" && counts[team] > counts[other] {
			t.Fatalf("place %d: team %d has %v", i+1, team, counts)
		}
		want := 1.0
		if counts[0] == counts[1] && next[0] != next[1] && next[0] != "" && next[1] != "" {
			want = 0.5
		}
		if imp.Propensity[i] != want {
			t.Fatalf("place %d: propensity %g, want %g", i+1, imp.Propensity[i], want)
		}
		counts[team]++
		seen[it.ID] = true
	}
}

func TestInterleaving(t *testing.T) {
	drop := func(rest int) ranker.Rule {
		return stepFunc(func(l *ranker.List) error {
			l.Entries = slices.DeleteFunc(l.Entries, func(e ranker.Entry) bool { return e.Index%3 == rest })
			return nil
		})
	}
	for name, arm := range map[string]ranker.Arm{
		"two models": {Sets: ranker.PartModel, Model: "second"},
		"two orders": {
			Sets:  ranker.PartDiversity,
			Rules: ranker.RuleSet{ranker.RuleDiversity: reversed},
		},
		"with and no text": {Sets: ranker.PartText},
		"the same twice":   {Sets: ranker.PartModel, Model: "main"},
		"a filter on a side": {
			Sets:  ranker.PartFilter,
			Rules: ranker.RuleSet{ranker.RuleFilter: drop(1)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 30)
			w.negated()
			a := w.rank(t, w.request(30))
			w.try(arm)
			b := w.rank(t, w.request(30))
			w.mix(arm)
			for i := range 20 {
				req := w.request(30)
				req.ID, req.Explain = fmt.Sprint("request-", i), 30
				resp := w.rank(t, req)
				complete(t, req, resp)
				imp := w.records[len(w.records)-1]
				checkDraft(t, ids(a), ids(b), resp, imp)
				if resp.Experiments["x"] != ranker.InterleavedArm || !slices.Equal(imp.Exposed, []string{"x"}) || resp.Model != "main" || len(w.errs) != 0 {
					t.Fatalf("%v, %+v, %v", resp.Experiments, imp, w.errs)
				}
				again := w.rank(t, req)
				if !slices.Equal(ids(resp), ids(again)) {
					t.Fatal("the same request is drafted another way")
				}
				// Scores and explanations are those of the item's own side.
				scores := [2]map[string]float64{{}, {}}
				for side, list := range []*ranker.Response{a, b} {
					for _, it := range list.Items {
						scores[side][it.ID] = it.Score
					}
				}
				for k, it := range resp.Items {
					if it.Score != scores[imp.Interleaved.Teams[k]][it.ID] || it.Explain == nil {
						t.Fatalf("%s: score %g of team %d", it.ID, it.Score, imp.Interleaved.Teams[k])
					}
				}
			}
		})
	}
}

// The coin is fair: each arm has the first place in half of the answers.
func TestTeamsTakeTurns(t *testing.T) {
	w := newWorld(t, 4)
	w.mix(ranker.Arm{Sets: ranker.PartDiversity, Rules: ranker.RuleSet{ranker.RuleDiversity: reversed}})
	const n = 2000
	first, places := 0, [4]int{}
	for i := range n {
		req := w.request(4)
		req.ID = fmt.Sprint("request-", i)
		w.rank(t, req)
		for place, team := range w.records[i].Interleaved.Teams {
			places[place] += int(team)
		}
		first += int(w.records[i].Interleaved.Teams[0])
	}
	for place, count := range places {
		if math.Abs(float64(count)-n/2) > 5*math.Sqrt(n)/2 {
			t.Errorf("place %d: the second arm has it in %d of %d answers", place+1, count, n)
		}
	}
}

// What both sides share is done once.
func TestInterleavingSharesItsWork(t *testing.T) {
	other, err := ranker.NewSchema([]ranker.Feature{{Name: "quality", Kind: ranker.KindNumber, Field: "quality"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		arm                    ranker.Arm
		schema                 *ranker.Schema
		reads, vectors, scores int
	}{
		"the same model": {
			ranker.Arm{
				Sets:  ranker.PartDiversity,
				Rules: ranker.RuleSet{ranker.RuleDiversity: reversed},
			},
			nil, 1, 1, 1,
		},
		"the same columns": {ranker.Arm{Sets: ranker.PartModel, Model: "second"}, nil, 1, 1, 2},
		"other columns":    {ranker.Arm{Sets: ranker.PartModel, Model: "second"}, other, 2, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10)
			reads, vectors, scores := 0, 0, 0
			count := sum{before: func() error { scores++; return nil }}
			w.models.main.Scorer = count
			second := w.negated()
			second.Scorer = count
			if c.schema != nil {
				second.Schema = c.schema
			}
			w.opt.Features = readFunc(func(ctx context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
				reads++
				return w.read(ctx, q)
			})
			w.opt.Vectors = vectorsFunc(func(ctx context.Context, items []*ranker.ItemInfo, out [][]float32) {
				vectors++
				w.vectors(ctx, items, out)
			})
			w.mix(c.arm)
			complete(t, w.request(10), w.rank(t, w.request(10)))
			if reads != c.reads || vectors != c.vectors || scores != c.scores || w.records[0].Interleaved == nil {
				t.Errorf("%d reads, %d fetches, %d scorings", reads, vectors, scores)
			}
		})
	}
}

// When a side cannot be ranked the answer is control's list, and says so.
func TestInterleavingFallsToControl(t *testing.T) {
	fails := stepFunc(func(*ranker.List) error { return errBroken })
	for name, c := range map[string]struct {
		arm     ranker.Arm
		breakIt func(*world)
	}{
		"no such bundle": {ranker.Arm{Sets: ranker.PartModel, Model: "gone"}, nil},
		"its bundle fails": {
			ranker.Arm{Sets: ranker.PartModel, Model: "second"},
			func(w *world) { w.negated().Scorer = sum{before: func() error { return errBroken }} },
		},
		"its step fails": {
			ranker.Arm{
				Sets:  ranker.PartDiversity,
				Rules: ranker.RuleSet{ranker.RuleDiversity: fails},
			},
			nil,
		},
		"nothing scores": {
			ranker.Arm{
				Sets:  ranker.PartDiversity,
				Rules: ranker.RuleSet{ranker.RuleDiversity: reversed},
			},
			func(w *world) { w.models.main.Scorer = sum{before: func() error { return errBroken }} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10)
			if c.breakIt != nil {
				c.breakIt(w)
			}
			plain := w.rank(t, w.request(10))
			w.mix(c.arm)
			got := w.rank(t, w.request(10))
			imp := w.records[1]
			if !slices.Equal(ids(got), ids(plain)) || got.Experiments["x"] != "control" || imp.Interleaved != nil || imp.Fallback["x"] != "other" || len(imp.Exposed) != 0 || len(w.errs) == 0 {
				t.Errorf("%v, %v, %+v, %v", ids(got), got.Experiments, imp, w.errs)
			}
		})
	}
}

// The draft explores, so the service's own exploration rests, and does not count as reached.
func TestInterleavingDoesNotExplore(t *testing.T) {
	w := newWorld(t, 10)
	w.opt.Rules[ranker.RuleExploration] = reversed
	e := w.mix(ranker.Arm{Sets: ranker.PartModel, Model: "main"})
	e.list = append(e.list, ranker.Assignment{Experiment: "y", Parts: ranker.PartExploration, Control: &ranker.Arm{Name: "control"},
		Arm: &ranker.Arm{Name: "none", Sets: ranker.PartExploration}})
	got := w.rank(t, w.request(10))
	w.opt.Experiments, w.opt.Rules = nil, ranker.RuleSet{}
	if plain := w.rank(t, w.request(10)); !slices.Equal(ids(got), ids(plain)) || !slices.Equal(w.records[0].Exposed, []string{"x"}) {
		t.Errorf("%v, want %v; exposed %v", ids(got), ids(plain), w.records[0].Exposed)
	}
}
