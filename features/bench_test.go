package features_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"relish/features"
	"relish/features/event"
	"relish/internal/demo"
	"relish/ranker"
	"relish/ranker/bundle"
)

// Flags of BenchmarkRead.
var (
	benchState = flag.String("state", "", "checkpoint to read from, such as DATA/checkpoint")
	benchModel = flag.String("bundle", "", "bundle whose schema is read; its default is -state's")
	benchItems = flag.Int("items", 10_000, "items of the generated catalogue")
)

// readBench is a state, and what its requests name.
type readBench struct {
	*features.State
	schema       *ranker.Schema
	users, items []string
	now          int64 // of the first request
	lists        int   // shown so far
}

// BenchmarkRead measures State.Read by source of the state and number of candidates. Users and
// candidates change from request to request. The clock moves on by 5 ms, as at 200 requests/s. In
// the runs "shown", the first 20 candidates are recorded as shown after each request, so that their
// counters change; the figure includes applying this record.
//
//	go test -run '^$' -bench Read ./features
//	go test -run '^$' -bench Read ./features -args -items 1000000
//	go test -run '^$' -bench Read ./features -args -state D/checkpoint -bundle D/bundles/VERSION
func BenchmarkRead(b *testing.B) {
	if *benchState != "" {
		b.Run("state", readStored(b).run)
		return
	}
	b.Run("demo", readDemo(b).run)
	b.Run(fmt.Sprint("generated", *benchItems), readGenerated(b, *benchItems).run)
}

func (r *readBench) run(b *testing.B) {
	for _, n := range []int{24, 100, 300, 1000} {
		if n > len(r.items) {
			continue
		}
		b.Run(fmt.Sprint("candidates", n), func(b *testing.B) { r.measure(b, n, 0) })
	}
	b.Run("candidates100shown", func(b *testing.B) { r.measure(b, 100, 20) })
}

func (r *readBench) measure(b *testing.B, candidates, show int) {
	next := r.requests(candidates)
	shownItems := make([]string, show)
	runtime.GC() // what the preparation has left is not part of a request
	b.ReportAllocs()
	start := processorTime(b)
	for b.Loop() {
		r.rank(b, next(), shownItems)
	}
	b.ReportMetric(float64(processorTime(b)-start)/float64(b.N), "cpu-ns/op")
}

// requests returns a function that gives one request after the other.
func (r *readBench) requests(candidates int) func() *ranker.FeatureQuery {
	queries := make([]ranker.FeatureQuery, 256)
	random := rand.New(rand.NewPCG(1, 1))
	for k := range queries {
		q := &queries[k]
		q.User, q.Schema = r.users[random.IntN(len(r.users))], r.schema
		q.Candidates = make([]ranker.Candidate, candidates)
		chosen := random.Perm(len(r.items))[:candidates]
		var block strings.Builder // a request has its ids in one block of memory
		for _, at := range chosen {
			block.WriteString(r.items[at])
		}
		ids := block.String()
		for i, at := range chosen {
			n := len(r.items[at])
			q.Candidates[i].ID, ids = ids[:n], ids[n:]
		}
	}
	k := -1
	return func() *ranker.FeatureQuery {
		k++
		q := &queries[k%len(queries)]
		r.now += 5
		q.Now = r.now
		return q
	}
}

// rank reads the state for a request, and records the first candidates as shown, as many as there
// is room for in shownItems.
func (r *readBench) rank(b *testing.B, q *ranker.FeatureQuery, shownItems []string) {
	if _, err := r.Read(q); err != nil {
		b.Fatal(err)
	}
	if len(shownItems) == 0 {
		return
	}
	for i := range shownItems {
		shownItems[i] = q.Candidates[i].ID
	}
	r.show(q.User, shownItems)
}

// processorTime returns the processor time of this process so far, which depends less on other
// processes than the elapsed time.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// show applies the record of a list.
func (r *readBench) show(user string, items []string) {
	r.lists++
	r.Apply(&event.Record{
		Seq: r.Seq() + 1, Arrival: r.now,
		Event: ranker.Event{
			Kind: ranker.EventImpression, ID: fmt.Sprint("list", r.lists), UserID: user,
			Time: r.now, Impression: &ranker.Impression{Items: items},
		},
	})
}

// readDemo reads what the demo's events leave.
func readDemo(b *testing.B) *readBench {
	r := &readBench{State: features.New(features.DefaultConfig()), schema: trainedLike(b)}
	for e := range demo.New(demo.Options{Seed: 1}).Events() {
		r.now = e.Time
		r.Apply(&event.Record{Seq: r.Seq() + 1, Arrival: e.Time, Event: e})
	}
	r.nameAll()
	return r
}

// readGenerated reads a catalogue of n items, ten tags and two genres each. 1,000 users were shown
// 20 items ten times and clicked every fifth.
func readGenerated(b *testing.B, n int) *readBench {
	r := &readBench{
		State: features.New(features.DefaultConfig()), schema: trainedLike(b), now: t0,
	}
	random := rand.New(rand.NewPCG(2, 2))
	names := func(prefix string, n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = fmt.Sprint(prefix, i)
		}
		return out
	}
	tags, genres := names("tag ", 5000), names("genre ", 20)
	sample := func(from []string, n int) []string {
		out := make([]string, n)
		for i := range out {
			x := random.Float64()
			out[i] = from[int(x*x*float64(len(from)))]
		}
		return out
	}
	r.items, r.users = names("item-", n), names("user-", 1000)
	apply := func(e ranker.Event) {
		e.ID, e.Time = "e", r.now
		r.Apply(&event.Record{Seq: r.Seq() + 1, Arrival: r.now, Event: e})
	}
	for i, id := range r.items {
		apply(ranker.Event{
			Kind: ranker.EventItem, ItemID: id, Title: &r.items[i], Tags: sample(tags, 10),
			Fields: map[string]ranker.FieldValue{
				"genres": ranker.StringsValue(sample(genres, 2)),
				"price":  ranker.NumberValue(random.Float64()),
			},
		})
	}
	for k := range 10 * len(r.users) {
		r.now += 60_000
		user, list := r.users[k%len(r.users)], sample(r.items, 20)
		r.show(user, list)
		for i := 0; i < len(list); i += 5 {
			apply(did(user, "click", list[i], 0))
		}
	}
	return r
}

// readStored reads a checkpoint.
func readStored(b *testing.B) *readBench {
	f, err := os.Open(*benchState)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	cfg := features.DefaultConfig()
	cfg.Text = ranker.DefaultTextSpec
	state, err := features.ReadCheckpoint(cfg, f)
	if err != nil {
		b.Fatal(err)
	}
	r := &readBench{State: state, schema: trainedLike(b)}
	if *benchModel != "" {
		data, err := os.ReadFile(filepath.Join(*benchModel, "features.yaml"))
		if err != nil {
			b.Fatal(err)
		}
		if r.schema, err = bundle.ParseSchema(data); err != nil {
			b.Fatal(err)
		}
	}
	r.nameAll()
	return r
}

// nameAll names all described items and all users, and sets the clock to the newest interaction.
func (r *readBench) nameAll() {
	for _, it := range r.Items() {
		r.items = append(r.items, it.ID)
	}
	for id := range r.Users() {
		r.users = append(r.users, id)
		state, err := r.Read(&ranker.FeatureQuery{User: id, Schema: r.schema})
		if err == nil && len(state.Recent) > 0 {
			r.now = max(r.now, state.Recent[0].Time)
		}
	}
	slices.Sort(r.users)
}

// trainedLike returns a schema with the state columns of a typical trained bundle.
func trainedLike(b *testing.B) *ranker.Schema {
	var f []ranker.Feature
	item := func(kind, action, half, withinList string) {
		f = append(f, ranker.Feature{
			Kind: kind, Scope: ranker.ScopeItem, Action: action, HalfLife: half,
			WithinList: withinList,
		})
	}
	for _, half := range []string{"all", "1h", "1d", "7d"} {
		item(ranker.KindCount, "click", half, "")
		item(ranker.KindRate, "click", half, "")
		item(ranker.KindCount, "click", half, "zscore")
		item(ranker.KindCount, features.ActionImpression, half, "")
	}
	item(ranker.KindRate, "click", "all", "zscore")
	f = append(f,
		ranker.Feature{Kind: ranker.KindRate, Scope: ranker.ScopeUser, Action: "click"},
		ranker.Feature{Kind: ranker.KindHistory},
		ranker.Feature{Kind: ranker.KindAge},
	)
	for _, field := range []string{"tags", "genres"} {
		f = append(f,
			ranker.Feature{
				Kind: ranker.KindRate, Scope: ranker.ScopeField, Field: field, Action: "click",
			},
			ranker.Feature{
				Kind: ranker.KindRate, Scope: ranker.ScopeUserField, Field: field, Action: "click",
			},
			ranker.Feature{Kind: ranker.KindInteracted, Field: field},
		)
	}
	return schemaOf(b, f...)
}
