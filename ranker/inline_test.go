package ranker_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relish/ranker"
)

// goroutine identifies the calling goroutine.
func goroutine() string {
	text := make([]byte, 64)
	fields := bytes.Fields(text[:runtime.Stack(text, false)])
	return string(fields[1])
}

// memoryReader is a store in memory.
type memoryReader struct {
	readFunc
	readNow func(*ranker.FeatureQuery) (*ranker.RequestState, bool, error)
}

func (m memoryReader) ReadNow(q *ranker.FeatureQuery) (*ranker.RequestState, bool, error) {
	return m.readNow(q)
}

// memorySignal and memoryScorer work in memory if inMemory is set.
type memorySignal struct {
	textSignal
	inMemory bool
}

func (s memorySignal) InMemory() bool { return s.inMemory }

type memoryScorer struct{ sum }

func (memoryScorer) InMemory() bool { return true }

// What works in memory runs in the request's own goroutine, if the deadline leaves enough time.
// Everything else runs in a goroutine that the request can leave behind.
func TestInMemoryRunsInTheRequestsGoroutine(t *testing.T) {
	cases := map[string]struct {
		change                 func(*world, *memoryReader)
		deadline               time.Duration
		ownReads, ownSignals   bool
		degraded, wantErrorHas string
	}{
		"all in memory":  {ownReads: true, ownSignals: true},
		"short deadline": {deadline: 100 * time.Microsecond},
		"read would wait": {
			ownSignals: true, change: func(_ *world, m *memoryReader) { m.readNow = waits },
		},
		"signal waits": {ownReads: true, change: func(w *world, _ *memoryReader) {
			s := w.models.main.Signals[0].(memorySignal)
			s.inMemory = false
			w.models.main.Signals = []ranker.Signal{s}
		}},
		"scorer is unknown": {ownReads: true, change: func(w *world, _ *memoryReader) {
			w.models.main.Scorer = sum{}
		}},
		"read fails": {
			ownSignals: true, degraded: ranker.FeaturesMissing, wantErrorHas: "broken",
			change: func(_ *world, m *memoryReader) {
				m.readNow = func(*ranker.FeatureQuery) (*ranker.RequestState, bool, error) {
					return nil, true, errBroken
				}
			},
		},
		"read panics": {
			ownSignals: true, degraded: ranker.FeaturesMissing, wantErrorHas: "panic with a string",
			change: func(_ *world, m *memoryReader) {
				m.readNow = func(*ranker.FeatureQuery) (*ranker.RequestState, bool, error) {
					panic("no")
				}
			},
		},
		"scorer panics": {
			ownReads: true, ownSignals: true, degraded: ranker.InputOrder,
			wantErrorHas: "panic with a string",
			change: func(w *world, _ *memoryReader) {
				w.models.main.Scorer = memoryScorer{sum{before: func() error { panic("no") }}}
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 10)
				var mu sync.Mutex
				var reads, signals []string // goroutines
				w.opt.Features = memoryReader{
					func(
						ctx context.Context, q *ranker.FeatureQuery,
					) (*ranker.RequestState, error) {
						mu.Lock()
						defer mu.Unlock()
						reads = append(reads, goroutine())
						return w.read(ctx, q)
					},
					func(q *ranker.FeatureQuery) (*ranker.RequestState, bool, error) {
						reads = append(reads, goroutine())
						state, err := w.read(t.Context(), q)
						return state, true, err
					},
				}
				w.models.main.Signals = []ranker.Signal{memorySignal{textSignal{
					func(context.Context) error {
						mu.Lock()
						defer mu.Unlock()
						signals = append(signals, goroutine())
						return nil
					},
				}, true}}
				w.models.main.Scorer = memoryScorer{}
				reader := w.opt.Features.(memoryReader)
				if c.change != nil {
					c.change(w, &reader)
				}
				w.opt.Features = reader
				req := w.request(10)
				if c.deadline > 0 {
					req.Deadline = c.deadline
				}
				resp := w.rank(t, req)
				checkComplete(t, req, resp)
				synctest.Wait()
				own := goroutine()
				if c.degraded == "" && len(reads) == 0 ||
					slices.Contains(reads, own) != c.ownReads {
					t.Errorf("reads in goroutines %v, the request's is %s", reads, own)
				}
				if len(signals) == 0 || slices.Contains(signals, own) != c.ownSignals {
					t.Errorf("signals in goroutines %v, the request's is %s", signals, own)
				}
				if c.degraded != "" && !slices.Contains(resp.Degraded, c.degraded) {
					t.Errorf("degraded %v, want %s", resp.Degraded, c.degraded)
				}
				text := ""
				if err := errors.Join(w.errs...); err != nil {
					text = err.Error()
				}
				if c.wantErrorHas == "" && text != "" || !strings.Contains(text, c.wantErrorHas) {
					t.Errorf("errors %q, want %q", text, c.wantErrorHas)
				}
			})
		})
	}
}

// A ranking in memory makes no goroutine, channel or timer for its stages.
func TestInMemoryAllocations(t *testing.T) {
	allocations := func(inMemory bool) float64 {
		w := newWorld(t, 50)
		read := func(q *ranker.FeatureQuery) (*ranker.RequestState, bool, error) {
			if !inMemory {
				return nil, false, nil
			}
			state, err := w.read(t.Context(), q)
			return state, true, err
		}
		w.opt.Features = memoryReader{readFunc(w.read), read}
		w.opt.Vectors, w.opt.Recorder, w.opt.OnRanked = nil, nil, nil
		w.models.main.Signals = []ranker.Signal{memorySignal{inMemory: inMemory}}
		w.models.main.Scorer = memoryScorer{}
		p, req := w.pipeline(t), w.request(50)
		return testing.AllocsPerRun(20, func() {
			if _, err := p.Rank(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		})
	}
	// A goroutine, its result and its deadline cost more than ten allocations for each stage.
	own, other := allocations(true), allocations(false)
	if own > other-20 {
		t.Errorf("%v allocations in memory, %v with other goroutines", own, other)
	}
}

// waits is a read that would have to wait.
func waits(*ranker.FeatureQuery) (*ranker.RequestState, bool, error) { return nil, false, nil }
