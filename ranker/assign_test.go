package ranker_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"relish/ranker"
)

// trials assigns always the same.
type trials struct {
	list      []ranker.Assignment
	readsUser bool
	user      map[string]ranker.FieldValue // what Assign was given
}

func (e *trials) Assign(_ *ranker.Request, user map[string]ranker.FieldValue, _ int64) ([]ranker.Assignment, string) {
	e.user = user
	return slices.Clone(e.list), "v1"
}

func (e *trials) ReadsUser() bool { return e.readsUser }

// try assigns an arm of experiment "x", whose control changes nothing.
func (w *world) try(arm ranker.Arm) *trials {
	arm.Name = "other"
	e := &trials{list: []ranker.Assignment{{Experiment: "x", Parts: arm.Sets, Control: &ranker.Arm{Name: "control"}, Arm: &arm}}}
	w.opt.Experiments = e
	return e
}

// control assigns control in place of the arm.
func (e *trials) control() { e.list[0].Arm = e.list[0].Control }

func ids(resp *ranker.Response) (ids []string) {
	for _, it := range resp.Items {
		ids = append(ids, it.ID)
	}
	return ids
}

// reversed is a step that turns the list round.
var reversed = stepFunc(func(l *ranker.List) error { slices.Reverse(l.Entries); return nil })

// tunable is the sum times a parameter.
type tunable struct {
	sum
	times float64
}

func (b tunable) Tune(params map[string]float64) (ranker.Scorer, error) {
	x, ok := params["times"]
	if !ok {
		return nil, errBroken
	}
	b.times = x
	return b, nil
}

func (b tunable) Score(m *ranker.Matrix, out []float64) error {
	err := b.sum.Score(m, out)
	for i := range out {
		out[i] *= b.times
	}
	return err
}

// Every part that an arm can change is changed, and leaves its mark in answer and record.
func TestArmsChangeTheirPart(t *testing.T) {
	second := func(w *world) *ranker.Model {
		m := *w.models.main
		m.Version, m.Scorer = "second", tunable{times: -1}
		return &m
	}
	for name, c := range map[string]struct {
		arm     ranker.Arm
		prepare func(*world)
		changed func(plain, got *ranker.Response) bool
	}{
		"model": {
			ranker.Arm{Sets: ranker.PartModel, Model: "second"}, nil,
			func(plain, got *ranker.Response) bool { return got.Model == "second" && plain.Model == "main" },
		},
		"blend": {ranker.Arm{Sets: ranker.PartScorer, ScorerParams: map[string]float64{"times": -1}},
			func(w *world) { w.models.main.Scorer = tunable{times: 1} },
			func(plain, got *ranker.Response) bool { return got.Items[0].ID == plain.Items[len(plain.Items)-1].ID }},
		"text": {
			ranker.Arm{Sets: ranker.PartText, Text: false}, nil,
			func(plain, got *ranker.Response) bool { return !slices.Equal(ids(plain), ids(got)) },
		},
		"a step": {ranker.Arm{Sets: ranker.PartDiversity, Rules: ranker.RuleSet{ranker.RuleDiversity: reversed}}, nil,
			func(plain, got *ranker.Response) bool { return got.Items[0].ID == plain.Items[len(plain.Items)-1].ID }},
		"no step": {ranker.Arm{Sets: ranker.PartBoost},
			func(w *world) { w.opt.Rules[ranker.RuleBoost] = reversed },
			func(plain, got *ranker.Response) bool { return got.Items[0].ID == plain.Items[len(plain.Items)-1].ID }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 12)
			w.models.others = map[string]*ranker.Model{"second": second(w)}
			if c.prepare != nil {
				c.prepare(w)
			}
			plain := w.rank(t, w.request(12))
			if len(plain.Experiments) != 0 || w.records[0].Exposed != nil || w.records[0].ExperimentsVersion != "" {
				t.Errorf("without experiments: %+v", w.records[0])
			}
			e := w.try(c.arm)
			got := w.rank(t, w.request(12))
			complete(t, w.request(12), got)
			if !c.changed(plain, got) {
				t.Errorf("nothing has changed: %v", ids(got))
			}
			imp := w.records[1]
			if got.Experiments["x"] != "other" || imp.Experiments["x"] != "other" || !slices.Equal(imp.Exposed, []string{"x"}) || imp.Fallback != nil || imp.ExperimentsVersion != "v1" || len(w.errs) != 0 {
				t.Errorf("answer %v, record %+v, errors %v", got.Experiments, imp, w.errs)
			}
			// Control ranks as the service does, and is exposed by the same rule.
			e.control()
			got = w.rank(t, w.request(12))
			if imp := w.records[2]; !slices.Equal(ids(got), ids(plain)) || got.Experiments["x"] != "control" || !slices.Equal(imp.Exposed, []string{"x"}) {
				t.Errorf("control: %v, record %+v", ids(got), imp)
			}
		})
	}
}

// An arm of which a part cannot be had falls to control as a whole, and the record says so.
func TestArmsFallToControl(t *testing.T) {
	broken := func(w *world) {
		m := *w.models.main
		m.Version, m.Scorer = "second", sum{before: func() error { return errBroken }}
		w.models.others = map[string]*ranker.Model{"second": &m}
	}
	failing := ranker.RuleSet{ranker.RuleDiversity: stepFunc(func(l *ranker.List) error { l.Entries = nil; return errBroken }), ranker.RulePin: reversed}
	for name, c := range map[string]struct {
		arm      ranker.Arm
		prepare  func(*world)
		degraded []string
	}{
		"its bundle is missing": {
			ranker.Arm{
				Sets:  ranker.PartModel | ranker.PartDiversity,
				Model: "gone",
				Rules: ranker.RuleSet{ranker.RuleDiversity: reversed},
			},
			nil, nil,
		},
		"its bundle fails": {
			ranker.Arm{Sets: ranker.PartModel, Model: "second"}, broken,
			[]string{ranker.ScorerFallback},
		},
		"a blend that is fixed": {
			ranker.Arm{Sets: ranker.PartScorer, ScorerParams: map[string]float64{"times": 2}}, nil,
			nil,
		},
		"an unknown parameter": {
			ranker.Arm{Sets: ranker.PartScorer, ScorerParams: map[string]float64{"nope": 2}},
			func(w *world) { w.models.main.Scorer = tunable{times: 1} }, nil,
		},
		"its step fails": {
			ranker.Arm{Sets: ranker.PartDiversity | ranker.PartPin, Rules: failing}, nil, nil,
		},
		"control's bundle as well": {
			ranker.Arm{Sets: ranker.PartModel, Model: "gone"}, func(w *world) {}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 12)
			if c.prepare != nil {
				c.prepare(w)
			}
			plain := w.rank(t, w.request(12))
			e := w.try(c.arm)
			if name == "control's bundle as well" {
				e.list[0].Control = &ranker.Arm{Name: "control", Sets: ranker.PartModel, Model: "gone too"}
			}
			got := w.rank(t, w.request(12))
			if !slices.Equal(ids(got), ids(plain)) || got.Experiments["x"] != "control" || !slices.Equal(got.Degraded, append([]string{}, c.degraded...)) {
				t.Errorf("%v as %v, degraded %v; want %v", ids(got), got.Experiments, got.Degraded, ids(plain))
			}
			imp := w.records[1]
			if !maps.Equal(imp.Fallback, map[string]string{"x": "other"}) || len(imp.Exposed) != 0 || imp.Experiments["x"] != "control" || len(w.errs) == 0 {
				t.Errorf("record %+v, errors %v", imp, w.errs)
			}
		})
	}
}

// Exposure is about what was reached, whichever arm was assigned.
func TestExposure(t *testing.T) {
	diverse := ranker.Arm{Sets: ranker.PartDiversity, Rules: ranker.RuleSet{ranker.RuleDiversity: reversed}}
	untexted := ranker.Arm{Sets: ranker.PartText}
	for name, c := range map[string]struct {
		arm     ranker.Arm
		change  func(*world, *ranker.Request, *trials)
		exposed bool
	}{
		"one candidate has no order": {
			diverse,
			func(_ *world, r *ranker.Request, _ *trials) { r.Candidates = r.Candidates[:1] }, false,
		},
		"two have": {
			diverse,
			func(_ *world, r *ranker.Request, _ *trials) { r.Candidates = r.Candidates[:2] }, true,
		},
		"the request names its model": {
			ranker.Arm{Sets: ranker.PartModel, Model: "gone"},
			func(_ *world, r *ranker.Request, _ *trials) { r.Model = "main" }, false,
		},
		"the request names its deadline": {
			ranker.Arm{Sets: ranker.PartDeadline, Deadline: time.Second}, nil, false,
		},
		"the request names none": {
			ranker.Arm{Sets: ranker.PartDeadline, Deadline: time.Second},
			func(_ *world, r *ranker.Request, _ *trials) { r.Deadline = 0 }, true,
		},
		"no candidate has a text": {
			untexted, func(w *world, _ *ranker.Request, _ *trials) { clear(w.items) }, false,
		},
		"nothing was scored": {untexted, func(w *world, _ *ranker.Request, _ *trials) {
			w.models.main.Scorer = sum{before: func() error { return errBroken }}
		}, false},
		"an A/A test, which changes nothing": {ranker.Arm{}, nil, true},
		"a forced arm": {
			diverse, func(_ *world, _ *ranker.Request, e *trials) { e.list[0].Forced = true },
			false,
		},
	} {
		for _, control := range []bool{false, true} {
			w := newWorld(t, 5)
			req := w.request(5)
			e := w.try(c.arm)
			if c.change != nil {
				c.change(w, req, e)
			}
			if control {
				e.control()
			}
			resp := w.rank(t, req)
			if got := slices.Contains(w.records[0].Exposed, "x"); got != c.exposed || len(w.records[0].Fallback) != 0 {
				t.Errorf("%s, control %t: exposed %t, fallback %v", name, control, got, w.records[0].Fallback)
			}
			if want := map[bool]string{true: "control", false: "other"}[control]; resp.Experiments["x"] != want {
				t.Errorf("%s: arm %v, want %s", name, resp.Experiments, want)
			}
		}
	}
}

// Without the text columns the ranking is that of a service without text; the record keeps all
// columns.
func TestTextOff(t *testing.T) {
	w := newWorld(t, 30)
	with := w.rank(t, w.request(30))
	w.try(ranker.Arm{Sets: ranker.PartText})
	req := w.request(30)
	req.Explain = 30
	off := w.rank(t, req)
	for i, it := range off.Items {
		total := it.Explain.Base
		for _, c := range it.Explain.Contributions {
			total += c.Contribution
			if c.Group == ranker.GroupText {
				t.Fatalf("%s: a contribution of %s", it.ID, c.Feature)
			}
		}
		if diff := total - it.Score; diff > 1e-6 || diff < -1e-6 || it.Explain.RankWithoutText != i+1 {
			t.Fatalf("%s at %d: score %g, explained %g, without text %d", it.ID, i+1, it.Score, total, it.Explain.RankWithoutText)
		}
	}
	if slices.Equal(ids(with), ids(off)) || w.records[0].MatrixHash != w.records[1].MatrixHash || off.Coverage.Text != 1 {
		t.Errorf("hashes %x and %x, coverage %+v", w.records[0].MatrixHash, w.records[1].MatrixHash, off.Coverage)
	}
}

// Arms of several layers are put together.
func TestLayersAddUp(t *testing.T) {
	w := newWorld(t, 12)
	w.try(ranker.Arm{Sets: ranker.PartText})
	plain := w.rank(t, w.request(12))
	e := w.try(ranker.Arm{Sets: ranker.PartText})
	e.list = append(e.list, ranker.Assignment{Experiment: "a", Parts: ranker.PartPin, Control: &ranker.Arm{Name: "control"},
		Arm: &ranker.Arm{Name: "pinned", Sets: ranker.PartPin, Rules: ranker.RuleSet{ranker.RulePin: reversed}}})
	got := w.rank(t, w.request(12))
	want := ids(plain)
	slices.Reverse(want)
	if !slices.Equal(ids(got), want) || !maps.Equal(got.Experiments, map[string]string{"x": "other", "a": "pinned"}) || !slices.Equal(w.records[1].Exposed, []string{"a", "x"}) {
		t.Errorf("%v, %v, %+v", ids(got), got.Experiments, w.records[1])
	}
}

// The user is read first only where an experiment asks for his fields.
func TestUserFieldsAreReadWhenAskedFor(t *testing.T) {
	w := newWorld(t, 5)
	reads := []int{}
	var fail error
	w.opt.Features = readFunc(func(ctx context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
		reads = append(reads, len(q.Candidates))
		s, err := w.read(ctx, q)
		s.UserFields = map[string]ranker.FieldValue{"country": ranker.StringValue("de")}
		return s, errors.Join(err, fail)
	})
	e := w.try(ranker.Arm{Sets: ranker.PartText})
	w.rank(t, w.request(5))
	if !slices.Equal(reads, []int{5}) || e.user != nil {
		t.Errorf("not asked for: reads %v, fields %v", reads, e.user)
	}
	e.readsUser = true
	w.rank(t, w.request(5))
	if !slices.Equal(reads, []int{5, 0, 5}) || e.user["country"].Str != "de" {
		t.Errorf("asked for: reads %v, fields %v", reads, e.user)
	}
	fail = errBroken
	complete(t, w.request(5), w.rank(t, w.request(5)))
	if e.user != nil {
		t.Errorf("fields of a failed read: %v", e.user)
	}
}

func TestPartNames(t *testing.T) {
	if got, want := fmt.Sprint(ranker.PartModel|ranker.RuleExploration.Part()|ranker.RuleFilter.Part()|ranker.PartDeadline), "bundle, rules.filters, rules.exploration, deadline_ms"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
