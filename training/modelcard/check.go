package modelcard

import (
	"fmt"
	"math"
	"slices"

	"relish/evaluation"
	"relish/internal/stats"
)

// The limits of Check.
const (
	// maxParityShare is the largest normal share of differing matrices. Events that arrive between
	// the state read and the impression record explain that many.
	maxParityShare = 0.01
	// fewLists is the number of lists below which the interval of an NDCG is wider than about
	// ±0.045. It lies below the 300 that a training aims at when it holds lists out.
	fewLists       = 250
	leakGainShare  = 0.6  // of the total gain, on a single feature
	leakScore      = 0.98 // no ranker of real clicks is this good
	missingDrift   = 0.1  // change of a feature's share of missing values
	maxCalibration = 0.05 // mean error of the predicted probabilities
)

// warnFunc adds a warning.
type warnFunc func(serious bool, format string, args ...any)

// Check returns what to look at before the bundle is activated, serious warnings first. It derives
// warnings from the data by fixed rules and appends those of the training itself.
func Check(d *Data) []Warning {
	var out []Warning
	warn := func(serious bool, format string, args ...any) {
		out = append(out, Warning{serious, fmt.Sprintf(format, args...)})
	}
	checkGate(d, warn)
	checkSplit(d, warn)
	checkParity(d, warn)
	checkScores(d, warn)
	checkFeatures(d, warn)
	checkCurves(d, warn)
	out = append(out, d.Warnings...)
	slices.SortStableFunc(out, func(a, b Warning) int {
		switch {
		case a.Serious == b.Serious:
			return 0
		case a.Serious:
			return -1
		}
		return 1
	})
	return out
}

func checkGate(d *Data, warn warnFunc) {
	if g := d.Gate; g != nil {
		switch {
		case g.Forced:
			warn(true, "Activated although the gate refused: %s", g.Reason)
		case !g.Activated:
			warn(true, "Not activated: %s", g.Reason)
		}
	}
	for _, diff := range d.Differences {
		if diff.Value.Verdict() == stats.Worse {
			warn(diff.Slice == evaluation.AllLists,
				"Worse than %s by %.3f %s on the slice %q; the 95 %% interval excludes zero (%s).",
				diff.Against, -diff.Value.Mean, diff.Metric, diff.Slice, diff.Value)
		}
	}
}

// checkSplit looks for a part of the log that a model was both trained and measured on.
func checkSplit(d *Data, warn warnFunc) {
	sources, measures := map[string][]string{}, map[string]bool{}
	for _, s := range d.Steps {
		sources[s.Name], measures[s.Name] = s.From, s.Kind == StepMeasures
	}
	visited := map[string]bool{}
	var trainedOn func(step, part string) bool
	trainedOn = func(step, part string) bool {
		if visited[step] || measures[step] {
			return false
		}
		visited[step] = true
		return slices.ContainsFunc(sources[step], func(source string) bool {
			return source == part || trainedOn(source, part)
		})
	}
	for _, s := range d.Steps {
		for _, part := range d.Parts {
			if s.Kind != StepMeasures || !slices.Contains(s.From, part.Name) {
				continue
			}
			clear(visited)
			if slices.ContainsFunc(s.From, func(source string) bool {
				return trainedOn(source, part.Name)
			}) {
				warn(true, "%q measures on the part %q, which the model was trained on: its "+
					"figures say nothing about new data.", s.Name, part.Name)
			}
		}
	}
}

func checkParity(d *Data, warn warnFunc) {
	if d.Log == nil || d.Log.ParityChecked == 0 {
		return
	}
	share := float64(d.Log.ParityDiffering) / float64(d.Log.ParityChecked)
	if share > maxParityShare {
		warn(true, "%.1f %% of the logged feature matrices differ from their replay (%s of %s; "+
			"up to %.0f %% is normal): the model is trained on other values than it serves. "+
			"Check for a changed state configuration, clocks that disagree, or a table that was "+
			"imported later.",
			100*share, formatCount(d.Log.ParityDiffering), formatCount(d.Log.ParityChecked),
			100*maxParityShare)
	}
}

func checkScores(d *Data, warn warnFunc) {
	scores := newScoreIndex(d.Scores)
	if len(scores.metrics) == 0 {
		return
	}
	metric := scores.metrics[0]
	this, ok := scores.byRole(metric, evaluation.AllLists, RoleThis)
	if !ok {
		return
	}
	if this.Value.N < fewLists {
		warn(false, "Only %s were scored: the intervals are wide, and a difference of a few "+
			"hundredths may be chance. Raise --holdout, or wait for more clicks.",
			formatPlural(this.Value.N, "list"))
	}
	if this.Value.Mean > leakScore {
		warn(true, "%s of %.3f is too good to be true: look for a feature that contains the label.",
			metric, this.Value.Mean)
	}
	checkBaseline(d, scores, this, warn)
	checkLoggedOrder(d, scores, warn)
	if c := d.Calibration; c != nil && c.Error > maxCalibration {
		warn(false, "Predicted probabilities are off by %.3f on average. The order does not "+
			"suffer, but do not use the scores as probabilities.", c.Error)
	}
}

// checkBaseline warns if a baseline, which needs no training, ranks at least as well as the bundle.
func checkBaseline(d *Data, scores *scoreIndex, this Score, warn warnFunc) {
	best, ok := scores.bestBaseline(this.Metric, evaluation.AllLists)
	if !ok || best.Value.Mean < this.Value.Mean {
		return
	}
	finding, serious := "cannot be distinguished from", false
	for _, diff := range d.Differences {
		if diff.Against == best.Scorer && diff.Metric == this.Metric &&
			diff.Slice == evaluation.AllLists && diff.Value.Verdict() == stats.Worse {
			finding, serious = "is lower than that of", true
		}
	}
	warn(serious, "%s %.3f %s %s (%.3f) on %s. A model that gains nothing is not worth its cost: "+
		"look for missing data or features.", this.Metric, this.Value.Mean, finding, best.Scorer,
		best.Value.Mean, formatPlural(this.Value.N, "list"))
}

// checkLoggedOrder warns if the bundle seems worse than the order in which the items were shown, by
// position-corrected metrics. A clear difference is one of checkGate's.
func checkLoggedOrder(d *Data, scores *scoreIndex, warn warnFunc) {
	for _, diff := range d.Differences {
		logged, ok := scores.find(diff.Metric, evaluation.AllLists, evaluation.LoggedOrder)
		if ok && diff.Against == evaluation.LoggedOrder && diff.Slice == evaluation.AllLists &&
			diff.Value.Mean < 0 && diff.Value.Verdict() != stats.Worse {
			warn(false, "Not better than the logged order (%.3f %s): the difference is %s. "+
				"Compare online.", logged.Value.Mean, diff.Metric, diff.Value.Signed())
		}
	}
}

func checkFeatures(d *Data, warn warnFunc) {
	total := 0.0
	for _, i := range d.Importances {
		total += i.Gain
	}
	for _, i := range d.Importances {
		if len(d.Importances) > 2 && i.Gain > leakGainShare*total {
			warn(true, "The feature %q has %.0f %% of the gain. Make sure that it does not "+
				"contain the label: change later events and check that the feature stays the same.",
				i.Feature, 100*i.Gain/total)
		}
	}
	for _, f := range d.Features {
		if f.MissingBefore != nil && math.Abs(f.Missing-*f.MissingBefore) > missingDrift {
			warn(false, "The feature %q is missing for %.0f %% of the candidates, before it was "+
				"%.0f %%: check whether its source changed.",
				f.Name, 100*f.Missing, 100**f.MissingBefore)
		}
	}
}

func checkCurves(d *Data, warn warnFunc) {
	for _, c := range d.Curves {
		last := math.Inf(-1)
		for _, s := range c.Series {
			if len(s.X) > 0 {
				last = max(last, s.X[len(s.X)-1])
			}
		}
		if c.Kept != nil && *c.Kept >= last && !math.IsInf(last, -1) {
			warn(false, "%s was still improving at its last %s (%g): raise the limit in the "+
				"configuration.",
				c.Name, c.X, last)
		}
	}
}
