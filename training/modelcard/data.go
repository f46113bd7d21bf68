package modelcard

import (
	"time"

	"relish/evaluation"
	"relish/internal/stats"
)

// Data is everything that a model card shows about one training. Any part may be left at its zero
// value; the page then omits that part. Data survives a round trip through JSON. All numbers are
// finite, shares lie between 0 and 1, and a stats.Interval with N = 0 counts as absent. Names are
// user data: HTML escapes them.
type Data struct {
	Version  string    `json:"version"`            // of the bundle
	Previous string    `json:"previous,omitempty"` // the bundle that it is compared with; "" = none
	Created  time.Time `json:"created"`
	Revision string    `json:"revision,omitempty"` // of the source code that trained it
	Encoder  string    `json:"encoder,omitempty"`  // id and digest of the text encoder
	Command  string    `json:"command,omitempty"`  // reproduces the training
	Gate     *Gate     `json:"gate,omitempty"`

	Log   *Log       `json:"log,omitempty"`
	Parts []LogPart  `json:"parts,omitempty"`
	Steps []FlowStep `json:"steps,omitempty"`

	Scores      []Score      `json:"scores,omitempty"`
	Differences []Difference `json:"differences,omitempty"`
	Calibration *Calibration `json:"calibration,omitempty"`
	Curves      []Curve      `json:"curves,omitempty"`

	Signals             []Signal             `json:"signals,omitempty"`
	Features            []Feature            `json:"features,omitempty"`
	Importances         []Importance         `json:"importances,omitempty"`
	ContributionSamples []ContributionSample `json:"contribution_samples,omitempty"`

	Changes  []Change  `json:"changes,omitempty"`
	Warnings []Warning `json:"warnings,omitempty"` // in addition to those that Check derives
	Notes    []string  `json:"notes,omitempty"`    // what to know of the log, but not to decide
	Tables   []Table   `json:"tables,omitempty"`   // figures that only some trainings have
	Settings []Setting `json:"settings,omitempty"`
	Stages   []Stage   `json:"stages,omitempty"`
}

// Gate is the decision whether the bundle may serve. The gate refuses a bundle that is worse than
// the active one on the newest data.
type Gate struct {
	Activated bool   `json:"activated"`
	Forced    bool   `json:"forced"` // activated although the gate refused
	Reason    string `json:"reason"`
}

// Log describes the events that the training read.
type Log struct {
	From   time.Time `json:"from"` // when the first event happened
	To     time.Time `json:"to"`   // when the last event happened
	Counts []Count   `json:"counts"`
	// ParityChecked counts the impressions whose logged matrix hash was compared with the replay.
	// ParityDiffering counts those whose hash differed.
	ParityChecked   int            `json:"parity_checked,omitempty"`
	ParityDiffering int            `json:"parity_differing,omitempty"`
	Distributions   []Distribution `json:"distributions,omitempty"`
}

// Count is a named number, such as events, users, items, or lists with a click.
type Count struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

// Distribution is a histogram: Counts[i] values lie in [Edges[i], Edges[i+1]).
type Distribution struct {
	Name   string    `json:"name"` // such as "length of the history"
	Edges  []float64 `json:"edges"`
	Counts []float64 `json:"counts"`
}

// LogPart is a contiguous part of the log.
type LogPart struct {
	Name  string    `json:"name"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Lists int       `json:"lists"`
	Use   string    `json:"use"` // in words: "trains the scorer"
}

// FlowStep is one thing that was trained or measured. From names the log parts and the earlier
// steps that it read: these are the arrows of the flow chart.
type FlowStep struct {
	Name string   `json:"name"`
	Note string   `json:"note,omitempty"`
	From []string `json:"from"`
	Kind string   `json:"kind,omitempty"` // StepTrains (or ""), StepResult or StepMeasures
}

// Kinds of FlowStep.
const (
	StepTrains   = "trains"
	StepResult   = "result"   // the bundle
	StepMeasures = "measures" // reads the held-out part
)

// Score is one scorer's value of one metric on one slice of the lists. Charts show the first
// metric of Data.Scores. evaluation.AllLists is the slice of all lists.
type Score struct {
	Scorer string         `json:"scorer"`
	Role   string         `json:"role"` // RoleThis, RolePrevious or RoleBaseline
	Metric string         `json:"metric"`
	Slice  string         `json:"slice"`
	Value  stats.Interval `json:"value"`
}

// CorrectedSuffix ends the name of a position-corrected metric, see evaluation.PositionBias. The
// logged order has only such metrics.
const CorrectedSuffix = ", position-corrected"

// Roles of a Score.
const (
	RoleThis     = "this"     // the bundle that the card describes
	RolePrevious = "previous" // the bundle that it is compared with
	RoleBaseline = "baseline" // needs no training: popularity, logged order, …
)

// Difference is this bundle's metric minus another scorer's, paired by list. A value above zero
// means that this bundle is better.
type Difference struct {
	Against string         `json:"against"`
	Metric  string         `json:"metric"`
	Slice   string         `json:"slice"`
	Value   stats.Interval `json:"value"`
}

// Calibration compares predicted click probabilities with observed click rates.
type Calibration struct {
	Bins  []evaluation.Bin `json:"bins"`
	Error float64          `json:"error"` // evaluation.CalibrationError
	Note  string           `json:"note,omitempty"`
}

// Curve shows how training went, round by round: one or more named series over a common axis.
type Curve struct {
	Name   string   `json:"name"` // "Scorer", "Two-tower model: loss"
	X      string   `json:"x"`    // "tree", "epoch"
	Y      string   `json:"y"`
	Series []Series `json:"series"`
	// Kept is the X whose model was kept, nil without early stopping.
	Kept *float64 `json:"kept,omitempty"`
}

// Series is one line of a Curve: X and Y are aligned, X is ascending.
type Series struct {
	Name string    `json:"name"`
	X    []float64 `json:"x"`
	Y    []float64 `json:"y"`
}

// Signal is one user-item signal, enabled or not.
type Signal struct {
	Name         string  `json:"name"`
	Enabled      bool    `json:"enabled"`
	Microseconds float64 `json:"microseconds"` // measured cost of one request
	Benefit      string  `json:"benefit"`      // what it adds, in words with figures
	Reason       string  `json:"reason"`       // why it is enabled or not
}

// Feature is one entry of the feature schema.
type Feature struct {
	Name    string  `json:"name"`
	Kind    string  `json:"kind"`
	Group   string  `json:"group"`
	Reason  string  `json:"reason"`  // why it is in the schema
	Missing float64 `json:"missing"` // share of the candidates without a value
	// MissingBefore is the share in the previous bundle, nil if it did not have this feature.
	MissingBefore *float64 `json:"missing_before,omitempty"`
}

// Importance says how much the scorer uses one feature.
type Importance struct {
	Feature      string  `json:"feature"`
	Group        string  `json:"group"`
	Gain         float64 `json:"gain"`         // total gain of its splits, on any scale
	Contribution float64 `json:"contribution"` // mean of |contribution| to the score
}

// ContributionSample holds some of one feature's contributions together with the feature values.
// A hundred points for each of the ten most important features are enough.
type ContributionSample struct {
	Feature string              `json:"feature"`
	Points  []ContributionPoint `json:"points"`
}

// ContributionPoint belongs to one candidate. Value is nil if the feature is missing.
type ContributionPoint struct {
	Value        *float64 `json:"value"`
	Contribution float64  `json:"contribution"`
}

// Change is one difference from the previous bundle.
type Change struct {
	What   string `json:"what"`   // a feature, a signal or a setting
	Change string `json:"change"` // "added", "removed" or "changed"
	Detail string `json:"detail,omitempty"`
}

// Warning is something to look at before the bundle is activated.
type Warning struct {
	Serious bool   `json:"serious"` // understand it before activating the bundle
	Text    string `json:"text"`    // what happened, with figures, and what to do
}

// ParityTable is the title of the table of served lists, by kind, whose feature matrix a replay
// computes again.
const ParityTable = "Served lists that replay computes again"

// Table is a table with its own heading. Each row has as many cells as Head.
type Table struct {
	Title string     `json:"title"`
	Note  string     `json:"note,omitempty"`
	Head  []string   `json:"head"`
	Rows  [][]string `json:"rows"`
}

// Setting is one value of the training's configuration. The page shows Default if it differs.
type Setting struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default string `json:"default,omitempty"`
}

// Stage is the cost of one stage of the training.
type Stage struct {
	Name      string  `json:"name"`
	Seconds   float64 `json:"seconds"`
	PeakBytes uint64  `json:"peak_bytes,omitempty"` // of the process so far, 0 = not measured
}
