package replay

import (
	"testing"

	"relish/features/event"
	"relish/ranker"
)

func TestRepeatsOfOneDayAreBounded(t *testing.T) {
	const day = 24 * 60 * 60 * 1000
	var r dayRepeats
	at := func(ms int64) *event.Record {
		return &event.Record{Arrival: ms, Event: ranker.Event{Time: ms}}
	}
	click, view := userAction{1, 2, "click"}, userAction{1, 2, "view"}
	for i := range 10 {
		if got := r.exceed(5, click, at(day+int64(i))); got != (i >= 5) {
			t.Errorf("click %d exceeds the bound: %t", i, got)
		}
	}
	if r.exceed(5, view, at(day)) || r.exceed(5, userAction{2, 2, "click"}, at(day)) {
		t.Error("another action, or another user, is over the bound")
	}
	if r.exceed(5, click, at(2*day)) {
		t.Error("another day is over the bound")
	}
}
