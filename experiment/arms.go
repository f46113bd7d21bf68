package experiment

import (
	"math"
	"slices"
	"strings"
	"time"

	"relish/ranker"
	"relish/ranker/rules"
)

// maxDeadline is the longest that a request may ask for as well.
const maxDeadline = 10 * time.Second

// weightTolerance is how far weights may be from 1 in sum: a third is written 0.333.
const weightTolerance = 0.002

func (e *Experiment) buildArms(forms []armConfig, p location) {
	arms := p.key("arms")
	switch n := len(forms); {
	case n < 2 || n > MaxArms:
		arms.errorf("%d arms; there must be 2 to %d, control first", n, MaxArms)
	case e.Mode == ModeInterleave && n != 2:
		arms.errorf("%d arms; an answer is drafted from 2", n)
	}
	seen := map[string]bool{}
	for i := range forms {
		q := arms.index(i)
		checkName(q, forms[i].Name, seen)
		if forms[i].Name == ranker.InterleavedArm {
			q.key("name").errorf("%q is what an answer says when it shows both arms", ranker.InterleavedArm)
		}
		a := Arm{Name: forms[i].Name, Change: buildChange(&forms[i], q)}
		e.Parts |= a.Change.Sets
		if e.Mode == ModeInterleave {
			checkInterleaved(&forms[i], a.Change, q)
		}
		e.Arms = append(e.Arms, a)
	}
	if e.Mode == ModeInterleave {
		e.ranges = Ranges(e.Coverage, []float64{1})
		return
	}
	weights := buildWeights(forms, arms)
	for i := range e.Arms {
		e.Arms[i].Weight = weights[i]
	}
	e.ranges = Ranges(e.Coverage, weights)
}

// checkInterleaved refuses what cannot differ between the two lists of one answer.
func checkInterleaved(f *armConfig, change *ranker.Arm, p location) {
	if f.Weight != nil {
		p.key("weight").errorf("both arms of an interleaved experiment make half of every answer")
	}
	if bad := change.Sets & (ranker.PartExploration | ranker.PartDeadline); bad != 0 {
		p.errorf("%s cannot differ between two arms of one answer", bad)
	}
}

// buildWeights returns the arms' weights: equal where none is given.
func buildWeights(forms []armConfig, p location) []float64 {
	weights := make([]float64, len(forms))
	given, sum := 0, 0.0
	for i := range forms {
		weights[i] = 1 / float64(len(forms))
		if w := forms[i].Weight; w != nil {
			if !(*w >= 0 && *w <= 1) {
				p.index(i).key("weight").errorf("%g must be 0 to 1", *w)
			}
			weights[i] = *w
			given++
		}
		sum += weights[i]
	}
	switch {
	case given != 0 && given != len(forms):
		p.errorf("%d of %d arms have a weight; give one to every arm, or to none", given, len(forms))
	case len(forms) > 0 && !(math.Abs(sum-1) <= weightTolerance):
		p.errorf("the weights add up to %g, not to 1", sum)
	}
	return weights
}

// buildChange compiles what an arm changes.
func buildChange(f *armConfig, p location) *ranker.Arm {
	c := &ranker.Arm{Name: f.Name, Model: f.Bundle, ScorerParams: f.Blend}
	if p.has("bundle") {
		c.Sets |= ranker.PartModel
		if f.Bundle == "" {
			p.key("bundle").errorf("names no bundle")
		}
	}
	if p.has("scorer") {
		c.Sets |= ranker.PartScorer
		if len(f.Blend) == 0 {
			p.key("scorer").errorf("names no parameter")
		}
		for name, x := range f.Blend {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				p.key("scorer").key(name).errorf("must be finite")
			}
		}
	}
	if f.Text != nil {
		c.Sets, c.Text = c.Sets|ranker.PartText, *f.Text
	}
	if f.DeadlineMS != nil {
		c.Sets, c.Deadline = c.Sets|ranker.PartDeadline, time.Duration(*f.DeadlineMS)*time.Millisecond
		if c.Deadline < time.Millisecond || c.Deadline > maxDeadline {
			p.key("deadline_ms").errorf("%d must be 1 to %d", *f.DeadlineMS, maxDeadline.Milliseconds())
		}
	}
	buildRules(c, &f.Rules, p.key("rules"))
	return c
}

// ruleKeys are the keys of rules that make up each slot's step. A key that is there changes the slot, be
// it null or an empty list: then the arm has no such step.
var ruleKeys = [...][]string{
	ranker.RuleFilter:      {"filter_seen", "filters"},
	ranker.RuleBoost:       {"boosts"},
	ranker.RuleDiversity:   {"diversity"},
	ranker.RulePin:         {"pins"},
	ranker.RuleExploration: {"exploration"},
}

func buildRules(c *ranker.Arm, cfg *rules.Config, p location) {
	for slot, keys := range ruleKeys {
		if slices.ContainsFunc(keys, p.has) {
			c.Sets |= ranker.RuleKind(slot).Part()
		}
	}
	steps, err := rules.New(*cfg)
	if err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			// The text begins with rules.KEY, which has a line of its own.
			line = strings.TrimPrefix(line, "rules.")
			key := line[:strings.IndexAny(line+":", "[.:")]
			q := p.key(key)
			q.path = p.path + "." + key
			q.errorf("%s", strings.TrimPrefix(line[len(key):], ": "))
		}
		return
	}
	c.Rules = steps
}
