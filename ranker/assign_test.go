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

// fixedExperiments assigns the same arms to every request.
type fixedExperiments struct {
	assignments []ranker.Assignment
	readsUser   bool
	user        map[string]ranker.FieldValue // that Assign was given last
}

func (e *fixedExperiments) Assign(
	_ *ranker.Request, user map[string]ranker.FieldValue, _ int64,
) ([]ranker.Assignment, string) {
	e.user = user
	return slices.Clone(e.assignments), "v1"
}

func (e *fixedExperiments) ReadsUser() bool { return e.readsUser }

// assignControl assigns control instead of the arm.
func (e *fixedExperiments) assignControl() { e.assignments[0].Arm = e.assignments[0].Control }

// assign assigns arm "other" of experiment "x", whose control changes nothing.
func (w *world) assign(arm ranker.Arm) *fixedExperiments {
	arm.Name = "other"
	e := &fixedExperiments{assignments: []ranker.Assignment{{
		Experiment: "x",
		Parts:      arm.Sets,
		Control:    &ranker.Arm{Name: "control"},
		Arm:        &arm,
	}}}
	w.opt.Experiments = e
	return e
}

// An arm changes each part that it sets. The answer and the impression name it.
func TestArmsChangeTheirPart(t *testing.T) {
	isReverse := func(plain, got *ranker.Response) bool {
		return got.Items[0].ID == plain.Items[len(plain.Items)-1].ID
	}
	for name, c := range map[string]struct {
		arm       ranker.Arm
		prepare   func(*world)
		isChanged func(plain, got *ranker.Response) bool
	}{
		"model": {
			ranker.Arm{Sets: ranker.PartModel, Model: "second"},
			func(w *world) { w.addNegated() },
			func(_, got *ranker.Response) bool { return got.Model == "second" },
		},
		"scorer": {
			ranker.Arm{Sets: ranker.PartScorer, ScorerParams: map[string]float64{"times": -1}},
			func(w *world) { w.models.main.Scorer = tunable{times: 1} },
			isReverse,
		},
		"text": {
			ranker.Arm{Sets: ranker.PartText, Text: false},
			func(*world) {},
			func(plain, got *ranker.Response) bool { return !slices.Equal(ids(plain), ids(got)) },
		},
		"a rule": {reversedArm, func(*world) {}, isReverse},
		"no rule": {
			ranker.Arm{Sets: ranker.PartBoost},
			func(w *world) { w.opt.Rules[ranker.RuleBoost] = reverse },
			isReverse,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 12)
			c.prepare(w)
			plain := w.rank(t, w.request(12))
			imp := w.records[0]
			if len(plain.Experiments) != 0 || imp.Exposed != nil || imp.ExperimentsVersion != "" {
				t.Errorf("without experiments: answer %v, impression %+v", plain.Experiments, imp)
			}

			e := w.assign(c.arm)
			got := w.rank(t, w.request(12))
			checkComplete(t, w.request(12), got)
			if !c.isChanged(plain, got) {
				t.Errorf("order %v, without the arm %v", ids(got), ids(plain))
			}
			imp = w.records[1]
			if got.Experiments["x"] != "other" || imp.Experiments["x"] != "other" {
				t.Errorf(
					"answer %v, impression %v; want arm other",
					got.Experiments,
					imp.Experiments,
				)
			}
			if !slices.Equal(imp.Exposed, []string{"x"}) || imp.Fallback != nil ||
				len(w.errs) != 0 {
				t.Errorf("exposed %v, fallback %v, errors %v", imp.Exposed, imp.Fallback, w.errs)
			}
			if imp.ExperimentsVersion != "v1" {
				t.Errorf("experiments version %q, want v1", imp.ExperimentsVersion)
			}

			// Control ranks as the service does without experiments, and is exposed by the same
			// rule.
			e.assignControl()
			got = w.rank(t, w.request(12))
			if !slices.Equal(ids(got), ids(plain)) || got.Experiments["x"] != "control" {
				t.Errorf("control: order %v, experiments %v", ids(got), got.Experiments)
			}
			if imp := w.records[2]; !slices.Equal(imp.Exposed, []string{"x"}) {
				t.Errorf("control: exposed %v, want x", imp.Exposed)
			}
		})
	}
}

// An arm of which one part is unavailable falls back to control as a whole. The impression says so.
func TestArmsFallBackToControl(t *testing.T) {
	times := map[string]float64{"times": 2}
	failingRule := ruleFunc(func(l *ranker.List) error {
		l.Entries = nil
		return errBroken
	})
	for name, c := range map[string]struct {
		arm      ranker.Arm
		prepare  func(*world)
		degraded []string
	}{
		"unknown model": {
			ranker.Arm{
				Sets:  ranker.PartModel | ranker.PartDiversity,
				Model: "gone",
				Rules: ranker.RuleSet{ranker.RuleDiversity: reverse},
			},
			func(*world) {}, nil,
		},
		"the model fails": {
			ranker.Arm{Sets: ranker.PartModel, Model: "second"},
			func(w *world) { w.addModel(w.with("second", failing)) },
			[]string{ranker.ScorerFallback},
		},
		"a scorer without parameters": {
			ranker.Arm{Sets: ranker.PartScorer, ScorerParams: times}, func(*world) {}, nil,
		},
		"an unknown parameter": {
			ranker.Arm{Sets: ranker.PartScorer, ScorerParams: map[string]float64{"nope": 2}},
			func(w *world) { w.models.main.Scorer = tunable{times: 1} }, nil,
		},
		"a rule fails": {
			ranker.Arm{
				Sets:  ranker.PartDiversity | ranker.PartPin,
				Rules: ranker.RuleSet{ranker.RuleDiversity: failingRule, ranker.RulePin: reverse},
			},
			func(*world) {}, nil,
		},
		"control's model is unknown too": {
			ranker.Arm{Sets: ranker.PartModel, Model: "gone"}, func(*world) {}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 12)
			c.prepare(w)
			plain := w.rank(t, w.request(12))
			e := w.assign(c.arm)
			if name == "control's model is unknown too" {
				control := &ranker.Arm{Name: "control", Sets: ranker.PartModel, Model: "gone too"}
				e.assignments[0].Control = control
			}
			got := w.rank(t, w.request(12))
			if !slices.Equal(ids(got), ids(plain)) || got.Experiments["x"] != "control" {
				t.Errorf(
					"order %v, experiments %v; want control's %v",
					ids(got),
					got.Experiments,
					ids(plain),
				)
			}
			if !slices.Equal(got.Degraded, append([]string{}, c.degraded...)) {
				t.Errorf("degraded %v, want %v", got.Degraded, c.degraded)
			}
			imp := w.records[1]
			if !maps.Equal(imp.Fallback, map[string]string{"x": "other"}) || len(imp.Exposed) != 0 {
				t.Errorf(
					"fallback %v, exposed %v; want x: other and none",
					imp.Fallback,
					imp.Exposed,
				)
			}
			if imp.Experiments["x"] != "control" || len(w.errs) == 0 {
				t.Errorf("experiments %v, errors %v", imp.Experiments, w.errs)
			}
		})
	}
}

// Exposure depends on the parts that took effect, whichever arm was assigned.
func TestExposure(t *testing.T) {
	noText := ranker.Arm{Sets: ranker.PartText}
	deadline := ranker.Arm{Sets: ranker.PartDeadline, Deadline: time.Second}
	type request = ranker.Request
	for name, c := range map[string]struct {
		arm     ranker.Arm
		change  func(*world, *request, *fixedExperiments)
		exposed bool
	}{
		"one candidate has no order": {
			reversedArm,
			func(_ *world, r *request, _ *fixedExperiments) { r.Candidates = r.Candidates[:1] },
			false,
		},
		"two candidates have an order": {
			reversedArm,
			func(_ *world, r *request, _ *fixedExperiments) { r.Candidates = r.Candidates[:2] },
			true,
		},
		"the request names its model": {
			ranker.Arm{Sets: ranker.PartModel, Model: "gone"},
			func(_ *world, r *request, _ *fixedExperiments) { r.Model = "main" },
			false,
		},
		"the request names its deadline": {
			deadline, func(*world, *request, *fixedExperiments) {}, false,
		},
		"the request names no deadline": {
			deadline, func(_ *world, r *request, _ *fixedExperiments) { r.Deadline = 0 }, true,
		},
		"no candidate has a text": {
			noText, func(w *world, _ *request, _ *fixedExperiments) { clear(w.items) }, false,
		},
		"no model scored": {
			noText,
			func(w *world, _ *request, _ *fixedExperiments) { w.models.main.Scorer = failing },
			false,
		},
		"an A/A test changes nothing": {
			ranker.Arm{}, func(*world, *request, *fixedExperiments) {}, true,
		},
		"a forced arm": {
			reversedArm,
			func(_ *world, _ *request, e *fixedExperiments) { e.assignments[0].Forced = true },
			false,
		},
	} {
		for _, want := range []string{"other", "control"} {
			w := newWorld(t, 5)
			req := w.request(5)
			e := w.assign(c.arm)
			c.change(w, req, e)
			if want == "control" {
				e.assignControl()
			}
			resp := w.rank(t, req)
			imp := w.records[0]
			if got := slices.Contains(imp.Exposed, "x"); got != c.exposed {
				t.Errorf("%s, arm %s: exposed %t, want %t", name, want, got, c.exposed)
			}
			if resp.Experiments["x"] != want || len(imp.Fallback) != 0 {
				t.Errorf(
					"%s: arm %v, fallback %v; want %s",
					name,
					resp.Experiments,
					imp.Fallback,
					want,
				)
			}
		}
	}
}

// An arm without text ranks as a service without text. The impression keeps all columns.
func TestTextOff(t *testing.T) {
	w := newWorld(t, 30)
	withText := w.rank(t, w.request(30))
	w.assign(ranker.Arm{Sets: ranker.PartText})
	req := w.request(30)
	req.Explain = 30
	off := w.rank(t, req)
	for i, it := range off.Items {
		total := it.Explain.Base
		for _, c := range it.Explain.Contributions {
			total += c.Contribution
			if c.Group == ranker.GroupText {
				t.Fatalf("%s has a contribution of %s", it.ID, c.Feature)
			}
		}
		if diff := total - it.Score; diff > 1e-6 || diff < -1e-6 {
			t.Fatalf("%s: contributions add up to %g, want the score %g", it.ID, total, it.Score)
		}
		if it.Explain.RankWithoutText != i+1 {
			t.Fatalf("%s: rank without text %d, want %d", it.ID, it.Explain.RankWithoutText, i+1)
		}
	}
	if slices.Equal(ids(withText), ids(off)) || off.Coverage.Text != 1 {
		t.Errorf("order %v with and without text; coverage %+v", ids(off), off.Coverage)
	}
	if a, b := w.records[0].MatrixHash, w.records[1].MatrixHash; a != b {
		t.Errorf("matrix hashes %x with text and %x without, want the same", a, b)
	}
}

// Arms of several layers are merged.
func TestLayersAddUp(t *testing.T) {
	w := newWorld(t, 12)
	w.assign(ranker.Arm{Sets: ranker.PartText})
	want := ids(w.rank(t, w.request(12)))
	slices.Reverse(want)
	e := w.assign(ranker.Arm{Sets: ranker.PartText})
	e.assignments = append(e.assignments, ranker.Assignment{
		Experiment: "a",
		Parts:      ranker.PartPin,
		Control:    &ranker.Arm{Name: "control"},
		Arm: &ranker.Arm{
			Name:  "pinned",
			Sets:  ranker.PartPin,
			Rules: ranker.RuleSet{ranker.RulePin: reverse},
		},
	})
	got := w.rank(t, w.request(12))
	if !slices.Equal(ids(got), want) {
		t.Errorf("order %v, want %v", ids(got), want)
	}
	if !maps.Equal(got.Experiments, map[string]string{"x": "other", "a": "pinned"}) {
		t.Errorf("experiments %v, want x: other and a: pinned", got.Experiments)
	}
	if exposed := w.records[1].Exposed; !slices.Equal(exposed, []string{"a", "x"}) {
		t.Errorf("exposed %v, want a and x", exposed)
	}
}

// The user is read first only if an experiment needs their fields.
func TestUserFieldsAreReadIfNeeded(t *testing.T) {
	w := newWorld(t, 5)
	var reads []int // candidates of each read
	var fail error
	w.opt.Features = readFunc(func(
		ctx context.Context, q *ranker.FeatureQuery,
	) (*ranker.RequestState, error) {
		reads = append(reads, len(q.Candidates))
		state, err := w.read(ctx, q)
		state.UserFields = map[string]ranker.FieldValue{"country": ranker.StringValue("de")}
		return state, errors.Join(err, fail)
	})
	e := w.assign(ranker.Arm{Sets: ranker.PartText})
	w.rank(t, w.request(5))
	if !slices.Equal(reads, []int{5}) || e.user != nil {
		t.Errorf("not needed: reads %v, fields %v", reads, e.user)
	}
	e.readsUser = true
	w.rank(t, w.request(5))
	if !slices.Equal(reads, []int{5, 0, 5}) || e.user["country"].Str != "de" {
		t.Errorf("needed: reads %v, fields %v", reads, e.user)
	}
	fail = errBroken
	checkComplete(t, w.request(5), w.rank(t, w.request(5)))
	if e.user != nil {
		t.Errorf("fields of a failed read: %v, want nil", e.user)
	}
}

func TestPartNames(t *testing.T) {
	parts := ranker.PartModel | ranker.PartDeadline |
		ranker.RuleExploration.Part() | ranker.RuleFilter.Part()
	const want = "bundle, rules.filters, rules.exploration, deadline_ms"
	if got := fmt.Sprint(parts); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
