package analysis

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// expression is a reward: numbers, names of actions, + - * / and parentheses, over one user's counts. It can
// do nothing but arithmetic and always ends.
type expression struct {
	eval    func(counts []float32) float64
	actions []string
}

// maxExpression bounds an expression's length, and with it its depth.
const maxExpression = 1000

// parseExpression compiles src; slot gives the place of an action's count.
func parseExpression(src string, slot func(action string) int) (*expression, error) {
	if len(src) > maxExpression {
		return nil, fmt.Errorf("reward: %d bytes are too long, at most %d", len(src), maxExpression)
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
		return nil, fmt.Errorf("reward %q: %w; an example is click + 5*purchase", src, err)
	}
	return &expression{eval: eval, actions: p.actions}, nil
}

type evaluator = func(counts []float32) float64

type parser struct {
	src     string
	pos     int    // after token
	token   string // "" at the end
	slot    func(string) int
	actions []string
}

// advance moves to the next token: a number, a name, or one character.
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
		return fmt.Errorf("it ends where %s should be", want)
	}
	return fmt.Errorf("%q stands where %s should be", p.token, want)
}

func (p *parser) sum() (evaluator, error) { return p.binary("+-", p.product) }

func (p *parser) product() (evaluator, error) { return p.binary("*/", p.factor) }

// binary reads operands joined by the operators, from left to right.
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

// apply computes; what is divided by 0 is 0, as a rate over nothing.
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
			return nil, fmt.Errorf("%q is no number", token)
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
