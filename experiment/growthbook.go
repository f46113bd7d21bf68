package experiment

import (
	"time"

	"relish/experiment/targeting"
)

// Payload initialises a GrowthBook SDK once it is encoded as JSON. A feature's value is the name of
// the user's arm, null for a user that is in none.
type Payload struct {
	Features map[string]Feature `json:"features"`
}

// Feature is one experiment. Its rules are tried in order.
type Feature struct {
	DefaultValue *string `json:"defaultValue"` // always null
	Rules        []Rule  `json:"rules"`
}

// Rule is either the holdout, which forces the value null, or the experiment.
type Rule struct {
	Force         *nullValue  `json:"force,omitzero"`
	Range         *[2]float64 `json:"range,omitzero"`
	Key           string      `json:"key,omitzero"`
	Variations    []string    `json:"variations,omitzero"`
	Meta          []Meta      `json:"meta,omitzero"`
	Weights       []float64   `json:"weights,omitzero"`
	Coverage      *float64    `json:"coverage,omitzero"`
	HashAttribute string      `json:"hashAttribute"`
	HashVersion   int         `json:"hashVersion"`
	Seed          string      `json:"seed"`
	Namespace     []any       `json:"namespace,omitzero"` // [id, start, end]
	Condition     any         `json:"condition,omitzero"`
}

// Meta names a variation in GrowthBook's tracking.
type Meta struct {
	Key string `json:"key"`
}

// nullValue is encoded as null. Null is a value here; an absent member would mean no rule.
type nullValue struct{}

// MarshalJSON implements json.Marshaler.
func (nullValue) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// GrowthBook returns the experiments that run at that time as a GrowthBook SDK payload. An SDK with
// the attributes {id, session, user: {fields}, and the context's fields} finds the arms that Assign
// finds. Forced users are left out. So are interleaved experiments, which put nobody into one arm.
func (s *Set) GrowthBook(now time.Time) Payload {
	p := Payload{Features: map[string]Feature{}}
	for _, e := range s.All() {
		if e.Mode != ModeSplit || e.Status(now) != StatusRunning {
			continue
		}
		var f Feature
		if h := s.Holdout; h != nil && h.Share > 0 {
			f.Rules = append(f.Rules, Rule{
				Force:         &nullValue{},
				Range:         &[2]float64{0, h.Share},
				HashAttribute: targeting.AttrID,
				HashVersion:   2,
				Seed:          h.Seed,
			})
		}
		f.Rules = append(f.Rules, e.rule())
		p.Features[e.Name] = f
	}
	return p
}

func (e *Experiment) rule() Rule {
	r := Rule{
		Key:           e.Name,
		Coverage:      &e.Coverage,
		HashAttribute: e.HashAttribute,
		HashVersion:   2,
		Seed:          e.Seed,
	}
	if e.HashAttribute == HashUser {
		r.HashAttribute = targeting.AttrID
	}
	for _, a := range e.Arms {
		r.Variations = append(r.Variations, a.Name)
		r.Meta = append(r.Meta, Meta{a.Name})
		r.Weights = append(r.Weights, a.Weight)
	}
	if n := e.Namespace; n != nil {
		r.Namespace = []any{n.ID, n.Start, n.End}
	}
	if e.Condition != nil {
		r.Condition = e.Condition.JSON()
	}
	return r
}
