package eventlog_test

import (
	"context"
	"fmt"
	"os"

	"relish/features/eventlog"
	"relish/ranker"
)

func Example() {
	dir, err := os.MkdirTemp("", "eventlog")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	l, err := eventlog.Open(dir, eventlog.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	click := ranker.Event{
		Kind: ranker.EventInteraction, ID: "e1", UserID: "ann", ItemID: "film-1", Action: "click",
	}
	// The event is durable when Append returns.
	if _, err := l.Append(context.Background(), []ranker.Event{click}); err != nil {
		fmt.Println(err)
	}
	for rec, err := range eventlog.Read(dir, 1) {
		fmt.Println(rec.Seq, rec.Event.Action, rec.Event.ItemID, err)
	}
	if err := l.Close(); err != nil {
		fmt.Println(err)
	}
	// Output: 1 click film-1 <nil>
}
