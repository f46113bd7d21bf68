// Package experiment runs A/B experiments: it decides which arms a request is in.
//
// From file to impression:
//
//  1. The file. One YAML file names layers, their experiments and the experiments' arms (Parse). An
//     arm changes parts of the ranking. Experiments of one layer must not be able to take the same
//     user, and experiments of different layers must not change the same part. Parse proves both. A
//     request can therefore be in one experiment of each layer, and arms are never mixed.
//  2. The assignment. Set.Assign is a pure function of the file and the request: a hash of the
//     experiment's seed and the user's id falls into an arm's range. A user gets the same arm on
//     every replica, after every restart, and in every frontend that runs a GrowthBook SDK on the
//     payload of Set.GrowthBook.
//  3. The impression. Package ranker applies the arms (Watcher.Assign) and records with each answer
//     which experiments the user was exposed to. Package analysis reads that log.
//
// A Watcher holds the file in effect. It reads the file again when it changes, and rejects an
// invalid one as a whole. It also remembers arms that were stopped for breaching a guardrail.
package experiment

import (
	"time"

	"relish/experiment/targeting"
	"relish/ranker"
)

// Bounds of an experiments file, far above normal use.
const (
	MaxLayers      = 32
	MaxExperiments = 256
	MaxArms        = 20
	MaxForced      = 1000    // users in the key force of one experiment
	maxFile        = 1 << 20 // bytes
)

// The modes of an experiment.
const (
	ModeSplit      = "split"      // a user is in one arm
	ModeInterleave = "interleave" // every answer is drafted from the lists of both arms
)

// The hash attributes besides the names of context fields.
const (
	HashUser    = "user"
	HashSession = "session"
)

// Set is a validated experiments file. It is immutable and safe for concurrent use.
type Set struct {
	Version string // 12 hex digits of the file's SHA-256
	Holdout *Holdout
	Layers  []Layer

	readsUser bool
}

// Holdout is the share of users, 0 to 1, that take part in no experiment.
type Holdout struct {
	Share float64
	Seed  string

	hashState uint32 // FNV-1a state after the seed
}

// Layer is a list of experiments that exclude each other: a request is in at most one of them.
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
	Coverage      float64    // share of the users that takes part, 0 to 1
	Namespace     *Namespace // nil: none
	Start, End    time.Time  // zero: open
	Condition     *targeting.Condition
	Arms          []Arm // control first; two in ModeInterleave
	Parts         ranker.RankingPart

	// What a report compares the arms by: the metric that decides, and metrics that must not get
	// worse.
	Metric     string
	Guardrails []Guardrail
	AutoStop   bool // an arm that breaches a guardrail is stopped

	start, end int64 // Unix ms
	hashState  uint32
	ranges     []Range
	forced     map[string]int // user id -> arm
}

// Arm is one variant of ranking. Change says what it changes; it belongs to the Set.
type Arm struct {
	Name   string
	Weight float64 // share of the experiment's users; the arms' weights add up to 1
	Change *ranker.Arm
}

// Guardrail is a metric that an arm may worsen by Margin at most: a share of control's value, or,
// for degraded, a share of the lists.
type Guardrail struct {
	Metric string  `yaml:"metric" json:"metric"`
	Margin float64 `yaml:"margin" json:"margin"`
}

// Subject is what an assignment depends on.
type Subject struct {
	targeting.Attributes
	Now int64 // Unix ms
}

// Choice is one experiment that a subject is in, with its arm.
type Choice struct {
	*Experiment
	Arm    int // index into Arms; 0 in ModeInterleave
	Forced bool
}

// All returns the experiments of all layers in the file's order.
func (s *Set) All() []*Experiment {
	var all []*Experiment
	for _, l := range s.Layers {
		all = append(all, l.Experiments...)
	}
	return all
}

// Find returns the experiment of that name, or nil.
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

// ReadsUser reports whether a condition reads the user's fields.
func (s *Set) ReadsUser() bool { return s.readsUser }

// Bundles returns the bundle versions that arms of running or scheduled experiments use, each once.
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

// The statuses of an experiment.
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
