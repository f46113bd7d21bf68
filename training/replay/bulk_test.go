package replay_test

import (
	"flag"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime/metrics"
	"testing"
	"time"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training/replay"
)

// events is the length of BenchmarkBulk's generated log. docs/training.md has its command and
// figures.
var events = flag.Int("events", 200_000, "events of BenchmarkBulk's generated log")

// generated returns a log of n events that is generated while it is read. A thousandth are items.
// Two interactions follow each list of ten items on average. The number of users grows with the
// square root of n.
func generated(n int) replay.Source {
	users, items := int(25*math.Sqrt(float64(n))), max(1000, n/1000)
	return func() iter.Seq2[event.Record, error] {
		return func(yield func(event.Record, error) bool) {
			r := rand.New(rand.NewPCG(1, 20))
			list := ranker.Event{}
			for i := range n {
				e := ranker.Event{ID: fmt.Sprint("e", i), Time: 1_700_000_000_000 + int64(i)*20}
				popular := func() string {
					return fmt.Sprint("item-", int(float64(items)*math.Pow(r.Float64(), 2)))
				}
				switch {
				case i < items:
					title := fmt.Sprint("title of ", i)
					e.Kind, e.ItemID, e.Title = ranker.EventItem, fmt.Sprint("item-", i), &title
					e.Fields = map[string]ranker.FieldValue{
						"genre": ranker.StringValue(fmt.Sprint("g", i%30)),
						"price": ranker.NumberValue(float64(i % 100)),
					}
				case i%3 == 0:
					e.Kind, e.UserID = ranker.EventImpression, fmt.Sprint("user-", r.IntN(users))
					e.Impression = &ranker.Impression{}
					for range 10 {
						e.Impression.Items = append(e.Impression.Items, popular())
					}
					list = e
				default:
					e.Kind, e.Action = ranker.EventInteraction, "click"
					e.UserID, e.ItemID = list.UserID, popular()
					if list.Impression != nil && r.IntN(2) == 0 {
						e.ItemID, e.ImpressionID = list.Impression.Items[r.IntN(10)], list.ID
					} else if e.UserID == "" {
						e.UserID = "user-0"
					}
				}
				if !yield(event.Record{Seq: uint64(i + 1), Arrival: e.Time, Event: e}, nil) {
					return
				}
			}
		}
	}
}

// watchMemory samples the process's memory until it is stopped and returns the peak.
func watchMemory() (stop func() uint64) {
	done, most := make(chan struct{}), make(chan uint64)
	go func() {
		top := uint64(0)
		sample := []metrics.Sample{
			{Name: "/memory/classes/total:bytes"},
			{Name: "/memory/classes/heap/released:bytes"},
		}
		for t := time.NewTicker(20 * time.Millisecond); ; {
			metrics.Read(sample)
			top = max(top, sample[0].Value.Uint64()-sample[1].Value.Uint64())
			select {
			case <-t.C:
			case <-done:
				t.Stop()
				most <- top
				return
			}
		}
	}()
	return func() uint64 { close(done); return <-most }
}

// BenchmarkBulk scans and replays a generated log into a dataset. It reports events per second and
// the peak memory, which includes the feature state.
func BenchmarkBulk(b *testing.B) {
	cfg := features.DefaultConfig()
	cfg.Fields, cfg.HalfLives = []string{"genre"}, []string{"all", "1d"}
	for b.Loop() {
		stop, start := watchMemory(), time.Now()
		src := generated(*events)
		log, err := replay.Scan(b.Context(), src, replay.Options{State: cfg})
		if err != nil {
			b.Fatal(err)
		}
		scanned := time.Since(start)
		lists := log.ClickedImpressions(0, math.MaxUint64)
		state := features.New(cfg)
		schema, err := scorer.PriorSchema(cfg.Fields, nil)
		if err != nil {
			b.Fatal(err)
		}
		model := &ranker.Model{Schema: schema}
		p, err := ranker.New(
			ranker.Options{Features: reading{state}, Models: scorer.SingleModel(model)},
		)
		if err != nil {
			b.Fatal(err)
		}
		w, err := replay.CreateDataset(
			filepath.Join(b.TempDir(), "dataset.arrow"),
			schema.Columns(),
		)
		if err != nil {
			b.Fatal(err)
		}
		rows := 0
		err = log.Walk(
			b.Context(),
			src,
			state,
			lists,
			replay.WalkOptions{},
			func(c *replay.Example) error {
				c.Request.Deadline = time.Minute
				m, _, err := p.Matrix(b.Context(), model, c.Request)
				if err != nil {
					return err
				}
				rows += m.N
				return w.Add(c, make([]int32, m.N), m)
			},
		)
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(*events)/scanned.Seconds(), "scanned/s")
		b.ReportMetric(float64(*events)/time.Since(start).Seconds(), "replayed/s")
		b.ReportMetric(float64(stop())/(1<<20), "peak-MiB")
		b.ReportMetric(float64(rows), "rows")
		items, users, _ := state.Sizes()
		b.ReportMetric(float64(items+users), "entities")
	}
}
