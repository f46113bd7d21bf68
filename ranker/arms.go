package ranker

import (
	"strings"
	"time"
)

// RankingPart is a part of a ranking that an experiment's arm can change. Parts are combined as
// bits.
type RankingPart uint16

// The parts.
const (
	PartModel  RankingPart = 1 << iota // which bundle scores
	PartScorer                         // parameters of the scorer
	PartText                           // whether the scorer sees the text columns
	PartFilter
	PartBoost
	PartDiversity
	PartPin
	PartExploration
	PartDeadline
)

// Arm is one way to rank within an experiment: the service's own way with the parts in Sets
// changed. It is immutable and shared by requests.
type Arm struct {
	Name         string
	Sets         RankingPart
	Model        string             // model version
	ScorerParams map[string]float64 // parameters of a Tunable
	Text         bool
	Rules        RuleSet // of the kinds in Sets; nil there: no such rule
	Deadline     time.Duration
}

// Assignment is the arm that one experiment assigns to one request.
type Assignment struct {
	Experiment string
	// Parts is what any arm of the experiment changes. Exposure depends on these parts, whichever
	// arm was assigned, so control is exposed by the same rule as the arm that it is compared with.
	Parts RankingPart
	// Control replaces Arm if a part of Arm is unavailable. It is one side of an interleaving.
	Control, Arm *Arm
	// Interleave merges the lists of Control and Arm into one answer.
	Interleave bool
	// Forced says that the arm was set by a person who tests, not drawn. It is never exposed.
	Forced bool

	inEffect *Arm // nil: the service's own ranking, because control failed as well
	fellBack bool
}

// InterleavedArm is the arm that an interleaved answer names in Response.Experiments.
const InterleavedArm = "interleave"

// Experiments assigns arms to requests. Implementations are safe for concurrent use.
type Experiments interface {
	// Assign returns the request's assignments, at most one for each layer, and the version of the
	// configuration. user holds the user's fields, nil if they are not known. now is Unix ms. The
	// result depends on the arguments alone; the caller owns it.
	Assign(
		req *Request, user map[string]FieldValue, now int64,
	) (assignments []Assignment, version string)
	// ReadsUser reports whether an experiment needs the user's fields.
	ReadsUser() bool
}

// Part returns the part of the ranking that a rule of this kind is.
func (k RuleKind) Part() RankingPart { return PartFilter << k }

// partNames are the parts' keys in experiments.yaml, by bit.
var partNames = []string{
	"bundle", "scorer", "text",
	"rules.filters", "rules.boosts", "rules.diversity", "rules.pins", "rules.exploration",
	"deadline_ms",
}

// String returns the parts' keys in experiments.yaml, joined by commas.
func (p RankingPart) String() string {
	var names []string
	for i, name := range partNames {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
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
	for kind := range ruleKinds {
		if b.Sets&kind.Part() != 0 {
			a.Rules[kind] = b.Rules[kind]
		}
	}
	a.Sets |= b.Sets
}

// servedArm returns the name of the arm that the answer reports.
func (a *Assignment) servedArm() string {
	switch {
	case a.fellBack:
		return a.Control.Name
	case a.Interleave:
		return InterleavedArm
	}
	return a.Arm.Name
}
