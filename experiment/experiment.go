// Package experiment decides which arms a request is in.
//
// One YAML file (Parse) names layers, and in them experiments with their arms; an arm changes parts of a
// ranking. A layer holds experiments that exclude each other; different layers change different parts,
// so that a request can be in one experiment of each. The check of the file proves both: experiments
// of one layer must not be able to take the same user, and experiments of different layers must not
// change the same part. So no order of precedence has to be remembered, and arms are never mixed.
//
// Assignment (Set.Assign) is a pure function of the file and the request: GrowthBook's hash of a seed and
// the user's id falls into an arm's range. The same user gets the same arm on every replica, after
// every restart, and in every frontend that runs a GrowthBook SDK on the file's payload (Set.GrowthBook).
//
// A Keeper holds the file that is in effect: it is read again when it changes, and a bad one is refused
// as a whole.
package experiment

import (
	"time"

	"relish/experiment/targeting"
	"relish/ranker"
)

// Bounds of a file. They are far above honest use.
const (
	MaxLayers      = 32
	MaxExperiments = 256
	MaxArms        = 20
	MaxForced      = 1000
	maxFile        = 1 << 20
)

// Modes of an experiment.
const (
	ModeSplit      = "split"      // a user is in one arm
	ModeInterleave = "interleave" // every answer is drafted from both arms' lists
)

// Hash attributes beside the names of context fields.
const (
	HashUser    = "user"
	HashSession = "session"
)

// Set is a file that was read: immutable, and safe for concurrent use.
type Set struct {
	Version string // 12 hex digits of the file's SHA-256
	Holdout *Holdout
	Layers  []Layer

	readsUser bool
}

// Holdout is the share of users, 0 to 1, that no experiment takes.
type Holdout struct {
	Share float64
	Seed  string

	hashState uint32 // hash state after the seed
}

// Layer is a list of experiments of which a request is in one at most.
type Layer struct {
	Name        string
	Experiments []*Experiment
}

// Experiment is one comparison of arms.
type Experiment struct {
	Name, Layer, Description string

	Mode          string // ModeSplit or ModeInterleave
	HashAttribute string // HashUser, HashSession, or a context field
	Seed          string
	Coverage      float64    // share of the users, 0 to 1, that takes part
	Namespace     *Namespace // nil: none
	Start, End    time.Time  // zero: open
	Condition     *targeting.Condition
	Arms          []Arm // the first one is control; two in ModeInterleave
	Parts         ranker.RankingPart

	// What a report compares the arms by: the metric that decides, and those that must not get worse.
	Metric     string
	Guardrails []Guardrail
	AutoStop   bool // an arm that breaks a guardrail is to be ended

	start, end int64 // Unix ms
	hashState  uint32
	ranges     []Range
	forced     map[string]int // user id -> arm
}

// Arm is one way to rank. What it changes is Change, which aliases the Set.
type Arm struct {
	Name   string
	Weight float64 // share of the experiment's users; the weights of an experiment's arms add up to 1
	Change *ranker.Arm
}

// Guardrail is a metric that an arm may worsen by Margin at most: a share of control's value, for degraded
// a share of the lists.
type Guardrail struct {
	Metric string  `yaml:"metric" json:"metric"`
	Margin float64 `yaml:"margin" json:"margin"`
}

// Subject is what an assignment looks at.
type Subject struct {
	targeting.Attributes
	Now int64 // Unix ms
}

// Choice is one experiment that a subject is in.
type Choice struct {
	*Experiment
	Arm    int // index into Arms; 0 in ModeInterleave
	Forced bool
}

// All returns the experiments of all layers, in the file's order.
func (s *Set) All() []*Experiment {
	var all []*Experiment
	for _, l := range s.Layers {
		all = append(all, l.Experiments...)
	}
	return all
}

// Find returns the experiment of that name, nil without one.
func (s *Set) Find(name string) *Experiment {
	for _, l := range s.Layers {
		for _, e := range l.Experiments {
			if e.Name == name {
				return e
			}
		}
	}
	return nil
}

// ReadsUser reports whether a condition asks for the user's fields.
func (s *Set) ReadsUser() bool { return s.readsUser }

// Bundles returns the bundle versions that arms of running or scheduled experiments name, each once.
func (s *Set) Bundles(now time.Time) []string {
	var versions []string
	seen := map[string]bool{}
	for _, e := range s.All() {
		for _, a := range e.Arms {
			if v := a.Change.Model; v != "" && !seen[v] && e.Status(now) != StatusEnded {
				seen[v] = true
				versions = append(versions, v)
			}
		}
	}
	return versions
}

// The states of an experiment.
const (
	StatusScheduled = "scheduled"
	StatusRunning   = "running"
	StatusEnded     = "ended"
)

// Status says whether the experiment takes users at that time.
func (e *Experiment) Status(now time.Time) string {
	switch ms := now.UnixMilli(); {
	case ms < e.start:
		return StatusScheduled
	case ms >= e.end:
		return StatusEnded
	}
	return StatusRunning
}
