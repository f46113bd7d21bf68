package analysis

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The slots of a user's counts. Actions that a reward names beside click and purchase get further
// slots.
const (
	slotLists        = iota // impressions
	slotClicks              // clicks that name one of the user's lists
	slotPurchases           // purchases
	slotRevenue             // sum of the purchases' values
	slotNDCG                // sum over lists with a click
	slotClickedLists        // lists with a click
	slotDegraded            // lists whose answer was degraded
	slotDiversity           // sum over lists whose items have tags
	slotTaggedLists         // lists whose items have tags
	slotFallback            // lists that control served in place of the arm
	fixedSlotCount
)

// slotTable assigns slots to the counts that a report needs.
type slotTable struct {
	byAction map[string]int
	n        int
}

func newSlotTable() *slotTable {
	return &slotTable{
		byAction: map[string]int{
			"click":    slotClicks,
			"purchase": slotPurchases,
			"revenue":  slotRevenue,
		},
		n: fixedSlotCount,
	}
}

// slotOf returns an action's slot, a new one at its first use.
func (s *slotTable) slotOf(action string) int {
	i, ok := s.byAction[action]
	if !ok {
		i = s.n
		s.byAction[action] = i
		s.n++
	}
	return i
}

// metric is a user's numerator and denominator, as functions of their counts. Its value in an arm
// is the sum of the numerators over the sum of the denominators. A metric with a nil ratio is not a
// ratio over users; userGroups estimates it.
type metric struct {
	name          string
	description   string // for the report
	ratio         func(counts []float32) (num, den float64)
	lowerIsBetter bool
}

// slotRatio is the ratio of two slots.
func slotRatio(num, den int) func([]float32) (float64, float64) {
	return func(c []float32) (float64, float64) { return float64(c[num]), float64(c[den]) }
}

// parseMetric returns the metric of Options.Metric.
func parseMetric(spec string, s *slotTable) (metric, error) {
	if src, ok := strings.CutPrefix(spec, "reward:"); ok {
		e, err := parseExpression(src, s.slotOf)
		if err != nil {
			return metric{}, err
		}
		return metric{
			name:        spec,
			description: src + " per list shown",
			ratio: func(c []float32) (float64, float64) {
				return toFinite(e.eval(c)), float64(c[slotLists])
			},
		}, nil
	}
	for _, m := range knownMetrics {
		if m.name == spec {
			return m, nil
		}
	}
	return metric{}, fmt.Errorf("metric %q is unknown; use ctr, conversion, revenue, ndcg, "+
		"latency, degraded, coverage, diversity or reward:EXPR", spec)
}

var knownMetrics = []metric{
	{name: "ctr", description: "clicks per list shown", ratio: slotRatio(slotClicks, slotLists)},
	{
		name:        "conversion",
		description: "share of users who purchased",
		ratio: func(c []float32) (float64, float64) {
			return min(1, float64(c[slotPurchases])), 1
		},
	},
	{
		name:        "revenue",
		description: "value of purchases per user",
		ratio:       func(c []float32) (float64, float64) { return float64(c[slotRevenue]), 1 },
	},
	{
		name:        "ndcg",
		description: "NDCG@10 of lists with a click",
		ratio:       slotRatio(slotNDCG, slotClickedLists),
	},
	{
		name:          "degraded",
		description:   "share of lists with a degraded answer",
		ratio:         slotRatio(slotDegraded, slotLists),
		lowerIsBetter: true,
	},
	{
		name:        "diversity",
		description: "distinct tags / tags in the first ten positions",
		ratio:       slotRatio(slotDiversity, slotTaggedLists),
	},
	{name: "latency", description: "95th percentile of took_ms", lowerIsBetter: true},
	{
		name:        "coverage",
		description: "effective number of items in the first ten positions",
	},
}

// Guardrail is a metric that no arm may worsen by more than Margin. Margin is a share of the
// control's value; for degraded, which should be 0, it is a share of the lists.
type Guardrail struct {
	Metric string  `json:"metric"`
	Margin float64 `json:"margin"` // above 0, below 1
}

// DefaultGuardrails returns the guardrails of an experiment that names none. The 95th percentile of
// latency may grow by 10 %, one list in 100 more may be degraded, and 10 % of the items and 5 % of
// the tags' diversity may be lost.
func DefaultGuardrails() []Guardrail {
	return []Guardrail{{"latency", 0.1}, {"degraded", 0.01}, {"coverage", 0.1}, {"diversity", 0.05}}
}

// marginIsRelative reports whether a guardrail's margin is a share of the control's value.
func (m *metric) marginIsRelative() bool { return m.name != "degraded" }

// expression is a compiled reward: numbers, names of actions, + - * / and parentheses over one
// user's counts. It can only calculate, and it always ends.
type expression struct {
	eval    func(counts []float32) float64
	actions []string
}

// maxExpression bounds an expression's length in bytes, and so its depth.
const maxExpression = 1000

// parseExpression compiles src. slot returns the slot of an action's count.
func parseExpression(src string, slot func(action string) int) (*expression, error) {
	if len(src) > maxExpression {
		return nil, fmt.Errorf("the reward has %d bytes; at most %d are allowed",
			len(src), maxExpression)
	}
	p := &parser{src: src, slot: slot}
	p.advance()
	eval, err := p.sum()
	if err == nil && p.token != "" {
		err = p.unexpected("the end")
	}
	if err == nil && len(p.actions) == 0 {
		err = fmt.Errorf("it names no action")
	}
	if err != nil {
		return nil, fmt.Errorf("reward %q: %w; write, for example, click + 5*purchase", src, err)
	}
	return &expression{eval: eval, actions: p.actions}, nil
}

type evaluator = func(counts []float32) float64

// parser is a recursive descent parser of expressions.
type parser struct {
	src     string
	pos     int    // after token
	token   string // "" at the end
	slot    func(string) int
	actions []string
}

// advance moves to the next token: a number, a name, or a single character.
func (p *parser) advance() {
	rest := strings.TrimLeft(p.src[p.pos:], " \t")
	p.pos = len(p.src) - len(rest)
	end := strings.IndexFunc(rest, func(r rune) bool {
		return r != '_' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	switch {
	case end < 0:
		end = len(rest)
	case end == 0:
		_, end = utf8.DecodeRuneInString(rest)
	}
	p.token, p.pos = rest[:end], p.pos+end
}

func (p *parser) unexpected(want string) error {
	if p.token == "" {
		return fmt.Errorf("it ends where %s is expected", want)
	}
	return fmt.Errorf("%q is found where %s is expected", p.token, want)
}

func (p *parser) sum() (evaluator, error) { return p.binary("+-", p.product) }

func (p *parser) product() (evaluator, error) { return p.binary("*/", p.factor) }

// binary reads operands that are joined by the operators, from left to right.
func (p *parser) binary(operators string, operand func() (evaluator, error)) (evaluator, error) {
	left, err := operand()
	for err == nil && p.token != "" && strings.Contains(operators, p.token) {
		var right evaluator
		a, op := left, p.token[0]
		p.advance()
		if right, err = operand(); err != nil {
			break
		}
		left = func(c []float32) float64 { return apply(op, a(c), right(c)) }
	}
	return left, err
}

// toFinite returns x within the range of a float32, and 0 for NaN: products of counts overflow.
func toFinite(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return min(max(x, -math.MaxFloat32), math.MaxFloat32)
}

// apply calculates a op b. A division by 0 gives 0, like a rate over nothing.
func apply(op byte, a, b float64) float64 {
	switch op {
	case '+':
		return a + b
	case '-':
		return a - b
	case '*':
		return a * b
	}
	if b == 0 {
		return 0
	}
	return a / b
}

func (p *parser) factor() (evaluator, error) {
	token := p.token
	switch {
	case token == "-":
		p.advance()
		f, err := p.factor()
		return func(c []float32) float64 { return -f(c) }, err
	case token == "(":
		p.advance()
		f, err := p.sum()
		if err != nil {
			return nil, err
		}
		return f, p.expect(")")
	case token == "":
		return nil, p.unexpected("a number or an action")
	case token[0] >= '0' && token[0] <= '9' || token[0] == '.':
		x, err := strconv.ParseFloat(token, 64)
		p.advance()
		if err != nil {
			return nil, fmt.Errorf("%q is not a number", token)
		}
		return func([]float32) float64 { return x }, nil
	case isName(token):
		p.advance()
		p.actions = append(p.actions, token)
		i := p.slot(token)
		return func(c []float32) float64 { return float64(c[i]) }, nil
	}
	return nil, p.unexpected("a number or an action")
}

// isName reports whether a token begins like a name.
func isName(token string) bool {
	first, _ := utf8.DecodeRuneInString(token)
	return first == '_' || unicode.IsLetter(first)
}

func (p *parser) expect(token string) error {
	if p.token != token {
		return p.unexpected(strconv.Quote(token))
	}
	p.advance()
	return nil
}
