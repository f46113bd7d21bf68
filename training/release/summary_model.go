package release

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"relish/ranker"
	"relish/ranker/match"
	"relish/training/evaluate"
	"relish/training/report"
)

// tellModel says what it looks at.
func (r *run) tellModel(d *report.Data, s *story) {
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
		x := report.Feature{Name: f.Name, Kind: f.Kind, Group: ranker.GroupOf(&f), Reason: why[f.Name], Missing: float64(sample.missing[i]) / float64(max(1, sample.rows))}
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
		d.Weights = append(d.Weights, report.Weight{Feature: column.Name, Group: column.Group, Gain: s.measured.Trees.Importance[c],
			Contribution: sample.contributions[c] / float64(max(1, len(sample.points)))})
	}
	slices.SortStableFunc(d.Weights, func(a, b report.Weight) int { return cmp.Compare(b.Gain, a.Gain) })
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sample.contributions[b], sample.contributions[a]) })
	for _, c := range order[:min(len(order), spreadFeatures)] {
		d.Spreads = append(d.Spreads, sample.spread(c, columns[c].Name))
	}
}

// What the strips of contributions show.
const (
	spreadFeatures = 10
	spreadPoints   = 150
)

func (s *sample) spread(column int, name string) report.Spread {
	out := report.Spread{Feature: name}
	for _, p := range s.points[:min(len(s.points), spreadPoints)] {
		x := report.SpreadPoint{Contribution: p.parts[column]}
		if v := float64(p.values[column]); !math.IsNaN(v) && !math.IsInf(v, 0) {
			x.Value = &v
		}
		out.Points = append(out.Points, x)
	}
	return out
}

// tellMatchers says what each matcher costs and adds.
func (r *run) tellMatchers(ctx context.Context, d *report.Data, s *story) error {
	micros, err := costs(ctx, s.final.Model, s.final.Probes)
	if err != nil {
		return err
	}
	kinds := s.final.Kinds()
	for i, kind := range kinds {
		m := report.Matcher{Name: kind, On: true, Micros: micros[i], Why: "it is among train.matchers, and the log has what it learns from"}
		if x, ok := s.results.table.Difference(thisBundle, withoutStart+kind, evaluate.AllLists); ok {
			m.Worth = fmt.Sprintf("%+.3f NDCG@%d [%+.3f, %+.3f] over the same blend without its columns", x.NDCG.Mean, s.results.table.K, x.NDCG.Low, x.NDCG.High)
		}
		d.Matchers = append(d.Matchers, m)
	}
	for _, kind := range match.Kinds() {
		if slices.Contains(kinds, kind) {
			continue
		}
		m := report.Matcher{Name: kind, Why: "the log, or the texts, have nothing that it learns from"}
		if !slices.Contains(r.Config.Matchers, kind) {
			m.Why = "it is not among train.matchers"
		}
		d.Matchers = append(d.Matchers, m)
	}
	return nil
}
