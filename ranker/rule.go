package ranker

import "context"

// Entry is a scored candidate on its way through the rules.
type Entry struct {
	Index   int // into Request.Candidates
	Score   float64
	MovedBy []string // names of rules
}

// List is what rules work on. Entries is in the current order, best first.
type List struct {
	Request *Request
	State   *RequestState
	Vectors [][]float32 // by candidate; nil: no vector
	Entries []Entry
	// Propensity is aligned with Entries once a rule that explores has set it. It is the
	// probability of the item at this position, given the positions above. nil means 1 everywhere.
	Propensity []float64
}

// Rule changes the order of a scored list. Implementations are safe for concurrent use.
type Rule interface {
	// Name returns the name that explanations show in MovedBy.
	Name() string
	// Apply may reorder and shorten the entries, and owns l until it returns. It appends its name
	// to MovedBy of the entries that it moves on purpose. After an error the pipeline restores the
	// list.
	Apply(ctx context.Context, l *List) error
}

// RuleKind is a kind of rule. Rules are applied in the order of their kinds.
type RuleKind int

// The kinds of rules, in the order in which they are applied.
const (
	RuleFilter RuleKind = iota
	RuleBoost
	RuleDiversity
	RulePin
	RuleExploration
	ruleKinds
)

// RuleSet is the rules of a ranking by kind; nil: no such rule.
type RuleSet [ruleKinds]Rule
