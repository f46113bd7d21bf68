package ranker

import "strings"

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
