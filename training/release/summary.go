package release

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"relish/ranker"
	"relish/ranker/match"
	"relish/training"
	"relish/training/evaluate"
	"relish/training/report"
)

// report tells the training's story.
func (r *run) report(ctx context.Context, s *story) (*report.Data, error) {
	d := &report.Data{Version: r.created.Format("20060102T150405Z"), Created: r.created, Revision: r.Revision, Command: r.Command, Gate: s.gate,
		Stages: slices.Clone(r.stages)}
	d.Previous = r.version()
	if r.vectors != nil {
		d.Encoder = fmt.Sprintf("%s, %.12s", r.Encoder.ID, r.Encoder.Digest)
	}
	r.tellLog(d, s)
	r.tellParts(d, s)
	r.tellScores(d, s)
	r.tellModel(d, s)
	if err := r.tellMatchers(ctx, d, s); err != nil {
		return nil, err
	}
	d.Settings = settings(s.plan.measured.Config)
	d.Changes = changes(r.running.report, d)
	return d, nil
}

// tellLog says what was read.
func (r *run) tellLog(d *report.Data, s *story) {
	l := s.final.Log
	d.Log = &report.Log{From: when(l.First.Arrival), To: when(l.Last.Arrival), ParityChecked: s.parity.Checked, ParityDiffering: s.parity.Differing}
	counts := []report.Count{{Name: "users", N: l.Users.Len()}, {Name: "items", N: l.Items.Len()}, {Name: "lists shown", N: l.Dropped + len(l.Lists)},
		{Name: "lists with a click", N: l.Clicked}, {Name: "lists that the blend learned from", N: s.final.Lists}}
	for _, kind := range slices.Sorted(maps.Keys(l.Counts)) {
		counts = append(counts, report.Count{Name: "events: " + string(kind), N: l.Counts[kind]})
	}
	for _, action := range slices.Sorted(maps.Keys(l.Actions)) {
		counts = append(counts, report.Count{Name: "interactions: " + action, N: l.Actions[action]})
	}
	if l.Late > 0 {
		counts = append(counts, report.Count{Name: "follow-ups that came too late for their list", N: l.Late})
	}
	d.Log.Counts = counts
	lengths := map[int32]int{}
	for i := range l.Steps {
		lengths[l.Steps[i].User]++
	}
	d.Log.Distributions = []report.Distribution{distribution("interactions of a user", slices.Collect(maps.Values(lengths)))}
	if s.parity.Left != "" {
		d.Warnings = append(d.Warnings, report.Warning{Text: "Whether what is served is what is trained on was not checked on " + s.parity.Left + "."})
	}
}

// distribution counts values in steps that double.
func distribution(name string, values []int) report.Distribution {
	out := report.Distribution{Name: name, Edges: []float64{0}}
	top := 1
	for _, v := range values {
		top = max(top, v)
	}
	for edge := 1; ; edge *= 2 {
		out.Edges, out.Counts = append(out.Edges, float64(edge)), append(out.Counts, 0)
		if edge > top {
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

func when(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// tellParts says which part of the log was used for what.
func (r *run) tellParts(d *report.Data, s *story) {
	l := s.measured.Log
	var cut int64 // arrival
	newest := 0
	for i := range l.Lists {
		if l.Lists[i].Seq >= s.measured.Cut {
			if newest++; cut == 0 {
				cut = l.Lists[i].Arrival
			}
		}
	}
	if cut == 0 {
		cut = l.Last.Arrival
	}
	early, late := "earlier part", "newest part"
	d.Parts = []report.Part{
		{Name: early, From: when(l.First.Arrival), To: when(cut), Lists: l.Dropped + len(l.Lists) - newest, Use: "trains the matchers and the blend; the newest 15 % of its lists say when to stop"},
		{Name: late, From: when(cut), To: when(l.Last.Arrival), Lists: newest, Use: fmt.Sprintf("left out: the %d lists with clicks are measured on, and the gate decides by them", s.results.table.Lists)}}
	blend := fmt.Sprintf("LambdaMART, %d trees of %d leaves", s.measured.Trees.Rounds, s.measured.Leaves)
	d.Steps = []report.Step{
		{Name: "matchers, cross-fitted", Note: "each user's lists by matchers that were trained without him", From: []string{early}},
		{Name: "blend", Note: blend, From: []string{"matchers, cross-fitted", early}},
		{Name: "matchers", Note: "on all users", From: []string{early}},
		{Name: "measured bundle", From: []string{"blend", "matchers"}, Kind: report.Result},
		{Name: "metrics and gate", From: []string{"measured bundle", late}, Kind: report.Measures}}
	if s.plan.again {
		d.Parts[1].Use += "; then everything is trained again with it"
		d.Steps = append(d.Steps, report.Step{Name: "bundle", Note: "the same training on everything", From: []string{early, late}, Kind: report.Result})
		d.Warnings = append(d.Warnings, report.Warning{Text: "The figures are those of a training without the newest part. The bundle itself is the same training on everything, " +
			"which nothing is left to measure on; --holdout leaves the newest part out of the bundle as well."})
	}
}

// tellScores says how good it is.
func (r *run) tellScores(d *report.Data, s *story) {
	t := s.results.table
	for _, row := range t.Rows {
		if strings.HasPrefix(row.Scorer, withoutStart) {
			continue
		}
		role := report.This
		switch {
		case row.Plain:
			role = report.Plain
		case row.Scorer == s.results.running:
			role = report.Before
		}
		for _, m := range metricsIn(t, row) {
			d.Scores = append(d.Scores, report.Score{Scorer: row.Scorer, Role: role, Metric: m.name, Slice: row.Slice, Value: m.value})
		}
	}
	metric := fmt.Sprintf("NDCG@%d", t.K)
	for _, x := range t.Differences {
		if x.Scorer != thisBundle || strings.HasPrefix(x.Against, withoutStart) {
			continue
		}
		against := x.Against
		if against == s.results.running {
			against = r.version()
		}
		d.Differences = append(d.Differences, report.Difference{Against: against, Metric: metric, Slice: x.Slice, Value: x.NDCG})
	}
	for _, o := range t.Overall {
		if o.Scorer == thisBundle && o.Calibration != nil {
			d.Calibration = &report.Calibration{Bins: o.Calibration.Bins, Error: o.Calibration.Error,
				Note: "The sigmoid was fitted to the earlier half of these lists, and is measured on the later half."}
		}
	}
	kept := float64(s.measured.Trees.Rounds)
	curve := report.Series{Name: "validation"}
	for i, y := range s.measured.Trees.Curve {
		curve.X, curve.Y = append(curve.X, float64(i+1)), append(curve.Y, y)
	}
	if len(curve.X) > 0 {
		d.Curves = []report.Curve{{Name: "Blend", X: "tree", Y: "NDCG@10", Series: []report.Series{curve}, Kept: &kept}}
	}
}

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

// settings are a configuration's values by name, beside the defaults.
func settings(c training.Config) (out []report.Setting) {
	value, usual := flat(c), flat(training.DefaultConfig())
	for _, name := range slices.Sorted(maps.Keys(value)) {
		out = append(out, report.Setting{Name: "train." + name, Value: value[name], Default: usual[name]})
	}
	return out
}

// flat writes a configuration as names and values; lists are one value.
func flat(c training.Config) map[string]string {
	out := map[string]string{}
	var doc yaml.Node
	if err := doc.Encode(c); err != nil {
		return out
	}
	var walk func(name string, n *yaml.Node)
	walk = func(name string, n *yaml.Node) {
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				walk(strings.TrimPrefix(name+"."+n.Content[i].Value, "."), n.Content[i+1])
			}
		case yaml.SequenceNode:
			var parts []string
			for _, x := range n.Content {
				if x.Kind == yaml.ScalarNode {
					parts = append(parts, x.Value)
				}
			}
			if out[name] = strings.Join(parts, ", "); len(parts) < len(n.Content) {
				out[name] = fmt.Sprintf("%d entries", len(n.Content))
			}
		default:
			out[name] = n.Value
		}
	}
	walk("", &doc)
	return out
}

// changes are the differences to the running bundle.
func changes(before, now *report.Data) (out []report.Change) {
	if before == nil {
		return nil
	}
	diff := func(what string, before, now map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(now)) {
			old, known := before[name]
			switch {
			case !known:
				out = append(out, report.Change{What: what + " " + name, Change: "added", Detail: now[name]})
			case old != now[name]:
				out = append(out, report.Change{What: what + " " + name, Change: "changed", Detail: old + " to " + now[name]})
			}
		}
		for _, name := range slices.Sorted(maps.Keys(before)) {
			if _, still := now[name]; !still {
				out = append(out, report.Change{What: what + " " + name, Change: "removed", Detail: before[name]})
			}
		}
	}
	features := func(d *report.Data) map[string]string {
		m := map[string]string{}
		for _, f := range d.Features {
			m[f.Name] = f.Kind
		}
		return m
	}
	matchers := func(d *report.Data) map[string]string {
		m := map[string]string{}
		for _, x := range d.Matchers {
			if m[x.Name] = "off"; x.On {
				m[x.Name] = "on"
			}
		}
		return m
	}
	given := func(d *report.Data) map[string]string {
		m := map[string]string{}
		for _, x := range d.Settings {
			m[x.Name] = x.Value
		}
		return m
	}
	diff("feature", features(before), features(now))
	diff("matcher", matchers(before), matchers(now))
	diff("setting", given(before), given(now))
	if before.Encoder != now.Encoder {
		out = append(out, report.Change{What: "encoder", Change: "changed", Detail: before.Encoder + " to " + now.Encoder})
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
