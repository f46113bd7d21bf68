package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"relish/evaluation"
	"relish/ranker"
	"relish/ranker/signals"
	"relish/training/modelcard"
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
	addNoAnswer(d, r.measured.noAnswer)
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
