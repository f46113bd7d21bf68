package modelcard

import (
	"fmt"
	"math"
	"slices"

	"relish/evaluation"
)

// The limits of Check.
const (
	maxParity      = 0.01 // what arrived between the state read and the record may differ; more is a defect
	fewLists       = 300  // an NDCG's interval is then about ±.04 wide
	leakGain       = 0.6  // of the total gain on one feature
	leakScore      = 0.98 // no honest ranker of clicks is this good
	missingDrift   = 0.1  // change of a feature's share of missing values
	maxCalibration = 0.05
	fewPairs       = 20 // the bootstrap's interval of fewer differences is too narrow
)

// Check returns what to look at before the bundle is activated, the serious first: what follows from
// the data by rule, and then the training's own warnings.
func Check(d *Data) []Warning {
	var out []Warning
	warn := func(serious bool, format string, args ...any) {
		out = append(out, Warning{serious, fmt.Sprintf(format, args...)})
	}
	checkGate(d, warn)
	checkSplit(d, warn)
	checkLog(d, warn)
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

func checkGate(d *Data, warn func(bool, string, ...any)) {
	if g := d.Gate; g != nil {
		switch {
		case g.Forced:
			warn(true, "Activated by force although the gate advised against it: %s", g.Reason)
		case !g.Activated:
			warn(true, "Not activated: %s", g.Reason)
		}
	}
	for _, diff := range d.Differences {
		if diff.Value.N >= fewPairs && diff.Value.High < 0 {
			warn(diff.Slice == evaluation.AllLists, "Worse than %s by %.3f %s on the slice %q, and not by chance (%s).",
				diff.Against, -diff.Value.Mean, diff.Metric, diff.Slice, diff.Value)
		}
	}
}

// checkSplit looks for a part of the log that something was both trained and measured on.
func checkSplit(d *Data, warn func(bool, string, ...any)) {
	from, measures := map[string][]string{}, map[string]bool{}
	for _, s := range d.Steps {
		from[s.Name], measures[s.Name] = s.From, s.Kind == StepMeasures
	}
	seen := map[string]bool{}
	var learnedFrom func(name, part string) bool
	learnedFrom = func(name, part string) bool {
		if seen[name] || measures[name] {
			return false
		}
		seen[name] = true
		return slices.ContainsFunc(from[name], func(source string) bool { return source == part || learnedFrom(source, part) })
	}
	for _, s := range d.Steps {
		for _, part := range d.Parts {
			if s.Kind != StepMeasures || !slices.Contains(s.From, part.Name) {
				continue
			}
			clear(seen)
			if slices.ContainsFunc(s.From, func(source string) bool { return learnedFrom(source, part.Name) }) {
				warn(true, "%q reads the part %q, which what it measures was trained on: its figures say nothing of new data.", s.Name, part.Name)
			}
		}
	}
}

func checkLog(d *Data, warn func(bool, string, ...any)) {
	if d.Log == nil || d.Log.ParityChecked == 0 {
		return
	}
	if share := float64(d.Log.ParityDiffering) / float64(d.Log.ParityChecked); share > maxParity {
		warn(true, "%.1f %% of the logged matrices differ from the replay's (%s of %s; up to %.0f %% is normal): what is trained on is not what is served. Look for a changed state configuration, several clocks, or a table imported later.",
			100*share, count(d.Log.ParityDiffering), count(d.Log.ParityChecked), 100*maxParity)
	}
}

func checkScores(d *Data, warn func(bool, string, ...any)) {
	board := newScoreIndex(d.Scores)
	if len(board.metrics) == 0 {
		return
	}
	main := board.metrics[0]
	this, ok := board.byRole(main, evaluation.AllLists, RoleThis)
	if !ok {
		return
	}
	if this.Value.N < fewLists {
		warn(false, "Only %s were scored: the intervals are wide, and a difference of a few hundredths may be chance. Score a larger part, or wait for more clicks.", plural(this.Value.N, "list"))
	}
	if this.Value.Mean > leakScore {
		warn(true, "%s of %.3f is too good to be true: look for a feature that knows the label.", main, this.Value.Mean)
	}
	if best, ok := board.bestBaseline(main, evaluation.AllLists); ok && best.Value.Mean >= this.Value.Mean {
		warn(true, "The plain baseline %q reaches %s %.3f, this bundle %.3f: it is not worth its cost.", best.Scorer, main, best.Value.Mean, this.Value.Mean)
	}
	if c := d.Calibration; c != nil && c.Error > maxCalibration {
		warn(false, "Predicted probabilities are off by %.3f on average. The order is not touched by that; do not use scores as probabilities.", c.Error)
	}
}

func checkFeatures(d *Data, warn func(bool, string, ...any)) {
	total := 0.0
	for _, w := range d.Importances {
		total += w.Gain
	}
	for _, w := range d.Importances {
		if len(d.Importances) > 2 && w.Gain > leakGain*total {
			warn(true, "Feature %q has %.0f %% of the gain: make sure that it does not know the label (a leak test is to change the future and see whether it moves).", w.Feature, 100*w.Gain/total)
		}
	}
	for _, f := range d.Features {
		if f.MissingBefore != nil && math.Abs(f.Missing-*f.MissingBefore) > missingDrift {
			warn(false, "Feature %q is missing for %.0f %% of the candidates, %.0f %% before: did its source change?", f.Name, 100*f.Missing, 100**f.MissingBefore)
		}
	}
}

func checkCurves(d *Data, warn func(bool, string, ...any)) {
	for _, c := range d.Curves {
		last := math.Inf(-1)
		for _, s := range c.Series {
			if len(s.X) > 0 {
				last = max(last, s.X[len(s.X)-1])
			}
		}
		if c.Kept != nil && *c.Kept >= last && !math.IsInf(last, -1) {
			warn(false, "%s was still improving at its last %s (%g): allow it more.", c.Name, c.X, last)
		}
	}
}
