package snapshot_test

import (
	"fmt"
	"os"
	"path/filepath"

	"relish/features"
	"relish/features/event"
	"relish/features/snapshot"
	"relish/ranker"
)

func Example() {
	parent, err := os.MkdirTemp("", "snapshot")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(parent)
	cfg, title := features.DefaultConfig(), "The Sea"
	state := features.New(cfg)
	state.Apply(&event.Record{Seq: 1, Arrival: 1, Event: ranker.Event{
		Kind: ranker.EventItem, ID: "e1", ItemID: "film-1", Title: &title,
	}})
	dir := filepath.Join(parent, "monday")
	if _, err := snapshot.Write(dir, state.Dump("")); err != nil {
		fmt.Println(err)
		return
	}
	dump, err := snapshot.Load(dir, cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	loaded, err := dump.State("")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(loaded.Item("film-1").Title())
	// Output: The Sea
}
