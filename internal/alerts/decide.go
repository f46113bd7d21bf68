package alerts

import (
	"fmt"
	"math"
	"slices"

	"relish/features/trends"
)

// State says what a rule decides.
type State string

// The states of a rule.
const (
	Undecided State = "undecided" // too little is known
	Quiet     State = "quiet"
	Over      State = "over" // the condition is met
)

// Decision is what a rule says about a moment, with its figures. Value, Usual and Threshold are
// shares or counts, as the rule has it.
type Decision struct {
	State State `json:"state"`
	// Reason says in a sentence why the rule decides this.
	Reason    string  `json:"reason"`
	Value     float64 `json:"value"`
	Usual     float64 `json:"usual"`     // median of the windows; 0 for a rule without "usual"
	Threshold float64 `json:"threshold"` // Value above it meets the condition
	Count     int     `json:"count"`     // texts or events with the value
	Total     int     `json:"total"`     // all texts or events with a value of the field
	// Basis says with which windows the present one was compared, "" if with none.
	Basis   string `json:"basis,omitzero"`
	Windows int    `json:"windows,omitzero"` // how many of them there were
}

// level is one way to choose the windows that the present one is compared with: those that end
// multiples of step hours earlier. It needs at least some windows.
type level struct {
	step, needs int
	name        string
}

var levels = []level{
	{7 * 24, 4, "the same hours of the week"},
	{24, 7, "the same hours of the day"},
	{1, 24, "all hours"},
}

// deviations is how many robust standard deviations above the median a value must be, besides the
// rule's own limit, so that chance meets no rule.
const deviations = 5

// Decide says whether a condition is met, given the counts of its value in the hours up to now. It
// is a pure function.
//
// The window is the present hour, which is not over yet, and the Hours - 1 hours before. "Its
// usual" is the median of earlier windows without the present one. Their deviation is 1.4826 times
// the median absolute deviation, but at least what chance gives for as many texts, and at least one
// text.
func (r *Rule) Decide(h *trends.Hours) Decision {
	last := len(h.Counts)
	d := Decision{Count: sum(h.Counts, last, r.Hours), Total: sum(h.Totals, last, r.Hours)}
	d.Value = r.value(d.Count, d.Total)
	if d.Total < r.MinCount {
		d.State, d.Reason = Undecided, fmt.Sprintf(
			"%d in the window, and min_count is %d", d.Total, r.MinCount)
		return d
	}
	d.Threshold = r.Limit
	if r.Usual {
		windows := r.windows(h, &d)
		if windows == nil {
			d.State, d.Threshold, d.Reason = Undecided, 0, fmt.Sprintf(
				"too little history: %d windows with at least %d, and %d are needed", d.Windows,
				r.MinCount, levels[len(levels)-1].needs)
			return d
		}
		d.compare(r, windows)
	}
	d.State = Quiet
	relation := "is not above"
	if d.Value > d.Threshold {
		d.State, relation = Over, "is above"
	}
	d.Reason = fmt.Sprintf("%.3g (%d of %d) %s %.3g", d.Value, d.Count, d.Total, relation,
		d.Threshold)
	if r.Usual {
		d.Reason += fmt.Sprintf("; usual is %.3g, the median of %d windows: %s", d.Usual,
			d.Windows, d.Basis)
	}
	return d
}

// value returns the share or the count.
func (r *Rule) value(count, total int) float64 {
	switch {
	case !r.Share:
		return float64(count)
	case total == 0:
		return 0
	}
	return float64(count) / float64(total)
}

// windows returns the values of the windows of the first level that has enough, nil if none has. A
// window of a share needs MinCount, as the present one does. It sets Basis and Windows.
func (r *Rule) windows(h *trends.Hours, d *Decision) []float64 {
	first := len(h.Counts) - h.Known // before it nothing was counted
	for _, l := range levels {
		var values []float64
		for back := l.step; ; back += l.step {
			end := len(h.Counts) - back
			if end-r.Hours < first {
				break
			}
			total := sum(h.Totals, end, r.Hours)
			if back >= r.Hours && (!r.Share || total >= r.MinCount) {
				values = append(values, r.value(sum(h.Counts, end, r.Hours), total))
			}
		}
		if d.Windows = len(values); d.Windows >= l.needs {
			d.Basis = l.name
			return values
		}
	}
	return nil
}

// compare sets Usual and Threshold.
func (d *Decision) compare(r *Rule, windows []float64) {
	d.Usual = median(windows)
	for i, v := range windows {
		windows[i] = math.Abs(v - d.Usual)
	}
	deviation := 1.4826 * median(windows)
	chance, one := math.Sqrt(d.Usual), 1.0 // of a count
	if r.Share {
		total := float64(d.Total)
		chance, one = math.Sqrt(d.Usual*(1-d.Usual)/total), 1/total
	}
	d.Threshold = max(r.Limit*d.Usual, d.Usual+deviations*max(deviation, chance, one))
}

// sum adds up the n counts before the index end.
func sum(counts []int, end, n int) (s int) {
	for _, c := range counts[max(0, end-n):end] {
		s += c
	}
	return s
}

// median returns the median and sorts the values.
func median(values []float64) float64 {
	slices.Sort(values)
	mid := len(values) / 2
	if len(values)%2 == 1 {
		return values[mid]
	}
	return (values[mid-1] + values[mid]) / 2
}
