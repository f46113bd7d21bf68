package pipeline

import (
	"fmt"
	"time"

	"relish/internal/plural"
	"relish/training/modelcard"
	"relish/training/replay"
)

// Names of the log parts and of the flow steps.
const (
	earlierPart  = "earlier part"
	newestPart   = "newest part"
	crossFitted  = "cross-fitted signals"
	earlySignals = "signals of the earlier lists"
	allSignals   = "signals"
	scorerStep   = "scorer"
	measuredStep = "measured bundle"
)

// addParts says which part of the log was used for what.
func addParts(d *modelcard.Data, r *results) {
	log := r.newModel.Log
	cut, newest := holdoutBegin(log, r.newModel.HoldoutStart)
	use := fmt.Sprintf(
		"held out: the gate measures on its %s with clicks",
		plural.Count(r.measured.table.Lists, "list"),
	)
	if r.plan.retrain {
		use += "; then everything is trained again with it, which leaves no lists to measure the " +
			"bundle on (--holdout keeps this part out of the bundle)"
	}
	d.Parts = []modelcard.LogPart{{
		Name: earlierPart, From: unixMillis(log.From), To: cut,
		Lists: log.DroppedLists + len(log.Lists) - newest,
		Use:   "trains the signals and the scorer; its newest lists decide when to stop",
	}, {
		Name: newestPart, From: cut, To: unixMillis(log.To), Lists: newest, Use: use,
	}}
	d.Steps = append(scorerSteps(r), modelcard.FlowStep{
		Name: allSignals, Note: "on all users", From: []string{earlierPart},
	}, modelcard.FlowStep{
		Name: measuredStep, From: []string{scorerStep, allSignals}, Kind: modelcard.StepResult,
	}, modelcard.FlowStep{
		Name: "metrics and gate", From: []string{measuredStep, newestPart},
		Kind: modelcard.StepMeasures,
	})
	if r.plan.retrain {
		d.Steps = append(d.Steps, modelcard.FlowStep{
			Name: "bundle", Note: "the same training on everything",
			From: []string{earlierPart, newestPart}, Kind: modelcard.StepResult,
		})
	}
}

// holdoutBegin returns when the held-out part begins and how many lists it has.
func holdoutBegin(log *replay.Log, start uint64) (cut time.Time, lists int) {
	at := int64(0)
	for i := range log.Lists {
		if log.Lists[i].Seq >= start {
			if lists++; at == 0 {
				at = log.Lists[i].Time
			}
		}
	}
	if at == 0 {
		at = log.To
	}
	return unixMillis(at), lists
}

// scorerSteps are the steps that train the scorer.
func scorerSteps(r *results) []modelcard.FlowStep {
	trees := fmt.Sprintf("LambdaMART, %s of at most %d leaves",
		plural.Count(r.newModel.Trees.Rounds, "tree"), r.newModel.Leaves)
	if r.plan.parent == nil {
		return []modelcard.FlowStep{
			{
				Name: crossFitted,
				Note: "each user's lists are scored by signals trained without the user",
				From: []string{earlierPart},
			},
			{Name: scorerStep, Note: trees, From: []string{crossFitted, earlierPart}},
		}
	}
	return []modelcard.FlowStep{
		{Name: earlySignals, Note: "trained without the users whose old lists are used again",
			From: []string{earlierPart}},
		{Name: scorerStep, From: []string{earlySignals, earlierPart},
			Note: fmt.Sprintf("the trees of %s, then %s", r.plan.parent.Model.Version, trees)},
	}
}
