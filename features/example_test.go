package features_test

import (
	"fmt"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
)

// A state applies events and returns feature columns.
func Example() {
	state := features.New(features.DefaultConfig())
	events := []ranker.Event{
		{
			Kind: ranker.EventImpression, ID: "l1", Time: 1000, UserID: "ann",
			Impression: &ranker.Impression{Items: []string{"film-1", "film-2"}},
		},
		{
			Kind: ranker.EventInteraction, ID: "c1", Time: 2000, UserID: "ann", ItemID: "film-2",
			Action: "click", ImpressionID: "l1",
		},
	}
	for i, e := range events {
		state.Apply(&event.Record{Seq: uint64(i + 1), Arrival: e.Time, Event: e})
	}
	schema, err := ranker.NewSchema([]ranker.Feature{
		{Name: "clicks", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "click"},
		{Name: "click_rate", Kind: ranker.KindRate, Scope: ranker.ScopeItem, Action: "click"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := state.Read(&ranker.FeatureQuery{
		User: "ann", Now: 3000, Schema: schema,
		Candidates: []ranker.Candidate{{ID: "film-1"}, {ID: "film-2"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	c := out.Columns
	fmt.Printf("film-1: log1p of the clicks %.2f, relative rate %+.2f\n", c[0], c[1])
	fmt.Printf("film-2: log1p of the clicks %.2f, relative rate %+.2f\n", c[2], c[3])
	// Output:
	// film-1: log1p of the clicks 0.00, relative rate -0.18
	// film-2: log1p of the clicks 0.69, relative rate +0.18
}
