package features_test

import (
	"testing"

	"relish/features"
	"relish/features/event"
	"relish/features/storetest"
	"relish/ranker"
)

// The text of inline content is transient, unless it is the text that the item has anyway.
func TestInlineTextIsTransient(t *testing.T) {
	s, title := features.New(storetest.Config()), "title"
	s.Apply(&event.Record{Seq: 1, Arrival: 1, Event: ranker.Event{
		Kind: ranker.EventItem, ID: "e", Time: 1, ItemID: "known", Title: &title,
	}})
	price := map[string]ranker.FieldValue{"price": ranker.NumberValue(3)}
	for _, c := range []struct {
		id   string
		item ranker.Item
		want bool
	}{
		{"unknown", ranker.Item{Title: title}, true},
		{"known", ranker.Item{Title: "another"}, true},
		{"known", ranker.Item{Fields: price}, false},
	} {
		if got := s.InlineInfo(c.id, &c.item).Transient; got != c.want {
			t.Errorf("%s with %+v: transient %v, want %v", c.id, c.item, got, c.want)
		}
	}
}
