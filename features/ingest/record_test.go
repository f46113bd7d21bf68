package ingest_test

import (
	"testing"

	"relish/features/event"
	"relish/features/ingest"
	"relish/ranker"
)

// An impression that the log does not take counts as dropped.
func TestRecordCountsLostImpressions(t *testing.T) {
	g, err := ingest.Open(t.TempDir(), ingest.Options{
		MaxLogBytes: 1, Apply: func([]event.Record) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Record(&ranker.Event{Kind: ranker.EventImpression, ID: "r1", UserID: "u",
		Impression: &ranker.Impression{Items: []string{"i"}, Served: true}})
	if err := g.Close(); err != nil { // waits for the log
		t.Fatal(err)
	}
	if n := g.Stats().DroppedImpressions; n != 1 {
		t.Errorf("%d dropped impressions, want 1", n)
	}
}
