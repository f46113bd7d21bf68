package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"relish/training/modelcard"
)

// report tells the training's story.
func (r *run) report(ctx context.Context, s *story) (*modelcard.Data, error) {
	d := &modelcard.Data{Version: r.created.Format("20060102T150405Z"), Created: r.created, Revision: r.Revision, Command: r.Command, Gate: s.gate,
		Stages: slices.Clone(r.stages)}
	d.Previous = r.version()
	if r.vectors != nil {
		d.Encoder = fmt.Sprintf("%s, %.12s", r.Encoder.ID, r.Encoder.Digest)
	}
	r.tellLog(d, s)
	r.tellParts(d, s)
	r.tellScores(d, s)
	if err := tellOld(d, s.measured.RetentionLists, r.Config.Seed); err != nil {
		return nil, err
	}
	r.tellEncoder(d)
	r.tellModel(d, s)
	if err := r.tellMatchers(ctx, d, s); err != nil {
		return nil, err
	}
	if b := r.running.bundle; b != nil && b.Manifest.Encoder.Digest != "" && r.vectors == nil {
		d.Warnings = append(d.Warnings, modelcard.Warning{Serious: true, Text: "The running bundle reads texts, and was compared without any, as this one was trained: the comparison says nothing of a service with a text encoder."})
	}
	d.Settings = settings(s.plan.measured.Config)
	d.Changes = changes(r.running.report, d)
	if s.plan.anew != "" {
		d.Warnings = append(d.Warnings, modelcard.Warning{Text: "It was trained anew, and not from a bundle: " + s.plan.anew + "."})
	}
	return d, nil
}

// tellLog says what was read.
func (r *run) tellLog(d *modelcard.Data, s *story) {
	l := s.final.Log
	d.Log = &modelcard.Log{From: when(l.First.Arrival), To: when(l.Last.Arrival), ParityChecked: s.parity.Checked, ParityDiffering: s.parity.Differing}
	counts := []modelcard.Count{{Name: "users", N: l.Users.Len()}, {Name: "items", N: l.Items.Len()}, {Name: "lists shown", N: l.DroppedLists + len(l.Lists)},
		{Name: "lists with a click", N: l.ClickedLists}, {Name: "lists that the blend learned from", N: s.final.Lists}}
	for _, kind := range slices.Sorted(maps.Keys(l.Counts)) {
		counts = append(counts, modelcard.Count{Name: "events: " + string(kind), N: l.Counts[kind]})
	}
	for _, action := range slices.Sorted(maps.Keys(l.Actions)) {
		counts = append(counts, modelcard.Count{Name: "interactions: " + action, N: l.Actions[action]})
	}
	if l.LateFollowUps > 0 {
		counts = append(counts, modelcard.Count{Name: "follow-ups that came too late for their list", N: l.LateFollowUps})
	}
	d.Log.Counts = counts
	lengths := map[int32]int{}
	for i := range l.Interactions {
		lengths[l.Interactions[i].User]++
	}
	d.Log.Distributions = []modelcard.Distribution{distribution("interactions of a user", slices.Collect(maps.Values(lengths)))}
	if s.parity.Left != "" {
		d.Warnings = append(d.Warnings, modelcard.Warning{Text: "Whether what is served is what is trained on was not checked on " + s.parity.Left + "."})
	}
}

// distribution counts values in steps that double.
func distribution(name string, values []int) modelcard.Distribution {
	out := modelcard.Distribution{Name: name, Edges: []float64{0}}
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
func (r *run) tellParts(d *modelcard.Data, s *story) {
	l := s.measured.Log
	var cut int64 // arrival
	newest := 0
	for i := range l.Lists {
		if l.Lists[i].Seq >= s.measured.HoldoutStart {
			if newest++; cut == 0 {
				cut = l.Lists[i].Arrival
			}
		}
	}
	if cut == 0 {
		cut = l.Last.Arrival
	}
	early, late := "earlier part", "newest part"
	d.Parts = []modelcard.LogPart{
		{Name: early, From: when(l.First.Arrival), To: when(cut), Lists: l.DroppedLists + len(l.Lists) - newest, Use: "trains the matchers and the blend; the newest of its lists say when to stop"},
		{Name: late, From: when(cut), To: when(l.Last.Arrival), Lists: newest, Use: fmt.Sprintf("left out: the %d lists with clicks are measured on, and the gate decides by them", s.results.table.Lists)}}
	d.Steps = r.steps(s, early)
	d.Steps = append(d.Steps,
		modelcard.FlowStep{Name: "matchers", Note: "on all users", From: []string{early}},
		modelcard.FlowStep{Name: "measured bundle", From: []string{"blend", "matchers"}, Kind: modelcard.StepResult},
		modelcard.FlowStep{Name: "metrics and gate", From: []string{"measured bundle", late}, Kind: modelcard.StepMeasures})
	if s.plan.again {
		d.Parts[1].Use += "; then everything is trained again with it"
		d.Steps = append(d.Steps, modelcard.FlowStep{Name: "bundle", Note: "the same training on everything", From: []string{early, late}, Kind: modelcard.StepResult})
		d.Warnings = append(d.Warnings, modelcard.Warning{Text: "The figures are those of a training without the newest part. The bundle itself is the same training on everything, " +
			"which nothing is left to measure on; --holdout leaves the newest part out of the bundle as well."})
	}
}

// steps are those that lead to the blend.
func (r *run) steps(s *story, early string) []modelcard.FlowStep {
	trees := fmt.Sprintf("LambdaMART, %d trees of at most %d leaves", s.measured.Trees.Rounds, s.measured.Leaves)
	if r.parent == nil {
		return []modelcard.FlowStep{
			{Name: "matchers, cross-fitted", Note: "each user's lists by matchers that were trained without him", From: []string{early}},
			{Name: "blend", Note: trees, From: []string{"matchers, cross-fitted", early}}}
	}
	return []modelcard.FlowStep{
		{Name: "matchers of the old part", Note: "without the users whose old lists are used again", From: []string{early}},
		{Name: "blend", Note: fmt.Sprintf("the trees of %s, and then %s", r.parent.Model.Version, trees), From: []string{"matchers of the old part", early}}}
}
