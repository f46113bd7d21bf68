package alerts

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"gonum.org/v1/gonum/stat/distuv"

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

// Besides the rule's own limit, a value must be so far from the usual that chance hardly meets a
// rule: so many robust standard deviations above the median, and with a smaller probability than
// that of the same distance in a normal distribution.
const (
	deviations = 5
	chance     = 2.9e-7
)

// Decide says whether a condition is met, given the counts of its value in the hours up to now. It
// is a pure function.
//
// The window is the present hour, which is not over yet, and the Hours - 1 hours before. "Its
// usual" is the median of earlier windows without the present one.
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
		usual := r.baseline(h, &d)
		if usual == nil {
			d.State, d.Threshold, d.Reason = Undecided, 0, fmt.Sprintf(
				"too little history: %d windows with at least %d, and %d are needed", d.Windows,
				r.MinCount, levels[len(levels)-1].needs)
			return d
		}
		d.compare(r, usual)
	}
	d.State = Quiet
	relation := "is not above"
	if d.Value > d.Threshold {
		d.State, relation = Over, "is above"
	}
	d.Reason = fmt.Sprintf("%s (%d of %d) %s %s", figure(d.Value), d.Count, d.Total, relation,
		figure(d.Threshold))
	if r.Usual {
		d.Reason += fmt.Sprintf("; usual is %s, the median of %d windows: %s", figure(d.Usual),
			d.Windows, d.Basis)
	}
	return d
}

// figure writes a share or a count with three digits, or all digits before the point.
func figure(x float64) string {
	if x >= 1000 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.3g", x)
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

// baseline is what earlier windows say.
type baseline struct {
	values   []float64 // of the windows
	events   float64   // in all windows together, without those that windows share
	separate float64   // number of windows that share no hour
}

// baseline returns the windows of the first level that has enough, nil if none has. A window of a
// share needs MinCount, as the present one does. It sets Basis and Windows.
func (r *Rule) baseline(h *trends.Hours, d *Decision) *baseline {
	first := len(h.Counts) - h.Known // before it nothing was counted
	for _, l := range levels {
		var b baseline
		overlap := max(1, float64(r.Hours)/float64(l.step))
		for back := l.step; ; back += l.step {
			end := len(h.Counts) - back
			if end-r.Hours < first {
				break
			}
			total := sum(h.Totals, end, r.Hours)
			if back >= r.Hours && (!r.Share || total >= r.MinCount) {
				b.values = append(b.values, r.value(sum(h.Counts, end, r.Hours), total))
				b.events += float64(total) / overlap
			}
		}
		b.separate = float64(len(b.values)) / overlap
		if d.Windows = len(b.values); d.Windows >= l.needs {
			d.Basis = l.name
			return &b
		}
	}
	return nil
}

// compare sets Usual and Threshold.
func (d *Decision) compare(r *Rule, b *baseline) {
	d.Usual = median(b.values)
	for i, v := range b.values {
		b.values[i] = math.Abs(v - d.Usual)
	}
	deviation := 1.4826 * median(b.values)
	limit := float64(chanceCount(d.Usual, b.separate))
	if r.Share {
		limit = float64(chanceShare(d.Usual, b.events, d.Total)) / float64(d.Total)
	}
	d.Threshold = max(r.Limit*d.Usual, d.Usual+deviations*deviation, limit)
}

// medianError is the standard error of a median relative to that of a mean.
const medianError = 1.25

// chanceShare returns the largest count of total texts that chance may give. The share that it
// assumes is the usual one and the standard error of that, which events texts have told.
func chanceShare(usual, events float64, total int) int {
	p := usual + max(medianError*math.Sqrt(usual*(1-usual)/events), 1/events)
	x := distuv.Binomial{N: float64(total), P: min(1, p)}
	return sort.Search(total, func(c int) bool { return x.Survival(float64(c)) < chance })
}

// chanceCount does the same for a count that so many windows have told.
func chanceCount(usual, windows float64) int {
	x := distuv.Poisson{Lambda: usual + max(medianError*math.Sqrt(usual/windows), 1/windows)}
	most := int(2*x.Lambda) + 40
	return sort.Search(most, func(c int) bool { return x.Survival(float64(c)) < chance })
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
