package storetest

import (
	"fmt"
	"math/rand/v2"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
)

// Filling is how much Fill puts into a state.
type Filling struct {
	Items  int
	Users  int
	Clicks int // interactions of each user, one an hour
	Lists  int // shown lists of 24 items to each user, spread over the same time
}

// listLength is the number of items in a list of Fill.
const listLength = 24

// Fill describes items and lets users act on them, the same at each call. It measures what a state
// takes, in memory and time. An item has a title, a category of 30, three tags of 500 and a price.
func Fill(s *features.State, f Filling) {
	const start, hour = int64(1_700_000_000_000), int64(3_600_000)
	r := rand.New(rand.NewPCG(1, 1))
	seq := s.Seq()
	apply := func(at int64, e ranker.Event) {
		seq++
		e.ID, e.Time = "e", at
		s.Apply(&event.Record{Seq: seq, Arrival: start + int64(seq), Event: e})
	}
	itemID := func(i int) string { return fmt.Sprintf("item-%08d", i) }
	tag := func() string { return fmt.Sprintf("tag-%d", r.IntN(500)) }
	for i := range f.Items {
		title := fmt.Sprintf("The title of the item number %d", i)
		apply(start-hour, ranker.Event{
			Kind: ranker.EventItem, ItemID: itemID(i), Title: &title,
			Tags: []string{tag(), tag(), tag()},
			Fields: map[string]ranker.FieldValue{
				"category": ranker.StringValue(fmt.Sprintf("category-%d", r.IntN(30))),
				"price":    ranker.NumberValue(float64(r.IntN(10_000)) / 100),
			},
		})
	}
	for u := range f.Users {
		user := fmt.Sprintf("user-%08d", u)
		at := start - int64(f.Clicks+f.Lists+1)*hour
		for step := range max(f.Clicks, f.Lists) {
			at += hour
			list := []string{itemID(r.IntN(f.Items))}
			if step < f.Lists {
				for len(list) < listLength {
					list = append(list, itemID(r.IntN(f.Items)))
				}
				apply(at, ranker.Event{
					Kind: ranker.EventImpression, UserID: user,
					Impression: &ranker.Impression{Items: list},
				})
			}
			if step < f.Clicks {
				apply(at+1000, ranker.Event{
					Kind: ranker.EventInteraction, UserID: user, ItemID: list[r.IntN(len(list))],
					Action: "click",
				})
			}
		}
	}
}
