// Package rules holds the rules that a list goes through after it was scored.
//
// Filters, boosts and pins test item fields (item_rules.go). Diversity and exploration work on the
// list as a whole. Each rule appends its name to the entries that it moved, so that an explanation
// can say why an item is where it is.
//
// New makes the rules from section "rules" of relish.yaml, or from an experiment's arm. The
// pipeline applies them in the order of ranker.RuleKind: filter, boost, diversity, pin,
// exploration.
package rules

import (
	"errors"
	"fmt"
	"math"

	"relish/ranker"
)

// Config is section "rules" of relish.yaml. The zero value changes nothing.
type Config struct {
	FilterSeen  *Seen        `yaml:"filter_seen"`
	Filters     []Condition  `yaml:"filters"` // remove the items that meet any of them
	Boosts      []Boost      `yaml:"boosts"`
	Diversity   *Diversity   `yaml:"diversity"`
	Pins        []Pin        `yaml:"pins"`
	Exploration *Exploration `yaml:"exploration"`
}

// Seen removes items that the user has seen.
type Seen struct {
	Actions []string `yaml:"actions"` // items with a recent interaction of one of these actions
	Shown   bool     `yaml:"shown"`   // items that were recently shown
}

// Condition is met by an item whose field passes every test that is set. Field "id" is the item's
// id and "tags" its tags. A list passes Equals or In if one of its members does. An unknown item
// lacks every field but id.
type Condition struct {
	Field  string   `yaml:"field"`
	Equals any      `yaml:"equals"`
	In     []any    `yaml:"in"`
	Lt     *float64 `yaml:"lt"` // numbers only
	Gt     *float64 `yaml:"gt"` // numbers only
	// Missing is met exactly if the item lacks the field. It excludes the other tests.
	Missing bool `yaml:"missing"`
}

// Boost adds to the score of the items that meet the condition.
type Boost struct {
	When Condition `yaml:"when"`
	Add  float64   `yaml:"add"` // in the scorer's unit, log-odds; finite, not 0
}

// Pin puts the best item that meets the condition at a position.
type Pin struct {
	When     Condition `yaml:"when"`
	Position int       `yaml:"position"` // from 1; beyond the list's end means its end
}

// Diversity reorders the first Top items by maximal marginal relevance (Carbonell and Goldstein
// 1998).
type Diversity struct {
	Lambda float64 `yaml:"lambda"` // 1 is relevance alone, 0 is difference alone
	Top    int     `yaml:"top"`    // 2 to 200
}

// Exploration samples the order of the first Top items from the Plackett-Luce distribution with
// weights exp(score / Temperature), and records the propensities.
type Exploration struct {
	Top         int     `yaml:"top"`         // 2 to 200
	Temperature float64 `yaml:"temperature"` // above 0; a high one makes the order more random
}

// maxTop bounds the rules whose time grows with the square of Top.
const maxTop = 200

// Validate returns an error that lists every problem of the configuration, nil if there is none.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("rules."+format, args...))
	}
	check := func(where string, cond *Condition) {
		if cond.Field == "" {
			bad("%s: field is missing", where)
		}
		tests := cond.Equals != nil || len(cond.In) > 0 || cond.Lt != nil || cond.Gt != nil
		if tests == cond.Missing {
			bad("%s: set equals, in, lt or gt, or set missing alone", where)
		}
	}
	if s := c.FilterSeen; s != nil && len(s.Actions) == 0 && !s.Shown {
		bad("filter_seen: list actions, or set shown: true")
	}
	for i := range c.Filters {
		check(fmt.Sprintf("filters[%d]", i), &c.Filters[i])
	}
	for i := range c.Boosts {
		check(fmt.Sprintf("boosts[%d].when", i), &c.Boosts[i].When)
		if x := c.Boosts[i].Add; x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
			bad("boosts[%d].add is %g; choose a finite number other than 0", i, x)
		}
	}
	for i := range c.Pins {
		check(fmt.Sprintf("pins[%d].when", i), &c.Pins[i].When)
		if n := c.Pins[i].Position; n < 1 {
			bad("pins[%d].position is %d; positions count from 1", i, n)
		}
	}
	if d := c.Diversity; d != nil {
		if !(d.Lambda >= 0 && d.Lambda <= 1) {
			bad("diversity.lambda is %g; choose 0 to 1", d.Lambda)
		}
		if d.Top < 2 || d.Top > maxTop {
			bad("diversity.top is %d; choose 2 to %d", d.Top, maxTop)
		}
	}
	if e := c.Exploration; e != nil {
		if !(e.Temperature > 0) {
			bad("exploration.temperature is %g; choose a number above 0", e.Temperature)
		}
		if e.Top < 2 || e.Top > maxTop {
			bad("exploration.top is %d; choose 2 to %d", e.Top, maxTop)
		}
	}
	return errors.Join(errs...)
}

// New returns the rules of a configuration, or the error of Validate.
func New(c Config) (set ranker.RuleSet, err error) {
	if err := c.Validate(); err != nil {
		return set, err
	}
	if c.FilterSeen != nil || len(c.Filters) > 0 {
		set[ranker.RuleFilter] = &filter{seen: c.FilterSeen, conditions: c.Filters}
	}
	if len(c.Boosts) > 0 {
		set[ranker.RuleBoost] = &boost{c.Boosts}
	}
	if c.Diversity != nil {
		set[ranker.RuleDiversity] = &diversity{*c.Diversity}
	}
	if len(c.Pins) > 0 {
		set[ranker.RulePin] = &pin{c.Pins}
	}
	if c.Exploration != nil {
		set[ranker.RuleExploration] = &exploration{*c.Exploration}
	}
	return set, nil
}
