package ranker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"relish/internal/parallel"
)

// plan says how one request is ranked: the service's own way, changed by the arms in effect. It is
// immutable. A step that cannot do its part under the plan makes a new one with fallBack.
type plan struct {
	rules       RuleSet      // the service's own
	assignments []Assignment // one for each layer of experiments, at most
	version     string       // of the experiments' configuration, "" without experiments
	arm         Arm          // the service's own way with the arms in effect merged in
	deadline    time.Duration
	model       *Model // selected for arm; fallbacks may score in its place
}

// assign draws the request's arms and selects the model. It fails only if the request names a model
// that is not loaded (ErrUnknownModel).
//
// The user's fields are read first, alone, if an experiment asks for them. Without an answer in
// time the experiments see no fields.
func (p *Pipeline) assign(ctx context.Context, run *run) (plan, error) {
	pl := plan{rules: p.opt.Rules, deadline: run.deadline}
	if p.opt.Experiments != nil {
		pl.assignments, pl.version = p.drawArms(ctx, run)
		for i := range pl.assignments {
			a := &pl.assignments[i]
			if a.inEffect = a.Arm; a.Interleave {
				a.inEffect = a.Control
			}
		}
	}
	pl = pl.mergeArms()
	if run.req.Deadline == 0 && pl.arm.Deadline > 0 {
		pl.deadline = pl.arm.Deadline
	}
	return p.selectModel(run, pl)
}

// drawArms asks the experiments for the request's arms. If they panic, no experiment runs.
func (p *Pipeline) drawArms(
	ctx context.Context, run *run,
) (assignments []Assignment, version string) {
	err := parallel.Catch(func() error {
		e := p.opt.Experiments
		var user map[string]FieldValue
		if e.ReadsUser() {
			user = p.userFields(ctx, run)
		}
		assignments, version = e.Assign(run.req, user, p.opt.Clock().UnixMilli())
		return nil
	})
	if err != nil {
		run.fail("experiments", err)
	}
	return assignments, version
}

// userFields reads the user without any candidate; nil if that fails.
func (p *Pipeline) userFields(ctx context.Context, run *run) map[string]FieldValue {
	defer run.timing(StageFeatures, time.Now())
	active, err := p.acquire(run, "")
	if err != nil {
		return nil
	}
	state, err := p.readFeatures(ctx, run, userUntil, nil, active.Schema)
	if err != nil {
		run.fail("features", err)
		return nil
	}
	return state.UserFields
}

// selectModel returns the plan with its model: the one that the request names, else an arm's, else
// the active one. If an arm's model or scorer parameters are unavailable, the arm falls back.
func (p *Pipeline) selectModel(run *run, pl plan) (plan, error) {
	if run.req.Model != "" {
		m, err := p.acquire(run, run.req.Model)
		if err == nil {
			pl.model = m
		}
		return pl, err
	}
	for {
		part := PartModel
		m, err := p.acquire(run, pl.arm.Model)
		if err == nil && pl.arm.ScorerParams != nil {
			part = PartScorer
			m, err = withParams(m, pl.arm.ScorerParams)
		}
		if err == nil {
			pl.model = m
			return pl, nil
		}
		next, changed := pl.fallBack(run, part, err)
		if !changed {
			return pl, err
		}
		pl = next
	}
}

// acquire returns the named model, or the active one for "". The run holds it until releaseModels.
func (p *Pipeline) acquire(run *run, version string) (*Model, error) {
	m, err := p.opt.Models.Acquire(version)
	if err == nil {
		run.models = append(run.models, m)
	}
	return m, err
}

// withParams returns a copy of the model whose scorer has other parameters.
func withParams(m *Model, params map[string]float64) (*Model, error) {
	scorer, ok := m.Scorer.(Tunable)
	if !ok {
		return nil, fmt.Errorf("model %s has no scorer parameters; remove scorer from the arm",
			m.Version)
	}
	tuned := *m
	var err error
	if tuned.Scorer, err = scorer.Tune(params); err != nil {
		return nil, err
	}
	return &tuned, nil
}

// mergeArms returns the plan with arm made from the arms in effect.
func (pl plan) mergeArms() plan {
	pl.arm = Arm{Text: true, Rules: pl.rules}
	for i := range pl.assignments {
		if arm := pl.assignments[i].inEffect; arm != nil {
			pl.arm.merge(arm)
		}
	}
	if pl.interleaves() {
		pl.arm.Rules[RuleExploration] = nil // interleaving is the exploration
	}
	return pl
}

// fallBack replaces the arms that set one of the parts by control, and control by the service's own
// ranking. It reports whether there was such an arm.
func (pl plan) fallBack(run *run, parts RankingPart, why error) (next plan, changed bool) {
	next = pl
	next.assignments = slices.Clone(pl.assignments)
	for i := range next.assignments {
		a := &next.assignments[i]
		if a.inEffect == nil || a.inEffect.Sets&parts == 0 {
			continue
		}
		run.fail(fmt.Sprintf("experiment %s: arm %s", a.Experiment, a.inEffect.Name), why)
		changed, a.fellBack = true, true
		if a.inEffect != a.Control {
			a.inEffect = a.Control
		} else {
			a.inEffect = nil
		}
	}
	if !changed {
		return pl, false
	}
	return next.mergeArms(), true
}

// interleaving returns the index of the assignment whose two arms are interleaved, -1 without one.
func (pl plan) interleaving() int {
	return slices.IndexFunc(pl.assignments, func(a Assignment) bool {
		return a.Interleave && !a.fellBack
	})
}

func (pl plan) interleaves() bool { return pl.interleaving() >= 0 }

// secondArm returns the plan of an interleaved ranking's other side: its arm in place of control.
func (pl plan) secondArm() plan {
	pl.assignments = slices.Clone(pl.assignments)
	a := &pl.assignments[pl.interleaving()]
	a.inEffect = a.Arm
	return pl.mergeArms()
}

// withoutInterleaving returns the plan with the interleaved assignment fallen back to control.
func (pl plan) withoutInterleaving() plan {
	i := pl.interleaving()
	if i < 0 {
		return pl
	}
	pl.assignments = slices.Clone(pl.assignments)
	pl.assignments[i].fellBack = true
	return pl
}

// endInterleaving is withoutInterleaving; it also reports why to run.
func (pl plan) endInterleaving(run *run, why error) plan {
	if i := pl.interleaving(); i >= 0 {
		run.fail("experiment "+pl.assignments[i].Experiment, why)
	}
	return pl.withoutInterleaving()
}

// checkOthers ends the interleaving if an assignment of another experiment fell back in pl, the
// second side's plan, but not in first. Both lists must differ by the interleaved arms alone.
func (pl plan) checkOthers(run *run, first plan) plan {
	for i := range pl.assignments {
		if i != pl.interleaving() && pl.assignments[i].fellBack && !first.assignments[i].fellBack {
			return pl.endInterleaving(run, errAnotherFellBack)
		}
	}
	return pl
}

// scoresLike reports whether both plans give every candidate the same score.
func (pl plan) scoresLike(other plan) bool {
	a, b := &pl.arm, &other.arm
	return a.Model == b.Model && a.ScorerParams == nil && b.ScorerParams == nil && a.Text == b.Text
}

// servedArms returns the arm of each experiment as the answer names it; never nil.
func (pl plan) servedArms() map[string]string {
	arms := map[string]string{}
	for i := range pl.assignments {
		arms[pl.assignments[i].Experiment] = pl.assignments[i].servedArm()
	}
	return arms
}
