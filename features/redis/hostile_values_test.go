package redis_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"relish/features"
	"relish/features/event"
	"relish/features/redis"
	"relish/features/storetest"
	"relish/internal/redistest"
	"relish/ranker"
)

// Intact values may hold numbers and texts that this server would not have written: not finite,
// huge, of another type than the feature's. Rankings go on, and their columns are finite.
func TestHostileNumbersInValues(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.URL(), t.TempDir(), storetest.Config(), generous)
	s.waitFlushed(t)
	state := features.New(s.cfg)
	fields := map[string]ranker.FieldValue{
		"nan": ranker.NumberValue(math.NaN()), "inf": ranker.NumberValue(math.Inf(1)),
		"large": ranker.NumberValue(1e308), "text": ranker.StringValue("7"),
		"tags": ranker.StringValue(strings.Repeat("x", 1<<20)),
	}
	seq, title := uint64(0), strings.Repeat("word ", 1<<18)
	apply := func(e ranker.Event) {
		seq++
		e.ID, e.Time = fmt.Sprint("e", seq), 1_700_000_000_000
		state.Apply(&event.Record{Seq: seq, Arrival: e.Time, Event: e})
	}
	var ids []string
	for i, value := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e308, -1e308} {
		id := fmt.Sprint("item-", i)
		ids = append(ids, id)
		apply(ranker.Event{
			Kind: ranker.EventItem, ItemID: id, Title: &title, Tags: []string{"t"}, Fields: fields,
		})
		apply(ranker.Event{
			Kind: ranker.EventInteraction, UserID: "u", ItemID: id, Action: "click", Value: &value,
		})
	}
	apply(ranker.Event{Kind: ranker.EventUser, UserID: "u", Fields: fields})
	if err := redis.Restore(t.Context(), s.conn, state.Dump(""), nil); err != nil {
		t.Fatal(err)
	}
	svc := newService(t, s, ids)
	svc.waitComplete(t)
	var list []ranker.Feature
	for name := range fields {
		list = append(list, ranker.Feature{Name: name, Kind: ranker.KindNumber, Field: name})
	}
	list = append(list,
		ranker.Feature{Name: "c", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "click"},
		ranker.Feature{Name: "i", Kind: ranker.KindInteracted, Field: "tags"})
	schema, err := ranker.NewSchema(list)
	if err != nil {
		t.Fatal(err)
	}
	q := query(t, "u", ids)
	q.Schema = schema
	st := s.read(t, q)
	if st.ItemsRead != len(ids) || len(st.Recent) != len(ids) {
		t.Errorf("%d items, %d in the history, want %d", st.ItemsRead, len(st.Recent), len(ids))
	}
	for i, x := range st.Columns {
		if math.IsInf(float64(x), 0) {
			t.Errorf("column %s is infinite", schema.Columns()[i%len(schema.Columns())].Name)
		}
	}
	svc.add(t, click("one more", "u", ids[0]))
	svc.waitComplete(t)
}
