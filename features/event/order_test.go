package event_test

import (
	"fmt"
	"slices"
	"testing"

	"relish/features/event"
	"relish/ranker"
)

// Descriptions without a time have always been there. Those of one item keep the order of the log,
// whatever their ids are, so that the last one holds.
func TestOrderOfDescriptionsWithoutTime(t *testing.T) {
	var records []event.Record
	for seq := range uint64(20) {
		records = append(records, event.Record{
			Seq: seq, Arrival: now, Replica: "r",
			Event: ranker.Event{
				Kind: ranker.EventItem, ID: fmt.Sprint(seq * 7919), Imported: true,
				ItemID: fmt.Sprint("i", seq%2),
			},
		})
	}
	slices.SortFunc(records, func(a, b event.Record) int {
		return event.OrderOf(&a).Compare(event.OrderOf(&b))
	})
	last := map[string]uint64{}
	for _, rec := range records {
		if before, ok := last[rec.Event.ItemID]; ok && before > rec.Seq {
			t.Fatalf("item %s: record %d after %d", rec.Event.ItemID, rec.Seq, before)
		}
		last[rec.Event.ItemID] = rec.Seq
	}
}
