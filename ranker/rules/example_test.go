package rules_test

import (
	"context"
	"fmt"
	"log"

	"relish/ranker"
	"relish/ranker/rules"
)

// Out-of-stock items leave the list, and items on sale gain 0.5 log-odds.
func ExampleNew() {
	set, err := rules.New(rules.Config{
		Filters: []rules.Condition{{Field: "in_stock", Equals: false}},
		Boosts:  []rules.Boost{{When: rules.Condition{Field: "tags", Equals: "sale"}, Add: 0.5}},
	})
	if err != nil {
		log.Fatal(err)
	}
	item := func(inStock bool, tags ...string) *ranker.ItemInfo {
		fields := map[string]ranker.FieldValue{"in_stock": ranker.BoolValue(inStock)}
		return ranker.NewItemInfo(ranker.Item{Tags: tags, Fields: fields}, nil)
	}
	list := &ranker.List{
		Request: &ranker.Request{
			Candidates: []ranker.Candidate{{ID: "lamp"}, {ID: "desk"}, {ID: "chair"}},
		},
		State: &ranker.RequestState{
			Items: []*ranker.ItemInfo{item(true), item(false), item(true, "sale")},
		},
		Entries: []ranker.Entry{
			{Index: 0, Score: 1.2},
			{Index: 1, Score: 1.1},
			{Index: 2, Score: 0.9},
		},
	}
	for _, rule := range set {
		if rule == nil {
			continue
		}
		if err := rule.Apply(context.Background(), list); err != nil {
			log.Fatal(err)
		}
	}
	for _, e := range list.Entries {
		fmt.Println(list.Request.Candidates[e.Index].ID, e.Score, e.MovedBy)
	}
	// Output:
	// chair 1.4 [boost]
	// lamp 1.2 []
}
