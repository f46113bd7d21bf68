package replay_test

import (
	"context"
	"fmt"
	"math"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/training/replay"
)

// A log of one list that was shown and one click on it gives one training example.
func ExampleLog_Walk() {
	shown := ranker.Event{Kind: ranker.EventImpression, ID: "list-1", UserID: "ada", Time: 1000,
		Impression: &ranker.Impression{Items: []string{"tea", "coffee"}}}
	click := ranker.Event{Kind: ranker.EventInteraction, ID: "click-1", UserID: "ada", Time: 2000,
		ItemID: "coffee", Action: "click", ImpressionID: "list-1"}
	src := source([]event.Record{
		{Seq: 1, Arrival: 1000, Event: shown}, {Seq: 2, Arrival: 2000, Event: click},
	})

	ctx, cfg := context.Background(), features.DefaultConfig()
	log, err := replay.Scan(ctx, src, replay.Options{State: cfg})
	if err != nil {
		fmt.Println(err)
		return
	}
	lists := log.ClickedImpressions(0, math.MaxUint64)
	err = log.Walk(
		ctx,
		src,
		features.New(cfg),
		lists,
		replay.WalkOptions{},
		func(x *replay.Example) error {
			for i, c := range x.Request.Candidates {
				fmt.Println(x.Request.User, c.ID, x.Gains[i])
			}
			return nil
		},
	)
	fmt.Println(err)
	// Output:
	// ada tea 0
	// ada coffee 1
	// <nil>
}
