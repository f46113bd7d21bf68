package features_test

import (
	"bytes"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"relish/features"
	"relish/features/storetest"
)

// benchThings is the number of items and users of BenchmarkCheckpoint.
var benchThings = flag.Int("things", 20_000, "items and users of BenchmarkCheckpoint")

// checkpointOf returns the checkpoint of a state that is filled with f.
func checkpointOf(b *testing.B, cfg features.Config, f storetest.Filling) []byte {
	b.Helper()
	s := features.New(cfg)
	storetest.Fill(s, f)
	var file bytes.Buffer
	if err := s.WriteCheckpoint(&file); err != nil {
		b.Fatal(err)
	}
	return file.Bytes()
}

// loadedBytes returns the memory that a state takes after a start from its checkpoint.
func loadedBytes(b *testing.B, f storetest.Filling) float64 {
	b.Helper()
	cfg := features.DefaultConfig()
	file := checkpointOf(b, cfg, f)
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // frees what pools keep
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	before := heap()
	s, err := features.ReadCheckpoint(cfg, bytes.NewReader(file))
	if err != nil {
		b.Fatal(err)
	}
	after := heap()
	runtime.KeepAlive(s)
	runtime.KeepAlive(file)
	return after - before
}

// BenchmarkMemory reports what one more item and one more user takes in memory. The items that
// users have acted on were seen by others before, so that what the state keeps of them is not part
// of a user. docs/capacity.md has the figures:
//
//	go test ./features -run - -bench Memory -benchtime 1x
func BenchmarkMemory(b *testing.B) {
	for _, c := range []struct {
		name  string
		users storetest.Filling // those before the others
		more  int
	}{
		{"user of 20 interactions", storetest.Filling{Users: 3000, Clicks: 20}, 10_000},
		{"user of full histories", storetest.Filling{Users: 200, Clicks: 100, Lists: 14}, 500},
	} {
		b.Run(c.name, func(b *testing.B) {
			before := c.users
			before.Items = 10_000
			after := before
			after.Users += c.more
			for b.Loop() {
				more := loadedBytes(b, after) - loadedBytes(b, before)
				b.ReportMetric(more/float64(c.more), "B/user")
			}
		})
	}
	b.Run("item", func(b *testing.B) {
		for b.Loop() {
			b.ReportMetric(loadedBytes(b, storetest.Filling{Items: 50_000})/50_000, "B/item")
		}
	})
}

// BenchmarkCheckpoint reports how fast a state is saved and read, and the processor time for each
// item or user, which does not depend on what else runs. docs/capacity.md has the figures:
//
//	go test ./features -run - -bench Checkpoint -benchtime 5x -args -things 20000
func BenchmarkCheckpoint(b *testing.B) {
	for _, c := range []struct {
		name string
		fill storetest.Filling
	}{
		{"items", storetest.Filling{Items: *benchThings}},
		{"users", storetest.Filling{Items: 100, Users: *benchThings, Clicks: 20}},
		{"both", storetest.Filling{Items: *benchThings / 2, Users: *benchThings / 2, Clicks: 20}},
	} {
		b.Run(c.name, func(b *testing.B) { measureCheckpoint(b, c.fill) })
	}
}

func measureCheckpoint(b *testing.B, f storetest.Filling) {
	cfg := features.DefaultConfig()
	s := features.New(cfg)
	storetest.Fill(s, f)
	var file bytes.Buffer
	if err := s.WriteCheckpoint(&file); err != nil {
		b.Fatal(err)
	}
	items, users, _ := s.Sizes()
	measure := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			records := 0
			start, used := time.Now(), processorTime(b)
			for b.Loop() {
				f()
				records += items + users
			}
			b.ReportMetric(float64(records)/time.Since(start).Seconds(), "records/s")
			b.ReportMetric(float64((processorTime(b)-used).Nanoseconds())/1e3/float64(records),
				"cpu-us/record")
		})
	}
	measure("save", func() {
		save := s.BeginSave()
		var packed []byte
		for more := true; more; {
			packed, more = save.Next(packed)
		}
		save.End()
	})
	measure("read", func() {
		if _, err := features.ReadCheckpoint(cfg, bytes.NewReader(file.Bytes())); err != nil {
			b.Fatal(err)
		}
	})
	b.Logf("%d items, %d users, a checkpoint of %d bytes", items, users, file.Len())
}

// BenchmarkCollections reports the share of the garbage collector in the processor time of a server
// that answers rankings of 100 candidates and records 20 shown items of each. It counts processor
// time and bytes, so that other work on the machine matters little: what one collection takes, what
// one ranking takes and allocates, and so how many rankings there are between two collections, with
// the default GOGC. docs/capacity.md has the figures:
//
//	go test ./features -run - -bench Collections -benchtime 1x -args -things 2000000
func BenchmarkCollections(b *testing.B) {
	half := *benchThings / 2
	filling := storetest.Filling{Items: half, Users: half, Clicks: 20}
	cfg := features.DefaultConfig()
	s, err := features.ReadCheckpoint(cfg, bytes.NewReader(checkpointOf(b, cfg, filling)))
	if err != nil {
		b.Fatal(err)
	}
	r := &readBench{State: s, schema: trainedLike(b), now: t0}
	for i := range half {
		r.items = append(r.items, fmt.Sprintf("item-%08d", i))
		r.users = append(r.users, fmt.Sprintf("user-%08d", i))
	}
	const rankings = 2000
	next, shownItems := r.requests(100), make([]string, 20)
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		percent := debug.SetGCPercent(-1)
		start := processorTime(b)
		for range rankings {
			r.rank(b, next(), shownItems)
		}
		ranking := float64(processorTime(b)-start) / rankings
		debug.SetGCPercent(percent)
		runtime.ReadMemStats(&after)
		allocated := float64(after.TotalAlloc-before.TotalAlloc) / rankings

		const collections = 3
		start = processorTime(b)
		for range collections {
			runtime.GC()
		}
		collection := float64(processorTime(b)-start) / collections
		runtime.ReadMemStats(&after)
		between := float64(after.HeapAlloc) / allocated // rankings until the heap has doubled
		b.ReportMetric(float64(after.HeapAlloc), "B-heap")
		b.ReportMetric(float64(after.HeapObjects), "objects")
		b.ReportMetric(collection/1e6, "cpu-ms/collection")
		b.ReportMetric(ranking/1e3, "cpu-us/ranking")
		b.ReportMetric(allocated, "B/ranking")
		b.ReportMetric(100*collection/(collection+between*ranking), "%-collector")
	}
}
