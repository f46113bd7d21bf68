package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"relish/evaluation"
	"relish/ranker"
	"relish/ranker/signals"
	"relish/training/modelcard"
)

// tellModel says what it looks at.
func (r *run) tellModel(d *modelcard.Data, s *story) {
	model, sample := s.measured.Model, s.results.sample
	why := map[string]string{}
	for _, x := range s.measured.Reasons {
		why[x.Feature] = x.Why
	}
	before := map[string]float64{}
	if r.running.report != nil {
		for _, f := range r.running.report.Features {
			before[f.Name] = f.Missing
		}
	}
	for i, f := range model.Schema.Features() {
		x := modelcard.Feature{Name: f.Name, Kind: f.Kind, Group: ranker.GroupOf(&f), Reason: why[f.Name], Missing: float64(sample.missing[i]) / float64(max(1, sample.rows))}
		if x.Reason == "" {
			x.Reason = "given"
		}
		if b, known := before[f.Name]; known {
			x.MissingBefore = &b
		}
		d.Features = append(d.Features, x)
	}
	columns := model.Schema.Columns()
	order := make([]int, len(columns))
	for c, column := range columns {
		order[c] = c
		d.Importances = append(d.Importances, modelcard.Importance{Feature: column.Name, Group: column.Group, Gain: s.measured.Trees.GainImportance[c],
			Contribution: sample.contributions[c] / float64(max(1, len(sample.points)))})
	}
	slices.SortStableFunc(d.Importances, func(a, b modelcard.Importance) int { return cmp.Compare(b.Gain, a.Gain) })
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sample.contributions[b], sample.contributions[a]) })
	for _, c := range order[:min(len(order), spreadFeatures)] {
		d.ContributionSamples = append(d.ContributionSamples, sample.spread(c, columns[c].Name))
	}
}

// What the strips of contributions show.
const (
	spreadFeatures = 10
	spreadPoints   = 150
)

func (s *sample) spread(column int, name string) modelcard.ContributionSample {
	out := modelcard.ContributionSample{Feature: name}
	for _, p := range s.points[:min(len(s.points), spreadPoints)] {
		x := modelcard.ContributionPoint{Contribution: p.parts[column]}
		if v := float64(p.values[column]); !math.IsNaN(v) && !math.IsInf(v, 0) {
			x.Value = &v
		}
		out.Points = append(out.Points, x)
	}
	return out
}

// tellMatchers says what each matcher costs and adds.
func (r *run) tellMatchers(ctx context.Context, d *modelcard.Data, s *story) error {
	micros, err := costs(ctx, s.final.Model, s.final.Probes)
	if err != nil {
		return err
	}
	kinds := s.final.SignalKinds()
	for i, kind := range kinds {
		m := modelcard.Signal{Name: kind, Enabled: true, Microseconds: micros[i], Reason: "it is among train.signals, and the log has what it learns from"}
		if x, ok := s.results.table.Difference(thisBundle, withoutStart+kind, evaluation.AllLists); ok {
			m.Benefit = fmt.Sprintf("%+.3f NDCG@%d [%+.3f, %+.3f] over the same blend without its columns", x.NDCG.Mean, s.results.table.K, x.NDCG.Low, x.NDCG.High)
		}
		d.Signals = append(d.Signals, m)
	}
	for _, kind := range signals.Kinds() {
		if slices.Contains(kinds, kind) {
			continue
		}
		m := modelcard.Signal{Name: kind, Reason: "the log, or the texts, have nothing that it learns from"}
		if !slices.Contains(r.Config.Signals, kind) {
			m.Reason = "it is not among train.signals"
		}
		d.Signals = append(d.Signals, m)
	}
	return nil
}
