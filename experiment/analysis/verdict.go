// Package verdict answers the question that an experiment was run for: which arm won, or what else to
// do. The event log goes in, a Report with a verdict in words comes out.
//
// The story: one pass over the log (Run) keeps a few numbers per user - what he did before his first
// exposure, since then, and today - and nothing per event. From the users come moments, from the
// moments each arm's value and its difference to the control: by the delta method, since the user was
// drawn and not the impression; less noisy by what is known of him from before (CUPED); with intervals
// that may be looked at every day. Then come the doubts: were users split as configured, does a
// guardrail hurt, does the effect wear off, does one test stand for many. A verdict puts it into words.
//
// Days are UTC days of event time, in the order of arrival: an event that comes late counts on the day
// that is open for its user. Memory grows with users and items: some 800 bytes a user, with ndcg or
// interleaving some 100 bytes for each of his last lists besides.
package analysis

import (
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"time"

	"relish/features/event"
	"relish/internal/stats"
)

// Source gives the log's records in order of arrival, with eventlog's errors.
type Source = iter.Seq2[event.Record, error]

// Options says what to look at. Zero values mean the defaults in brackets.
type Options struct {
	Experiment string
	Metric     string    // ctr, conversion, revenue, ndcg, latency, degraded, coverage, diversity or reward:EXPR [ctr]
	From, To   time.Time // impressions from From on and before To count [all]
	// Weights are the arms' configured shares, in any scale, by which the split is judged; nil means
	// equal shares of the arms that are seen.
	Weights map[string]float64
	Control string // the arm that others are compared with ["control", else the first by name]
	// Unit is who was assigned: "user" or "session". [user]
	Unit string
	// Alpha is the chance of a false finding that is accepted, over all arms together. [0.05]
	Alpha float64
	Power float64 // for what is still to come [0.8]
	// MinEffect is the smallest lift worth having, as a share of the control's value. [0.01]
	MinEffect  float64
	MinDays    int            // nothing is shipped earlier: weekdays differ [7]
	Segments   []string       // context fields, at most 3 [surface, device]
	Guardrails []Guardrail    // the guardrails; nil: those of the function of this name
	Progress   func(done int) // called now and then with the records read, may be nil
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
		return fmt.Errorf("the experiment's name is missing")
	}
	if o.Unit != "user" && o.Unit != "session" {
		return fmt.Errorf("unit %q is unknown; it is user or session", o.Unit)
	}
	if len(o.Segments) > maxSegments {
		return fmt.Errorf("%d segments; at most %d fields can be looked at", len(o.Segments), maxSegments)
	}
	for name, x := range map[string]float64{"alpha": o.Alpha, "power": o.Power, "smallest effect": o.MinEffect} {
		if !(x > 0 && x < 1) {
			return fmt.Errorf("%s is %g; it must be above 0 and below 1", name, x)
		}
	}
	for _, g := range o.Guardrails {
		if !(g.Margin > 0 && g.Margin < 1) {
			return fmt.Errorf("the margin of %s is %g; it must be above 0 and below 1", g.Metric, g.Margin)
		}
	}
	for arm, w := range o.Weights {
		if !(w > 0) {
			return fmt.Errorf("the weight of arm %q is %g; leave an arm without users out", arm, w)
		}
	}
	return nil
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

// Range is a value with two intervals: Low and High hold for one look at the end, SeqLow and SeqHigh
// however often one looks.
type Range struct {
	Value   Float `json:"value"`
	Low     Float `json:"low"`
	High    Float `json:"high"`
	SeqLow  Float `json:"sequential_low"`
	SeqHigh Float `json:"sequential_high"`
}

// Arm is what one arm's users did since their first exposure.
type Arm struct {
	Name            string  `json:"name"`
	Users           int     `json:"users"`
	Impressions     float64 `json:"impressions"`
	Fallbacks       float64 `json:"fallbacks"` // of them: control stood in, as the arm could not be served
	Clicks          float64 `json:"clicks"`
	Conversions     float64 `json:"conversions"` // purchases
	Revenue         float64 `json:"revenue"`     // the sum of the purchases' values
	Value           Float   `json:"value"`       // the metric as it is
	Adjusted        Float   `json:"adjusted"`    // the metric without what the users' past foretold
	SE              Float   `json:"se"`          // of Adjusted
	ProbabilityBest Float   `json:"probability_best"`
}

// Comparison is one arm against the control.
type Comparison struct {
	Arm         string            `json:"arm"`
	Difference  Range             `json:"difference"`
	Lift        Range             `json:"lift"` // as a share of the control's value
	P           Float             `json:"p"`
	PHolm       Float             `json:"p_holm"`       // corrected for the number of arms
	SequentialP Float             `json:"p_sequential"` // valid at any look, corrected likewise
	Guardrails  []GuardrailResult `json:"guardrails"`
	Novelty     Novelty           `json:"novelty"`
	Action      Action            `json:"decision"`
	DaysToGo    int               `json:"days_to_go,omitempty"` // with KeepRunning: about how many more
	Reason      string            `json:"why"`
	raw         stats.Difference  // the lift, for planning
}

// Action is what to do.
type Action string

// The decisions.
const (
	Ship        Action = "ship"
	Stop        Action = "stop"
	KeepRunning Action = "keep running"
	InvalidData Action = "broken" // the data cannot answer, whatever they say
)

// Decision is the answer, over all arms.
type Decision struct {
	Action   Action `json:"decision"`
	Arm      string `json:"arm,omitempty"` // with Ship: which
	DaysToGo int    `json:"days_to_go,omitempty"`
	Summary  string `json:"words"` // a sentence or two for people
}

// Report is all that is found.
type Report struct {
	Experiment        string       `json:"experiment"`
	Mode              string       `json:"mode"` // "ab" or "interleave"
	Metric            string       `json:"metric"`
	MetricDescription string       `json:"metric_is"` // the metric in words
	Unit              string       `json:"unit"`
	Alpha             float64      `json:"alpha"`
	From              time.Time    `json:"from"` // the first and the last counted impression
	To                time.Time    `json:"to"`
	Days              int          `json:"days"`
	Records           int          `json:"records"` // read from the log
	Control           string       `json:"control"`
	Arms              []Arm        `json:"arms"`
	Theta             Float        `json:"cuped_theta"`
	VarianceSaved     Float        `json:"cuped_variance_saved"` // share of the difference's variance, 0..1
	Comparisons       []Comparison `json:"comparisons"`
	SampleRatio       SampleRatio  `json:"split"`
	// Unmatched interactions name a list that is unknown or older than the user's last ones; they
	// count for nothing.
	Unmatched    int            `json:"unmatched_interactions"`
	Series       []DayPoint     `json:"series"`
	Segments     []Segment      `json:"segments"`
	Histogram    []HistogramBin `json:"histogram"`
	Interleaving *Interleaving  `json:"interleave,omitempty"`
	Decision     Decision       `json:"verdict"`
}
