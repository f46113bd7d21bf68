// Package rerank holds the post-steps: what a list goes through after it was scored. Filters, boosts
// and pins are rules over item fields; diversity and exploration work on the list as a whole. Every
// step names itself at the entries it moved, so that an explanation can say why an item is where it is.
package rules

import (
	"errors"
	"fmt"

	"relish/ranker"
)

// Config is section rules of relish.yaml. The zero value changes nothing.
type Config struct {
	FilterSeen  *Seen        `yaml:"filter_seen"`
	Filters     []Condition  `yaml:"filters"` // an item that meets one of them is left out
	Boosts      []Boost      `yaml:"boosts"`
	Diversity   *Diversity   `yaml:"diversity"`
	Pins        []Pin        `yaml:"pins"`
	Exploration *Exploration `yaml:"exploration"`
}

// Seen leaves out what the user has had.
type Seen struct {
	Actions []string `yaml:"actions"` // recent interactions of these actions
	Shown   bool     `yaml:"shown"`   // everything shown lately
}

// Condition is met by items whose field passes every test that is set. The field "id" is the item's id,
// "tags" its tags; a list meets Equals or In when one of its members does.
type Condition struct {
	Field   string   `yaml:"field"`
	Equals  any      `yaml:"equals"`
	In      []any    `yaml:"in"`
	Lt      *float64 `yaml:"lt"`
	Gt      *float64 `yaml:"gt"`
	Missing bool     `yaml:"missing"` // met exactly when the item lacks the field
}

// Boost adds to the score of items that meet the condition, in the blend's units (log-odds).
type Boost struct {
	When Condition `yaml:"when"`
	Add  float64   `yaml:"add"`
}

// Pin puts the best item that meets the condition at a place (from 1).
type Pin struct {
	When     Condition `yaml:"when"`
	Position int       `yaml:"position"`
}

// Diversity reorders the first Top items by maximal marginal relevance (Carbonell and Goldstein 1998):
// Lambda 1 is relevance alone, 0 is difference alone.
type Diversity struct {
	Lambda float64 `yaml:"lambda"`
	Top    int     `yaml:"top"`
}

// Exploration samples the order of the first Top places from the Plackett-Luce distribution with weights
// exp(score / Temperature), and logs the propensities.
type Exploration struct {
	Top         int     `yaml:"top"`
	Temperature float64 `yaml:"temperature"`
}

// Bounds of the quadratic steps.
const maxTop = 200

// Validate returns every problem.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("rules."+format, args...)) }
	check := func(where string, cond *Condition) {
		if cond.Field == "" {
			bad("%s: field is missing", where)
		}
		tests := cond.Equals != nil || len(cond.In) > 0 || cond.Lt != nil || cond.Gt != nil
		if tests == cond.Missing {
			bad("%s: set one of equals, in, lt, gt, or missing", where)
		}
	}
	if s := c.FilterSeen; s != nil && len(s.Actions) == 0 && !s.Shown {
		bad("filter_seen: name actions, or set shown")
	}
	for i := range c.Filters {
		check(fmt.Sprintf("filters[%d]", i), &c.Filters[i])
	}
	for i := range c.Boosts {
		check(fmt.Sprintf("boosts[%d].when", i), &c.Boosts[i].When)
		if x := c.Boosts[i].Add; x-x != 0 || x == 0 {
			bad("boosts[%d].add: %g is no number to add", i, x)
		}
	}
	for i := range c.Pins {
		check(fmt.Sprintf("pins[%d].when", i), &c.Pins[i].When)
		if c.Pins[i].Position < 1 {
			bad("pins[%d].place: places begin at 1", i)
		}
	}
	if d := c.Diversity; d != nil && (!(d.Lambda >= 0 && d.Lambda <= 1) || d.Top < 2 || d.Top > maxTop) {
		bad("diversity: lambda is 0 to 1, top is 2 to %d", maxTop)
	}
	if e := c.Exploration; e != nil && (!(e.Temperature > 0) || e.Top < 2 || e.Top > maxTop) {
		bad("exploration: temperature is above 0, top is 2 to %d", maxTop)
	}
	return errors.Join(errs...)
}

// New returns the steps of a valid configuration. Pins come after diversity and before exploration, which
// leaves pinned items where they are.
func New(c Config) (steps ranker.RuleSet, err error) {
	if err := c.Validate(); err != nil {
		return steps, err
	}
	if c.FilterSeen != nil || len(c.Filters) > 0 {
		steps[ranker.RuleFilter] = &filter{seen: c.FilterSeen, conditions: c.Filters}
	}
	if len(c.Boosts) > 0 {
		steps[ranker.RuleBoost] = &boost{c.Boosts}
	}
	if c.Diversity != nil {
		steps[ranker.RuleDiversity] = &diversity{*c.Diversity}
	}
	if len(c.Pins) > 0 {
		steps[ranker.RulePin] = &pin{c.Pins}
	}
	if c.Exploration != nil {
		steps[ranker.RuleExploration] = &exploration{*c.Exploration}
	}
	return steps, nil
}
