package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"relish/evaluation"
	"relish/internal/plural"
	"relish/ranker"
	"relish/ranker/signals"
	"relish/training/modelcard"
	"relish/training/replay"
)

// newCard fills the model card: what the bundle was trained on, how good it is, and why.
func newCard(ctx context.Context, run *run, r *results) (*modelcard.Data, error) {
	encoder := r.tuning.encoder
	active := r.plan.bundles.active
	d := &modelcard.Data{
		Version: run.created.Format("20060102T150405Z"), Previous: active.version(),
		Created: run.created, Revision: run.opt.Revision, Command: run.opt.Command,
		Gate: r.gate, Stages: slices.Clone(run.stages),
	}
	if encoder.vectors != nil {
		d.Encoder = fmt.Sprintf("%s, %.12s", encoder.manifest.ID, encoder.manifest.Digest)
	}
	addLog(d, r)
	addParts(d, r)
	addScores(d, r)
	addCurves(d, r)
	addTwoTower(d, r.newModel)
	addTimeLimits(d, r)
	if err := addRetention(d, r.newModel.RetentionLists, run.opt.Config.Seed); err != nil {
		return nil, err
	}
	addEncoder(d, r.tuning, run.opt.Config.Encoder.Objective)
	addFeatures(d, r)
	if err := addSignals(ctx, d, r, run.opt.Config.Signals); err != nil {
		return nil, err
	}
	if b := active.bundle; b != nil && b.Manifest.Encoder.Digest != "" && encoder.vectors == nil {
		warn(
			d,
			true,
			"The active bundle reads texts, but this training and the comparison did not: "+
				"the comparison does not apply to a service with a text encoder.",
		)
	}
	d.Settings = settings(run.opt.Config)
	d.Changes = changes(active.card, d)
	if r.plan.noWarmStart != "" {
		warn(d, false, "This is a full training. The requested warm start was not possible: %s.",
			r.plan.noWarmStart)
	}
	return d, nil
}

// warn adds a warning to the model card.
func warn(d *modelcard.Data, serious bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	d.Warnings = append(d.Warnings, modelcard.Warning{Serious: serious, Text: text})
}

// note adds a note to the model card.
func note(d *modelcard.Data, format string, args ...any) {
	d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
}

// addLog describes the events that were read.
func addLog(d *modelcard.Data, r *results) {
	log, all := r.final.Log, r.parity.all
	d.Log = &modelcard.Log{
		From: unixMillis(log.From), To: unixMillis(log.To),
		ParityChecked: all.equal + all.differing, ParityDiffering: all.differing,
	}
	add := func(name string, n int) {
		d.Log.Counts = append(d.Log.Counts, modelcard.Count{Name: name, N: n})
	}
	add("users", log.Users.Len())
	add("items", log.Items.Len())
	add("lists shown", log.DroppedLists+len(log.Lists))
	add("lists with a click", log.ClickedLists)
	add("lists that the scorer was trained on", r.final.Lists)
	for _, kind := range slices.Sorted(maps.Keys(log.Counts)) {
		add("events: "+string(kind), log.Counts[kind])
	}
	for _, action := range slices.Sorted(maps.Keys(log.Actions)) {
		add("interactions: "+action, log.Actions[action])
	}
	if log.LateFollowUps > 0 {
		add("follow-ups too late for their list", log.LateFollowUps)
	}
	for _, l := range r.plan.scan.incomplete {
		warn(d, false, "The log %s ends with %d bytes that are not a complete record. They were "+
			"left out. A crash cut the log, or a server was just writing: compare the counts of "+
			"events under Data with what was sent.", l.dir, l.bytes)
	}
	if n := r.plan.scan.source.conflicts; n > 0 {
		warn(d, false, "Events that were left out, because another replica's log has another one "+
			"with the same id: %d. Ids must be unique: see the senders of these events.", n)
	}
	byUser := map[int32]int{}
	for i := range log.Interactions {
		byUser[log.Interactions[i].User]++
	}
	d.Log.Distributions = []modelcard.Distribution{
		newDistribution("interactions per user", slices.Collect(maps.Values(byUser))),
	}
	addParity(d, r.parity)
}

// addParity shows which served lists replay computes again, and why it cannot for the others.
func addParity(d *modelcard.Data, p *parity) {
	if table := p.table(); table != nil {
		d.Tables = append(d.Tables, *table)
	}
	for _, reason := range slices.Sorted(maps.Keys(p.reasons)) {
		note(d, "%d of %d served lists cannot be computed again: %s.", p.reasons[reason],
			p.all.lists, reason)
	}
	if p.all.lists > 0 && p.all.equal+p.all.differing == 0 {
		note(d, "No served list could be computed again, so this training cannot tell whether it "+
			"learns from the values that are served.")
	}
	if len(p.columns) > 0 {
		warn(d, p.all.mismatch() > maxMismatch, "Columns that differ from the served ones: %s.",
			strings.Join(p.columnCounts(), ", "))
	}
}

// newDistribution makes a histogram whose bins double in width.
func newDistribution(name string, values []int) modelcard.Distribution {
	out := modelcard.Distribution{Name: name, Edges: []float64{0}}
	largest := 1
	for _, v := range values {
		largest = max(largest, v)
	}
	for edge := 1; ; edge *= 2 {
		out.Edges, out.Counts = append(out.Edges, float64(edge)), append(out.Counts, 0)
		if edge > largest {
			break
		}
	}
	for _, v := range values {
		at, found := slices.BinarySearch(out.Edges, float64(v))
		if !found {
			at--
		}
		out.Counts[at]++
	}
	return out
}

func unixMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

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

// maxSampledFeatures bounds the features whose contributions are shown candidate by candidate.
const maxSampledFeatures = 10

// addFeatures describes the inputs of the scorer and how much it uses them.
func addFeatures(d *modelcard.Data, r *results) {
	schema, sample := r.newModel.Model.Schema, r.measured.sample
	reasons := map[string]string{}
	for _, x := range r.newModel.Reasons {
		reasons[x.Feature] = x.Why
	}
	missingBefore := map[string]float64{}
	if card := r.plan.bundles.active.card; card != nil {
		for _, f := range card.Features {
			missingBefore[f.Name] = f.Missing
		}
	}
	for i, f := range schema.Features() {
		missing := float64(sample.missing[i]) / float64(max(1, sample.rows))
		x := modelcard.Feature{
			Name: f.Name, Kind: f.Kind, Group: ranker.GroupOf(&f), Missing: missing,
			Reason: cmp.Or(reasons[f.Name], "listed in the configuration"),
		}
		if before, known := missingBefore[f.Name]; known {
			x.MissingBefore = &before
		}
		d.Features = append(d.Features, x)
	}
	columns := schema.Columns()
	order := make([]int, len(columns))
	for c, column := range columns {
		order[c] = c
		d.Importances = append(d.Importances, modelcard.Importance{
			Feature: column.Name, Group: column.Group, Gain: r.newModel.Trees.GainImportance[c],
			Contribution: sample.contributions[c] / float64(max(1, len(sample.explained))),
		})
	}
	slices.SortStableFunc(d.Importances, func(a, b modelcard.Importance) int {
		return cmp.Compare(b.Gain, a.Gain)
	})
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(sample.contributions[b], sample.contributions[a])
	})
	for _, c := range order[:min(len(order), maxSampledFeatures)] {
		d.ContributionSamples = append(d.ContributionSamples, sample.points(c, columns[c].Name))
	}
}

// addSignals says what each signal costs and gains. enabled is train.signals.
func addSignals(ctx context.Context, d *modelcard.Data, r *results, enabled []string) error {
	costs, err := signalCosts(ctx, r.final.Model, r.final.Probes)
	if err != nil {
		return err
	}
	trained := r.final.SignalKinds()
	for i, kind := range trained {
		s := modelcard.Signal{
			Name: kind, Enabled: true, Microseconds: costs[i],
			Reason: "it is listed in train.signals, and the log has the data that it needs",
		}
		table := r.measured.table
		x, ok := table.Difference(newModelName, withoutPrefix+kind, evaluation.AllLists)
		if ok {
			s.Benefit = fmt.Sprintf(
				"NDCG@%d %s over the same scorer without its columns", table.K, x.NDCG.Signed(),
			)
		}
		d.Signals = append(d.Signals, s)
	}
	for _, kind := range signals.Kinds() {
		if slices.Contains(trained, kind) {
			continue
		}
		s := modelcard.Signal{
			Name:   kind,
			Reason: "the log or the texts lack the data that it needs",
		}
		if !slices.Contains(enabled, kind) {
			s.Reason = "it is not listed in train.signals"
		}
		if kind == signals.KindTwoTower && r.newModel.LeavesOutTwoTower() {
			s.Reason = "it ranks held-out interactions no better than item popularity"
		}
		d.Signals = append(d.Signals, s)
	}
	return nil
}
