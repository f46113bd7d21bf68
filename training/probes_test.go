package training_test

import (
	"bytes"
	"fmt"
	"testing"

	"relish/ranker"
	"relish/ranker/bundle"
	"relish/training"
)

// The probe of a bundle has nothing of a user: no id, no field, no search text, no content that
// came with a request, and no history as a user had it.
func TestProbeHasNothingOfAUser(t *testing.T) {
	const secret = "zq-private-"
	known := map[string]bool{}
	histories := map[string]bool{}
	last := map[string][]string{}
	var events []ranker.Event
	for _, r := range demoLog()[:2400] {
		e := r.Event
		if e.UserID != "" {
			e.UserID = secret + e.UserID
			if !known[e.UserID] {
				known[e.UserID] = true
				events = append(events, ranker.Event{
					Kind: ranker.EventUser, ID: "user" + e.UserID, Time: e.Time, UserID: e.UserID,
					Fields: map[string]ranker.FieldValue{"name": ranker.StringValue(secret)},
				})
			}
		}
		if e.Impression != nil {
			copied := *e.Impression
			copied.Context = map[string]ranker.FieldValue{"query": ranker.StringValue(secret)}
			e.Impression = &copied
		}
		if e.Kind == ranker.EventInteraction {
			h := append([]string{e.ItemID}, last[e.UserID]...)
			last[e.UserID] = h[:min(3, len(h))]
			histories[fmt.Sprint(last[e.UserID])] = true
		}
		events = append(events, e)
	}
	in := inputs(t, logOf(events))
	in.Config.Scorer = training.DefaultConfig().Scorer
	in.Config.Scorer.Rounds = 10
	in.Vectors = textVectors{}
	out := train(t, in)
	_, files, err := out.Bundle(t.Context(), in.TextSpec)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(files[bundle.ProbeFile], []byte(secret)) {
		t.Error("the probe contains a user's id, field or search text")
	}
	if len(out.Probes) != bundle.MaxProbeCases {
		t.Errorf("%d probes, want %d", len(out.Probes), bundle.MaxProbeCases)
	}
	for i, p := range out.Probes {
		if len(p.State.Recent) < 3 || p.QueryVector == nil {
			t.Fatalf("probe %d has a history of %d and the search text %v: signals that read them "+
				"are not checked", i, len(p.State.Recent), p.Query)
		}
		var newest []string
		for _, r := range p.State.Recent[:3] {
			newest = append(newest, r.Item)
		}
		if histories[fmt.Sprint(newest)] {
			t.Errorf("probe %d has the history of a user: %v", i, newest)
		}
	}
}
