package signals_test

import (
	"context"
	"fmt"
	"log"

	"relish/ranker"
	"relish/ranker/signals"
)

// The candidate shares a word with both items of the history.
func ExampleTokenOverlap() {
	item := func(title string) *ranker.ItemInfo {
		return ranker.NewItemInfo(ranker.Item{Title: title}, nil)
	}
	in := &ranker.SignalInput{
		State: &ranker.RequestState{
			RecentItems: []*ranker.ItemInfo{item("Sea Bread"), item("The Deep Sea")},
			Items:       []*ranker.ItemInfo{item("Sea Stories")},
		},
		Query: item("stories"),
	}
	overlap := signals.TokenOverlap{}
	out := make([]float32, len(in.State.Items)*len(overlap.Columns()))
	if err := overlap.Compute(context.Background(), in, out); err != nil {
		log.Fatal(err)
	}
	for i, name := range overlap.Columns() {
		fmt.Println(name, out[i])
	}
	// Output:
	// overlap.history 0.5
	// overlap.query 1
}
