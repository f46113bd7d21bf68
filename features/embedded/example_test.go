package embedded_test

import (
	"context"
	"fmt"
	"os"

	"relish/features"
	"relish/features/embedded"
	"relish/ranker"
)

func Example() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := embedded.Open(dir, features.DefaultConfig(), embedded.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	ctx, title := context.Background(), "The Sea"
	events := []ranker.Event{
		{Kind: ranker.EventItem, ID: "e1", ItemID: "film-1", Title: &title},
		{Kind: ranker.EventInteraction, ID: "e2", UserID: "ann", ItemID: "film-1", Action: "click"},
	}
	if _, err := s.Append(ctx, events); err != nil {
		fmt.Println(err)
		return
	}
	history := ranker.Feature{Name: "interactions", Kind: ranker.KindHistory}
	schema, err := ranker.NewSchema([]ranker.Feature{history})
	if err != nil {
		fmt.Println(err)
		return
	}
	state, err := s.Read(ctx, &ranker.FeatureQuery{
		User: "ann", Schema: schema, Candidates: []ranker.Candidate{{ID: "film-1"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(state.Recent[0].Action, state.Items[0].Title())
	// Output: click The Sea
}
