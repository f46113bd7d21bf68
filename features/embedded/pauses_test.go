package embedded_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"relish/features"
	"relish/features/embedded"
	"relish/features/storetest"
	"relish/ranker"
)

var (
	pauseThings = flag.Int("pauses.things", 10_000, "items, and users, of BenchmarkPauses")
	pausePhase  = flag.Duration("pauses.phase", 2*time.Second, "length of a phase")
	pausePhases = flag.Int("pauses.phases", 2, "phases with, and without checkpoints")
)

// BenchmarkPauses measures how long rankings wait while checkpoints are written: 200 reads of 100
// candidates a second, beside 50 events a second, in turns without checkpoints and with one after
// the other. docs/performance.md has the figures:
//
//	go test ./features/embedded -run '^$' -bench Pauses -benchtime 1x -pauses.things 1000000 \
//		-pauses.phase 20s -pauses.phases 5
func BenchmarkPauses(b *testing.B) {
	cfg, dir := features.DefaultConfig(), filepath.Join(b.TempDir(), "d")
	s := open(b, dir, cfg, embedded.Options{})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	fillBase(b, dir, cfg)
	s = open(b, dir, cfg, embedded.Options{})
	schema := storetest.AllCountersSchema(b)
	for b.Loop() {
		var waits [2][]time.Duration
		saves := 0
		for phase := range 2 * *pausePhases {
			stop, saved := make(chan struct{}), make(chan int)
			go func() { saved <- saveUntil(b, s, phase%2 == 1, stop) }()
			waits[phase%2] = append(waits[phase%2], readAndWrite(b, s, schema)...)
			close(stop)
			saves += <-saved
		}
		b.ReportMetric(float64(saves), "checkpoints")
		for k, name := range []string{"without", "with"} {
			slices.Sort(waits[k])
			for _, q := range []struct {
				name  string
				share float64
			}{{"p50", .5}, {"p99", .99}, {"max", 1}} {
				at := min(len(waits[k])-1, int(q.share*float64(len(waits[k]))))
				b.ReportMetric(float64(waits[k][at].Microseconds())/1000, "ms-"+q.name+"-"+name)
			}
		}
	}
}

// fillBase makes a state of -pauses.things items and users the base of the store in dir.
func fillBase(b *testing.B, dir string, cfg features.Config) {
	b.Helper()
	state := features.New(cfg)
	storetest.Fill(state, storetest.Filling{Items: *pauseThings, Users: *pauseThings, Clicks: 3})
	base, err := state.Dump("").State("")
	if err != nil {
		b.Fatal(err)
	}
	if err := embedded.SetBase(dir, base); err != nil {
		b.Fatal(err)
	}
}

// saveUntil writes checkpoints until stop is closed, none if on is false, and returns their number.
func saveUntil(b *testing.B, s *embedded.Store, on bool, stop chan struct{}) (n int) {
	for {
		select {
		case <-stop:
			return n
		default:
		}
		if !on {
			<-stop
			return 0
		}
		if err := s.Save(); err != nil {
			b.Error(err)
			return n
		}
		n++
	}
}

// readAndWrite reads and writes at fixed times, and returns how long each read took from its time
// on.
func readAndWrite(b *testing.B, s *embedded.Store, schema *ranker.Schema) (waits []time.Duration) {
	var mu sync.Mutex
	var running sync.WaitGroup
	pick := func(name string) string {
		return fmt.Sprintf("%s-%08d", name, rand.IntN(*pauseThings))
	}
	start := time.Now()
	for n := 0; time.Since(start) < *pausePhase; n++ {
		due := start.Add(time.Duration(n) * time.Second / 200)
		time.Sleep(time.Until(due))
		if n%4 == 0 {
			running.Go(func() {
				e := click(fmt.Sprint(start.UnixNano(), n), pick("user"), pick("item"))
				if _, err := s.Append(b.Context(), []ranker.Event{e}); err != nil {
					b.Error(err)
				}
			})
		}
		running.Go(func() {
			q := &ranker.FeatureQuery{
				User: pick("user"), Now: start.UnixMilli(), Schema: schema,
			}
			for range 100 {
				q.Candidates = append(q.Candidates, ranker.Candidate{ID: pick("item")})
			}
			if _, err := s.Read(b.Context(), q); err != nil {
				b.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, time.Since(due))
		})
	}
	running.Wait()
	return waits
}
