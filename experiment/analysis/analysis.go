// Package analysis answers the question that an experiment was run for: which arm won, or what to
// do next. The event log goes in. A Report comes out, with metrics, checks and a Decision.
//
// From log to decision:
//
//  1. Run reads the log once (collector). It keeps a few counts for each user, and nothing for each
//     event: what they did before their first exposure, since then, and on the current day.
//  2. The counts of all users become moments, and the moments become each arm's metric and its
//     difference to the control (comparer). Standard errors use the delta method, because users
//     were randomised, not impressions. CUPED removes the noise that earlier behaviour explains.
//     Sequential intervals hold at any look, so reading the report every day is safe.
//  3. Checks question the result: were users split as configured (SampleRatio), is a guardrail
//     breached (GuardrailResult), does the effect wear off (Novelty), does it hold in segments?
//  4. decide turns all of it into one Decision: ship, stop, keep running, or broken data.
//
// An interleaving experiment shows both arms in every list. Step 2 then counts which arm's items
// each user clicks (Interleaving), and step 3 does not apply.
//
// Days are UTC days of event time, in order of arrival: a late event counts for its user's open
// day. Memory grows with users and items. It is about 800 bytes a user; the ndcg metric and
// interleaving add about 100 bytes for each of a user's last lists.
package analysis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"relish/features/event"
	"relish/internal/stats"
)

// Source yields the log's records in order of arrival, with the errors of package eventlog.
type Source = iter.Seq2[event.Record, error]

// Options says what to analyse. A zero value means the default in brackets.
type Options struct {
	Experiment string
	// Metric is ctr, conversion, revenue, ndcg, latency, degraded, coverage, diversity or
	// reward:EXPR [ctr].
	Metric   string
	From, To time.Time // impressions from From on and before To count [all]
	// Weights are the arms' configured shares on any scale. The users' split is tested against
	// them. nil means equal shares of the arms in the log.
	Weights map[string]float64
	// Control is the arm that others are compared with ["control", else the first by name].
	Control string
	// Unit is what was assigned: "user" or "session" ["user"].
	Unit string
	// Alpha is the accepted probability of a false finding, over all arms together [0.05].
	Alpha float64
	Power float64 // probability of a decision at the end of the days left, for their estimate [0.8]
	// MinEffect is the smallest lift worth having, as a share of the control's value [0.01].
	MinEffect  float64
	MinDays    int         // nothing is shipped earlier, because weekdays differ [7]
	Segments   []string    // context fields, at most 3 [surface, device]
	Guardrails []Guardrail // [DefaultGuardrails]

	Progress func(done int) // receives the records read now and then; may be nil
}

func (o Options) withDefaults() Options {
	def := func(x *float64, v float64) {
		if *x == 0 {
			*x = v
		}
	}
	def(&o.Alpha, 0.05)
	def(&o.Power, 0.8)
	def(&o.MinEffect, 0.01)
	if o.MinDays == 0 {
		o.MinDays = 7
	}
	if o.Metric == "" {
		o.Metric = "ctr"
	}
	if o.Unit == "" {
		o.Unit = "user"
	}
	if o.Guardrails == nil {
		o.Guardrails = DefaultGuardrails()
	}
	if o.Segments == nil {
		o.Segments = []string{"surface", "device"}
	}
	return o
}

func (o *Options) check() error {
	if o.Experiment == "" {
		return errors.New("the experiment's name is missing")
	}
	if o.Unit != "user" && o.Unit != "session" {
		return fmt.Errorf("unit %q is unknown; use user or session", o.Unit)
	}
	if len(o.Segments) > maxSegments {
		return fmt.Errorf("%d segments; name at most %d context fields",
			len(o.Segments), maxSegments)
	}
	shares := map[string]float64{
		"alpha": o.Alpha, "power": o.Power, "smallest effect": o.MinEffect,
	}
	for name, x := range shares {
		if !(x > 0 && x < 1) {
			return fmt.Errorf("%s is %g; it must be above 0 and below 1", name, x)
		}
	}
	for _, g := range o.Guardrails {
		if !(g.Margin > 0 && g.Margin < 1) {
			return fmt.Errorf("the margin of %s is %g; it must be above 0 and below 1",
				g.Metric, g.Margin)
		}
	}
	for arm, w := range o.Weights {
		if !(w > 0) {
			return fmt.Errorf("the weight of arm %q is %g; "+
				"a weight must be above 0, so leave out arms without users", arm, w)
		}
	}
	return nil
}

// Errors of Run, in addition to those of the log and the context.
var (
	// ErrInvalidOptions: the options cannot be analysed; the message says why.
	ErrInvalidOptions = errors.New("no report")
	// ErrNoExposure: nobody was exposed to the experiment in the requested time.
	ErrNoExposure = errors.New("no exposure")
)

// Run reads the log once and reports on one experiment.
//
// It fails if the options are invalid, if the log cannot be read completely, or if the log does not
// contain the experiment. A report on a part of the log would be about another experiment, so
// damage is an error. Whatever is wrong with the data themselves is in the report.
func Run(ctx context.Context, src Source, opt Options) (*Report, error) {
	opt = opt.withDefaults()
	if err := opt.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidOptions, err)
	}
	c, err := newCollector(opt)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidOptions, err)
	}
	if err := c.readLog(ctx, src); err != nil {
		return nil, err
	}
	if c.last == 0 {
		return nil, fmt.Errorf("%w: no impression of the log is exposed to experiment %q in this "+
			"time; check the name and the dates", ErrNoExposure, opt.Experiment)
	}
	r := newReport(c)
	if c.interleavedArms[0] != "" {
		c.analyzeInterleaving(r)
	} else {
		c.analyzeArms(r)
	}
	return r, nil
}

// Report is the result of an analysis.
type Report struct {
	Experiment        string       `json:"experiment"`
	Mode              string       `json:"mode"` // "split" or "interleave"
	Metric            string       `json:"metric"`
	MetricDescription string       `json:"metric_description"`
	Unit              string       `json:"unit"`
	Alpha             float64      `json:"alpha"`
	From              time.Time    `json:"from"` // first counted impression
	To                time.Time    `json:"to"`   // last counted impression
	Days              int          `json:"days"`
	Records           int          `json:"records"` // read from the log
	Control           string       `json:"control"`
	Arms              []Arm        `json:"arms"` // control first
	Theta             Float        `json:"cuped_theta"`
	VarianceSaved     Float        `json:"cuped_variance_saved"` // share removed by CUPED, 0 to 1
	Comparisons       []Comparison `json:"comparisons"`          // of the arms after the control
	SampleRatio       SampleRatio  `json:"sample_ratio"`
	// Unmatched counts interactions that name a list that is unknown or older than the user's last
	// 8 lists. They are not counted.
	Unmatched int `json:"unmatched_interactions"`
	// InvalidValues counts purchases whose value is no finite 32-bit number, as old logs may hold
	// it. Their values are left out.
	InvalidValues int            `json:"invalid_values,omitempty"`
	Series        []DayPoint     `json:"series"`
	Segments      []Segment      `json:"segments"`
	Histogram     []HistogramBin `json:"histogram"`
	Interleaving  *Interleaving  `json:"interleave,omitempty"`
	Decision      Decision       `json:"decision"`
}

func newReport(c *collector) *Report {
	r := &Report{
		Experiment:        c.opt.Experiment,
		Mode:              "split",
		Metric:            c.opt.Metric,
		MetricDescription: c.metric.description,
		Unit:              c.opt.Unit,
		Alpha:             c.opt.Alpha,
		From:              time.UnixMilli(c.first).UTC(),
		To:                time.UnixMilli(c.last).UTC(),
		Days:              int(dayOf(c.last)-dayOf(c.first)) + 1,
		Records:           c.records,
		Unmatched:         c.unmatched,
		InvalidValues:     c.invalidValues,
		Arms:              []Arm{},
		Comparisons:       []Comparison{},
		Series:            []DayPoint{},
		Segments:          []Segment{},
		Histogram:         []HistogramBin{},
		SampleRatio:       SampleRatio{Expected: []Float{}, Causes: []SRMCause{}},
	}
	if c.interleavedArms[0] != "" {
		r.Mode, r.Metric = "interleave", "preference"
		r.MetricDescription = "clicks on each arm's items"
	}
	return r
}

// Arm is what one arm's users did since their first exposure.
type Arm struct {
	Name            string  `json:"name"`
	Users           int     `json:"users"`
	Impressions     float64 `json:"impressions"`
	Fallbacks       float64 `json:"fallbacks"` // impressions that control served for the arm
	Clicks          float64 `json:"clicks"`
	Conversions     float64 `json:"conversions"` // purchases
	Revenue         float64 `json:"revenue"`     // sum of the purchases' values
	Value           Float   `json:"value"`       // the metric
	Adjusted        Float   `json:"adjusted"`    // the metric after CUPED
	SE              Float   `json:"se"`          // standard error of Adjusted
	ProbabilityBest Float   `json:"probability_best"`
}

// Comparison is one arm against the control.
type Comparison struct {
	Arm         string            `json:"arm"`
	Difference  Range             `json:"difference"`
	Lift        Range             `json:"lift"` // as a share of the control's value
	P           Float             `json:"p"`
	PHolm       Float             `json:"p_holm"`       // P corrected for the number of arms
	SequentialP Float             `json:"p_sequential"` // valid at any look, corrected as well
	Guardrails  []GuardrailResult `json:"guardrails"`
	Novelty     Novelty           `json:"novelty"`
	Action      Action            `json:"action"`
	DaysToGo    int               `json:"days_to_go,omitempty"` // estimate, with KeepRunning
	Reason      string            `json:"reason"`
	raw         stats.Difference  // the lift, for planning
}

// Range is a value with two intervals. Low and High hold for a single look at the end. SeqLow and
// SeqHigh hold however often one looks.
type Range struct {
	Value   Float `json:"value"`
	Low     Float `json:"low"`
	High    Float `json:"high"`
	SeqLow  Float `json:"sequential_low"`
	SeqHigh Float `json:"sequential_high"`
}

// Float is a number that may be unknown: NaN and infinities are null in JSON.
type Float float64

// MarshalJSON implements json.Marshaler.
func (n Float) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}
