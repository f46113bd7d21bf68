package storetest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"relish/ranker"
)

// RandomEvents returns random events over four users (u0 to u3) and eight items (it0 to it7), the
// item descriptions first.
func RandomEvents(rng *rand.Rand, n int) []ranker.Event {
	var out []ranker.Event
	for i := range 8 {
		out = append(
			out,
			item(
				fmt.Sprint("i", i), fmt.Sprint("it", i), t0-1e9, fmt.Sprint("tag", i%3),
				fmt.Sprint("tag", 3+i%2),
			),
		)
	}
	for i := range n {
		at := t0 - rng.Int64N(30*24*3600*1000)
		u, it := fmt.Sprint("u", rng.IntN(4)), fmt.Sprint("it", rng.IntN(8))
		if rng.IntN(3) == 0 {
			out = append(
				out, impression(fmt.Sprint("e", i), u, at, it, fmt.Sprint("it", rng.IntN(8))),
			)
		} else {
			action := []string{"view", "click", "purchase"}[rng.IntN(3)]
			out = append(out, interaction(fmt.Sprint("e", i), u, action, it, at))
		}
	}
	return out
}

// AllCountersSchema returns a schema with every counter at several half-lives. States that differ
// give different columns.
func AllCountersSchema(t testing.TB) *ranker.Schema {
	var f []ranker.Feature
	for _, scope := range []string{
		ranker.ScopeItem, ranker.ScopeField, ranker.ScopeUser, ranker.ScopeUserField,
		ranker.ScopeGlobal,
	} {
		for _, half := range []string{"all", "1h", "7d"} {
			f = append(
				f,
				ranker.Feature{
					Name:     "c" + scope + half,
					Kind:     ranker.KindCount,
					Scope:    scope,
					Action:   "click",
					Field:    "tags",
					HalfLife: half,
				},
				ranker.Feature{
					Name:     "r" + scope + half,
					Kind:     ranker.KindRate,
					Scope:    scope,
					Action:   "any",
					Field:    "tags",
					HalfLife: half,
				},
			)
		}
	}
	f = append(
		f, ranker.Feature{Name: "over", Kind: ranker.KindInteracted, Field: "tags"},
		ranker.Feature{Name: "h", Kind: ranker.KindHistory},
		ranker.Feature{Name: "age", Kind: ranker.KindAge},
	)
	return schema(t, f...)
}
