package scorer

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"relish/ranker"
)

var _ ranker.Tunable = (*Prior)(nil)

// Tune implements ranker.Tunable. A parameter is the weight of a term, named like its feature.
// "field.rate" and "user_field.rate" name the terms of all fields.
func (p *Prior) Tune(params map[string]float64) (ranker.Scorer, error) {
	out := *p
	out.terms = slices.Clone(p.terms)
	for _, name := range slices.Sorted(maps.Keys(params)) {
		weight, found := params[name], false
		if math.IsNaN(weight) || math.IsInf(weight, 0) {
			return nil, fmt.Errorf("parameter %q is %g; it must be finite", name, weight)
		}
		for i := range out.terms {
			if t := &out.terms[i]; t.name == name || strings.HasPrefix(t.name, name+".") {
				t.weight, found = weight, true
			}
		}
		if !found {
			return nil, fmt.Errorf(
				"the prior has no parameter %q; it has %s",
				name,
				strings.Join(p.parameters(), ", "),
			)
		}
	}
	return &out, nil
}

// parameters returns the names of the terms, sorted.
func (p *Prior) parameters() []string {
	var names []string
	for _, t := range p.terms {
		names = append(names, t.name)
	}
	slices.Sort(names)
	return names
}
