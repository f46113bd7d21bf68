package modelcard

import (
	"time"

	"relish/evaluation"
	"relish/internal/stats"
)

// Data is all that a report shows of one training. Every part may be absent (its zero value) and then
// simply does not show. It is plain and goes through JSON unharmed; all numbers are finite, shares are
// between 0 and 1, and a stats.Interval with N = 0 is absent. Names are user data: HTML escapes them.
type Data struct {
	Version  string    `json:"version"`            // of the bundle
	Previous string    `json:"previous,omitempty"` // the bundle that it is compared with; "" = none
	Created  time.Time `json:"created"`
	Revision string    `json:"revision,omitempty"` // of the source that trained it
	Encoder  string    `json:"encoder,omitempty"`  // id and digest of the text encoder
	Command  string    `json:"command,omitempty"`  // that reproduces the training
	Gate     *Gate     `json:"gate,omitempty"`

	Log   *Log       `json:"log,omitempty"`
	Parts []LogPart  `json:"parts,omitempty"`
	Steps []FlowStep `json:"steps,omitempty"`

	Scores      []Score      `json:"scores,omitempty"`
	Differences []Difference `json:"differences,omitempty"`
	Calibration *Calibration `json:"calibration,omitempty"`
	Curves      []Curve      `json:"curves,omitempty"`

	Signals             []Signal             `json:"matchers,omitempty"`
	Features            []Feature            `json:"features,omitempty"`
	Importances         []Importance         `json:"weights,omitempty"`
	ContributionSamples []ContributionSample `json:"spreads,omitempty"`

	Changes  []Change  `json:"changes,omitempty"`
	Warnings []Warning `json:"warnings,omitempty"` // besides those that Check finds
	Tables   []Table   `json:"tables,omitempty"`   // what one model has to say that no other has
	Settings []Setting `json:"settings,omitempty"`
	Stages   []Stage   `json:"stages,omitempty"`
}

// Gate is whether the bundle was activated: it is not when it is worse than the running one on the
// newest data, unless forced.
type Gate struct {
	Activated bool   `json:"activated"`
	Forced    bool   `json:"forced"` // activated against the gate's advice
	Reason    string `json:"reason"`
}

// Log is what the training read.
type Log struct {
	From   time.Time `json:"from"` // arrival of the first and the last event
	To     time.Time `json:"to"`
	Counts []Count   `json:"counts"`
	// Parity counts the impressions whose logged matrix hash was compared with the replay's, and
	// those that differed.
	ParityChecked   int            `json:"parity_checked,omitempty"`
	ParityDiffering int            `json:"parity_differing,omitempty"`
	Distributions   []Distribution `json:"distributions,omitempty"`
}

// Count is a named number: events, users, items, lists with a click.
type Count struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

// Distribution is a histogram: Counts[i] values from Edges[i] to Edges[i+1].
type Distribution struct {
	Name   string    `json:"name"` // such as "length of the history"
	Edges  []float64 `json:"edges"`
	Counts []float64 `json:"counts"`
}

// LogPart is a stretch of the log.
type LogPart struct {
	Name  string    `json:"name"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Lists int       `json:"lists"`
	Use   string    `json:"use"` // in words: "trains the blend"
}

// FlowStep is one thing that was trained or measured, from parts and earlier steps by name: the arrows of
// the picture at the top.
type FlowStep struct {
	Name string   `json:"name"`
	Note string   `json:"note,omitempty"`
	From []string `json:"from"`
	Kind string   `json:"kind,omitempty"` // Trains (or ""), Result or Measures
}

// Kinds of Step.
const (
	StepTrains   = "trains"
	StepResult   = "result"   // the bundle
	StepMeasures = "measures" // reads the held-out part
)

// Score is one scorer's result by one metric over one slice of the lists. The first metric is the
// one that pictures show; evaluate.AllLists is the slice of all lists.
type Score struct {
	Scorer string         `json:"scorer"`
	Role   string         `json:"role"` // This, Before or Plain
	Metric string         `json:"metric"`
	Slice  string         `json:"slice"`
	Value  stats.Interval `json:"value"`
}

// Roles of a Score: the bundle of this report, the previous bundle, a plain baseline.
const (
	RoleThis     = "this"
	RolePrevious = "before"
	RoleBaseline = "plain"
)

// Difference is the paired difference of this bundle to another scorer on the same lists; above zero
// means that this one is better.
type Difference struct {
	Against string         `json:"against"`
	Metric  string         `json:"metric"`
	Slice   string         `json:"slice"`
	Value   stats.Interval `json:"value"`
}

// Calibration says whether predicted probabilities come true.
type Calibration struct {
	Bins  []evaluation.Bin `json:"bins"`
	Error float64          `json:"error"` // evaluate.CalibrationError
	Note  string           `json:"note,omitempty"`
}

// Curve is a picture of what happened round by round: any number of named series over one axis.
type Curve struct {
	Name   string   `json:"name"` // "blend", "match model: loss"
	X      string   `json:"x"`    // "tree", "epoch"
	Y      string   `json:"y"`
	Series []Series `json:"series"`
	// Kept is the X that training went back to, nil where it does not stop early.
	Kept *float64 `json:"kept,omitempty"`
}

// Series is one curve: X and Y are aligned, X rising.
type Series struct {
	Name string    `json:"name"`
	X    []float64 `json:"x"`
	Y    []float64 `json:"y"`
}

// Signal is one matcher, on or off.
type Signal struct {
	Name         string  `json:"name"`
	Enabled      bool    `json:"on"`
	Microseconds float64 `json:"micros"` // measured cost of one request
	Benefit      string  `json:"worth"`  // what it adds, in words with figures
	Reason       string  `json:"why"`    // it is on or off
}

// Feature is one entry of the schema with the reason why it is there.
type Feature struct {
	Name    string  `json:"name"`
	Kind    string  `json:"kind"`
	Group   string  `json:"group"`
	Reason  string  `json:"reason"`
	Missing float64 `json:"missing"` // share of the candidates without a value
	// MissingBefore is the share when the previous bundle was trained, nil if it had no such feature.
	MissingBefore *float64 `json:"missing_before,omitempty"`
}

// Importance is what the blend makes of one feature.
type Importance struct {
	Feature      string  `json:"feature"`
	Group        string  `json:"group"`
	Gain         float64 `json:"gain"`         // total gain of its splits, any scale
	Contribution float64 `json:"contribution"` // mean of |contribution| to the score
}

// ContributionSample is a sample of one feature's contributions, with the values that made them. Some hundred
// points a feature, for the ten or so that contribute most, are enough.
type ContributionSample struct {
	Feature string              `json:"feature"`
	Points  []ContributionPoint `json:"points"`
}

// ContributionPoint is one candidate's; Value is nil when missing.
type ContributionPoint struct {
	Value        *float64 `json:"value"`
	Contribution float64  `json:"contribution"`
}

// Change is one difference to the previous bundle.
type Change struct {
	What   string `json:"what"`   // what changed: a feature, a matcher, a setting
	Change string `json:"change"` // "added", "removed", "changed"
	Detail string `json:"detail,omitempty"`
}

// Warning is something to look at before the bundle is activated.
type Warning struct {
	Serious bool   `json:"serious"` // the bundle should not be activated before it is understood
	Text    string `json:"text"`    // what, with figures, and what to do
}

// Table is a free table under a heading of its own. Rows are as long as Head.
type Table struct {
	Title string     `json:"title"`
	Note  string     `json:"note,omitempty"`
	Head  []string   `json:"head"`
	Rows  [][]string `json:"rows"`
}

// Setting is one value of the training's configuration. Default is shown where it differs.
type Setting struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default string `json:"default,omitempty"`
}

// Stage is what one stage of the training took.
type Stage struct {
	Name      string  `json:"name"`
	Seconds   float64 `json:"seconds"`
	PeakBytes uint64  `json:"peak_bytes,omitempty"` // of the process, 0 = not measured
}
