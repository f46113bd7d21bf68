package trends_test

import (
	"fmt"
	"runtime"
	"testing"

	"relish/features/event"
	"relish/features/trends"
	"relish/ranker"
)

// BenchmarkApply counts an item, its label and a click, and measures what an item takes:
//
//	go test ./features/trends -run '^$' -bench Apply
func BenchmarkApply(b *testing.B) {
	events := func(n int) [3]ranker.Event {
		id := fmt.Sprint("item-", n)
		return [3]ranker.Event{
			text(id, id, nil), label(id, []string{"negative", "neutral"}[n%2]), act("click", id),
		}
	}
	c := trends.New([]string{"sentiment", "topic"}, []string{"click"})
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	before, n := heap(), 0
	for b.Loop() {
		b.StopTimer()
		list := events(n)
		b.StartTimer()
		for _, e := range list {
			rec := event.Record{Seq: c.Seq() + 1, Arrival: start.UnixMilli() + int64(n), Event: e}
			c.Apply(&rec)
		}
		n++
	}
	b.ReportMetric((heap()-before)/float64(n), "B/item")
	runtime.KeepAlive(c)
}
