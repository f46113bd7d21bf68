package ingest_test

import (
	"fmt"

	"relish/features/event"
	"relish/features/ingest"
	"relish/ranker"
)

func ExampleDeduplicator() {
	d := ingest.NewDeduplicator(1000)
	for _, e := range []ranker.Event{
		{Kind: ranker.EventInteraction, ID: "e1", UserID: "alice"},
		{Kind: ranker.EventInteraction, ID: "e2", UserID: "bob"},
		{Kind: ranker.EventInteraction, ID: "e1", UserID: "alice"},
		{Kind: ranker.EventInteraction, ID: "e1", UserID: "carol"},
	} {
		fmt.Println(e.ID, e.UserID, d.Add(&event.Record{Event: e}))
	}
	fmt.Println(d.Conflicts(), "conflict")
	// Output:
	// e1 alice true
	// e2 bob true
	// e1 alice false
	// e1 carol false
	// 1 conflict
}
