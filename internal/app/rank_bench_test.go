package app

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/internal/config"
	"relish/internal/demo"
	"relish/ranker"
	"relish/ranker/scorer"
)

var benchData = flag.String("bench-data", "",
	"data folder whose active bundle BenchmarkRank ranks with; empty: a simulated world, the prior")

// TestMain lets the test binary be the child process that tries a text encoder.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "probe-encoder" {
		encoder := EncoderOptions{Assets: os.Args[3]}
		if err := encoder.ProbeEncoderChild(context.Background(), os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// BenchmarkRank ranks from the store to the answer, without HTTP and without a record.
//
// same: the user has done nothing since their last ranking. new: the user has done something since.
// clients=4: four rankings at a time.
func BenchmarkRank(b *testing.B) {
	data := *benchData
	if data == "" {
		data = filepath.Join(b.TempDir(), "data")
		fillFolder(b, data, demo.Options{Seed: 1})
	}
	store, pipeline := openRanking(b, data)
	users, items := population(b, data)
	for _, n := range []int{24, 100, 300, 1000} {
		requests := benchRequests(users, items, n)
		rank := func(b *testing.B, i int) {
			if _, err := pipeline.Rank(b.Context(), requests[i%len(requests)]); err != nil {
				b.Fatal(err)
			}
		}
		for _, state := range []string{"same", "new"} {
			store.changes = state == "new"
			b.Run(fmt.Sprintf("candidates=%d/%s", n, state), func(b *testing.B) {
				b.ReportAllocs()
				before := processorTime(b)
				for i := 0; b.Loop(); i++ {
					rank(b, i)
				}
				b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
			})
			b.Run(fmt.Sprintf("candidates=%d/%s/clients=4", n, state), func(b *testing.B) {
				var next atomic.Int64
				b.SetParallelism(2)
				b.ReportAllocs()
				before := processorTime(b)
				defer func() {
					b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
				}()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						rank(b, int(next.Add(1)))
					}
				})
			})
		}
	}
}

// processorTime returns what the process has used so far. On a busy machine it says more than the
// elapsed time.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// openRanking opens the data folder's store and a pipeline that ranks with its active bundle.
func openRanking(b *testing.B, data string) (*changingStore, *ranker.Pipeline) {
	b.Helper()
	ctx, log := context.WithoutCancel(b.Context()), slog.New(slog.DiscardHandler)
	encoder, cfg := EncoderOptions{NoText: *benchData == ""}, config.Default()
	engine, err := OpenEngine(ctx, EngineOptions{
		Store: StoreOptions{Data: data}, Encoder: encoder, Config: cfg, Log: log,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = engine.Close(ctx) })
	var vectors *finetunedVectors
	if engine.encoder != nil {
		if vectors, err = encoder.openFinetuned(data, engine.encoder, log); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { vectors.close(ctx) })
	}
	model, _, err := loadModel(
		ctx, BundleFolder("", data), "", engine.encoder, vectors, cfg)
	if err != nil {
		b.Fatal(err)
	}
	store := &changingStore{Store: engine.Store}
	pipeline, err := ranker.New(ranker.Options{
		Features: store, Vectors: engine.rankerVectors(), Models: scorer.SingleModel(model),
	})
	if err != nil {
		b.Fatal(err)
	}
	return store, pipeline
}

// changingStore returns another history at each read of a user, if changes is set.
type changingStore struct {
	Store
	changes bool
	reads   atomic.Int64
}

// Read implements ranker.StateReader.
func (s *changingStore) Read(
	ctx context.Context, q *ranker.FeatureQuery,
) (*ranker.RequestState, error) {
	state, err := s.Store.Read(ctx, q)
	if err == nil {
		s.change(state)
	}
	return state, err
}

// ReadNow implements ranker.MemoryReader.
func (s *changingStore) ReadNow(
	q *ranker.FeatureQuery,
) (state *ranker.RequestState, ok bool, err error) {
	if memory, is := s.Store.(ranker.MemoryReader); is {
		if state, ok, err = memory.ReadNow(q); ok && err == nil {
			s.change(state)
		}
	}
	return state, ok, err
}

// change makes the oldest interaction newer or older, by turns.
func (s *changingStore) change(state *ranker.RequestState) {
	if n := len(state.Recent); s.changes && n > 0 {
		state.Recent[n-1].Time -= s.reads.Add(1)
	}
}

// population returns the users with interactions and the items of an event log.
func population(b *testing.B, data string) (users, items []string) {
	b.Helper()
	seen := map[string]bool{}
	add := func(list []string, id string) []string {
		if id == "" || seen[id] {
			return list
		}
		seen[id] = true
		return append(list, id)
	}
	for record, err := range eventlog.Read(ingest.LogDir(data), 1) {
		if err != nil {
			b.Fatal(err)
		}
		switch e := &record.Event; e.Kind {
		case ranker.EventItem:
			items = add(items, e.ItemID)
		case ranker.EventInteraction:
			users = add(users, e.UserID)
		}
	}
	return users, items
}

// benchRequests returns 100 rankings of n random items for random users.
func benchRequests(users, items []string, n int) []*ranker.Request {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	out := make([]*ranker.Request, 100)
	for i := range out {
		out[i] = &ranker.Request{
			ID: fmt.Sprint("r", i), User: users[random.IntN(len(users))], Deadline: time.Minute,
		}
		for _, k := range random.Perm(len(items))[:min(n, len(items))] {
			out[i].Candidates = append(out[i].Candidates, ranker.Candidate{ID: items[k]})
		}
	}
	return out
}
