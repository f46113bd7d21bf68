package ranker

import (
	"strings"
	"time"
)

// RankingPart is a part of a ranking that an experiment's arm can change; parts are combined as bits.
type RankingPart uint16

// The parts.
const (
	PartModel  RankingPart = 1 << iota // which bundle scores
	PartScorer                         // parameters of the blend
	PartText                           // whether the blend sees the text columns
	PartFilter
	PartBoost
	PartDiversity
	PartPin
	PartExploration
	PartDeadline
)

// Part returns the part that a slot's step is.
func (s RuleKind) Part() RankingPart { return PartFilter << s }

// partNames are as experiments.yaml has them.
var partNames = []string{"bundle", "scorer", "text", "rules.filters", "rules.boosts", "rules.diversity", "rules.pins", "rules.exploration", "deadline_ms"}

// String names the parts, joined by commas.
func (p RankingPart) String() string {
	var names []string
	for i, name := range partNames {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// Arm is one way to rank within an experiment: the service's own way with the parts in Sets changed.
// It is immutable and shared by requests.
type Arm struct {
	Name         string
	Sets         RankingPart
	Model        string
	ScorerParams map[string]float64 // parameters of a Tunable
	Text         bool
	Rules        RuleSet // of the slots in Sets; nil there: no such step
	Deadline     time.Duration
}

// merge changes the parts of a that b sets.
func (a *Arm) merge(b *Arm) {
	if b.Sets&PartModel != 0 {
		a.Model = b.Model
	}
	if b.Sets&PartScorer != 0 {
		a.ScorerParams = b.ScorerParams
	}
	if b.Sets&PartText != 0 {
		a.Text = b.Text
	}
	if b.Sets&PartDeadline != 0 {
		a.Deadline = b.Deadline
	}
	for s := range a.Rules {
		if b.Sets&RuleKind(s).Part() != 0 {
			a.Rules[s] = b.Rules[s]
		}
	}
	a.Sets |= b.Sets
}

// Assignment is one experiment's hold on one request.
type Assignment struct {
	Experiment string
	// Parts is what any arm of the experiment changes. Exposure is about these, whichever arm was
	// assigned: control is exposed by the same rule as the arm it is compared with.
	Parts RankingPart
	// Control stands in where a part of Arm cannot be had, and is one side of an interleaving.
	Control, Arm *Arm
	// Interleave: the answer drafts from both Control's and Arm's list.
	Interleave bool
	// Forced: the arm was not drawn but set, for a person who tests. It is never exposed.
	Forced bool

	inEffect *Arm // in effect; nil: the service's own ranking, when control failed as well
	fellBack bool
}

// Interleaving is what an answer calls the arm of a request that drafts from two.
const Interleaving = "interleave"

// servedArm names the arm that the answer is told of.
func (t *Assignment) servedArm() string {
	switch {
	case t.fellBack:
		return t.Control.Name
	case t.Interleave:
		return Interleaving
	}
	return t.Arm.Name
}

// Interleaved says which arm each item of an interleaved answer is from.
type Interleaved struct {
	Experiment string
	Arms       [2]string // control first
	Teams      []uint8   // aligned with the impression's items: index into Arms
}

// Experiments assigns arms to requests.
type Experiments interface {
	// Assign returns the request's trials, one a layer at most, and the version of the configuration.
	// user holds the user's fields, nil when they are not known; now is Unix ms. It is pure, and safe
	// for concurrent use.
	Assign(req *Request, user map[string]FieldValue, now int64) (trials []Assignment, version string)
	// ReadsUser reports whether an experiment asks for the user's fields.
	ReadsUser() bool
}

// Tunable is a Blend with parameters that an arm can change.
type Tunable interface {
	Scorer
	// Tune returns the blend with the named parameters at other values, or an error that names the
	// parameters it lacks. The receiver stays as it is.
	Tune(params map[string]float64) (Scorer, error)
}
