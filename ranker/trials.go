package ranker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// assign draws the request's arms. Only where an experiment asks for the user's fields is the user
// read first, alone; without an answer in time those fields count as unknown.
func (r *ranking) assign(ctx context.Context) {
	e := r.opt.Experiments
	if e == nil {
		return
	}
	var user map[string]FieldValue
	if e.ReadsUser() {
		user = r.userFields(ctx)
	}
	r.trials, r.allocation = e.Assign(r.req, user, r.opt.Clock().UnixMilli())
	for i := range r.trials {
		t := &r.trials[i]
		if t.inEffect = t.Arm; t.Interleave {
			t.inEffect = t.Control
		}
	}
	r.fold()
	if r.req.Deadline == 0 && r.plan.Deadline > 0 {
		r.deadline = r.plan.Deadline
	}
}

// userFields reads the user without any candidate.
func (r *ranking) userFields(ctx context.Context) map[string]FieldValue {
	start := time.Now()
	defer func() { r.timing(StageFeatures, start) }()
	active, err := r.opt.Models.Model("")
	if err != nil {
		return nil
	}
	ctx, cancel := r.slice(ctx, userBy)
	defer cancel()
	q := &FeatureQuery{User: r.req.User, Context: r.req.Context, Now: r.now, Schema: active.Schema}
	state, err := within(ctx, func(ctx context.Context) (*RequestState, error) { return r.opt.Features.Read(ctx, q) })
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("features: %w", err))
		return nil
	}
	return state.UserFields
}

// fold makes the plan of the request out of the arms in effect.
func (r *ranking) fold() {
	r.plan = Arm{Text: true, Rules: r.opt.Rules}
	for i := range r.trials {
		if now := r.trials[i].inEffect; now != nil {
			r.plan.merge(now)
		}
	}
	if r.interleaved() != nil {
		r.plan.Rules[RuleExploration] = nil // the draft is the exploration
	}
}

// fall gives up the arms that set one of the parts and puts control in their place; it reports
// whether there was one. Control itself gives way to the service's own ranking.
func (r *ranking) fall(parts RankingPart, why error) bool {
	fell := false
	for i := range r.trials {
		t := &r.trials[i]
		if t.inEffect == nil || t.inEffect.Sets&parts == 0 {
			continue
		}
		r.errs = append(r.errs, fmt.Errorf("experiment %s: arm %s: %w", t.Experiment, t.inEffect.Name, why))
		fell, t.fellBack = true, true
		if t.inEffect != t.Control {
			t.inEffect = t.Control
		} else {
			t.inEffect = nil
		}
	}
	if fell {
		r.fold()
	}
	return fell
}

// interleaved returns the trial whose two arms are drafted from, nil mostly.
func (r *ranking) interleaved() *Assignment {
	for i := range r.trials {
		if t := &r.trials[i]; t.Interleave && !t.fellBack {
			return t
		}
	}
	return nil
}

// choose finds the model of the plan: what the request names, else what an arm sets, else the active
// one. Only a name of the request's own can fail.
func (r *ranking) choose() (*Model, error) {
	if r.req.Model != "" {
		return r.opt.Models.Model(r.req.Model)
	}
	for {
		m, err := r.opt.Models.Model(r.plan.Model)
		if err != nil {
			if r.fall(PartModel, err) {
				continue
			}
			return nil, err
		}
		if r.plan.ScorerParams == nil {
			return m, nil
		}
		tuned, err := tune(m, r.plan.ScorerParams)
		if err == nil {
			return tuned, nil
		}
		r.fall(PartScorer, err)
	}
}

func tune(m *Model, params map[string]float64) (*Model, error) {
	blend, ok := m.Scorer.(Tunable)
	if !ok {
		return nil, fmt.Errorf("the blend of model %s has no parameters", m.Version)
	}
	b, err := blend.Tune(params)
	if err != nil {
		return nil, err
	}
	tuned := *m
	tuned.Scorer = b
	return &tuned, nil
}

// reach notes the parts that took effect in this request, or would have under another arm.
func (r *ranking) reach() {
	n := len(r.list.Entries)
	if r.req.Deadline == 0 {
		r.reached |= PartDeadline
	}
	if r.model != nil && r.req.Model == "" {
		r.reached |= PartModel | PartScorer
	}
	if r.model != nil && slices.ContainsFunc(r.state.Items, func(it *ItemInfo) bool { return it != nil && it.TextKey != 0 }) {
		r.reached |= PartText
	}
	if n > 0 {
		r.reached |= PartFilter | PartBoost | PartPin
	}
	if n > 1 {
		r.reached |= PartDiversity
		if r.interleaved() == nil {
			r.reached |= PartExploration
		}
	}
}

// tell puts the arms into the answer.
func (r *ranking) tell() {
	for i := range r.trials {
		r.resp.Experiments[r.trials[i].Experiment] = r.trials[i].servedArm()
	}
}

// recordArms writes what a report needs to know of the request's n recorded items.
func (r *ranking) recordArms(imp *Impression, n int) {
	imp.ExperimentsVersion = r.allocation
	for i := range r.trials {
		t := &r.trials[i]
		switch {
		case t.Forced: // a person who tests counts for nothing
		case t.fellBack:
			if imp.Fallback == nil {
				imp.Fallback = map[string]string{}
			}
			imp.Fallback[t.Experiment] = t.Arm.Name
		case t.Parts == 0 || t.Parts&r.reached != 0:
			imp.Exposed = append(imp.Exposed, t.Experiment)
		}
	}
	slices.Sort(imp.Exposed)
	if t := r.interleaved(); t != nil {
		imp.Interleaved = &Interleaved{Experiment: t.Experiment, Arms: [2]string{t.Control.Name, t.Arm.Name}, Teams: slices.Clone(r.teams[:n])}
	}
	imp.Experiments = maps.Clone(r.resp.Experiments)
}
