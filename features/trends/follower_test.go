package trends_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"relish/features"
	"relish/features/embedded"
	"relish/features/ingest"
	"relish/features/trends"
	"relish/ranker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// folder is a data folder with a store whose log a follower counts.
type folder struct {
	t        *testing.T
	dir      string
	fields   atomic.Pointer[[]string]
	clock    func() time.Time
	segment  int64
	store    *embedded.Store
	follower *trends.Follower
	stop     context.CancelFunc
	running  sync.WaitGroup
	failure  error // the last one that Run reported
	n        int   // of events
}

func newFolder(t *testing.T, fields ...string) *folder {
	f := &folder{t: t, dir: t.TempDir(), clock: func() time.Time { return start }}
	f.fields.Store(&fields)
	t.Cleanup(func() {
		if f.store != nil {
			f.close()
		}
	})
	return f
}

// open opens the store, and runs the follower if run is true.
func (f *folder) open(observe, run bool) {
	f.t.Helper()
	cfg := features.DefaultConfig()
	f.follower = trends.NewFollower(trends.FollowerOptions{
		Dir: f.dir, Actions: cfg.Actions,
		Fields: func() ([]string, error) { return *f.fields.Load(), nil },
	})
	opt := ingest.Options{Clock: f.clock, SegmentBytes: f.segment}
	if observe {
		opt.OnCommit = f.follower.Observe
	}
	store, err := embedded.Open(f.dir, cfg, embedded.Options{Ingest: opt})
	if err != nil {
		f.t.Fatal(err)
	}
	f.store = store
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	if run {
		f.running.Go(func() {
			f.follower.Run(ctx, store, func(err error) { f.failure = errors.Join(f.failure, err) })
		})
	}
}

// close ends the follower, which writes its file, and then the store.
func (f *folder) close() {
	f.t.Helper()
	f.stop()
	f.running.Wait()
	if err := errors.Join(f.failure, f.store.Close()); err != nil {
		f.t.Error(err)
	}
	f.store = nil
}

func (f *folder) add(events ...ranker.Event) {
	f.t.Helper()
	for i := range events {
		f.n++
		events[i].ID = fmt.Sprint("e", f.n)
	}
	out, err := f.store.Append(f.t.Context(), events)
	for _, o := range out {
		if o.Err != nil || o.Duplicate {
			f.t.Fatal(o)
		}
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// want waits until everything is counted, and compares the counts of all time with the wanted ones.
func (f *folder) want(field, value string, count, total int) {
	f.t.Helper()
	var h *trends.Hours
	for range 10 {
		var err error
		behind := uint64(0)
		f.follower.Read(func(c *trends.Counts, lag uint64) {
			h, err = c.Hours(field, "items", value, start)
			behind = lag
		})
		if err == nil && behind == 0 {
			break
		}
		time.Sleep(time.Second) // of the bubble
		h = nil
	}
	if h == nil {
		f.t.Fatalf("%s is not counted", field)
	}
	last := trends.HoursKept - 1
	if h.Counts[last] != count || h.Totals[last] != total {
		f.t.Errorf("%s: %d of %d, want %d of %d", value, h.Counts[last], h.Totals[last], count,
			total)
	}
}

func neutral(i int) ranker.Event {
	return text(fmt.Sprint("item", i), fmt.Sprint("text ", i), values("sentiment", "neutral"))
}

// Each record counts once, whether the follower got it, has to read it from the log, or has it in
// its file, and whether or not the process ended properly.
func TestFollowerCountsEachRecordOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFolder(t, "sentiment")
		f.open(true, false)
		f.add(neutral(1)) // before Run
		f.stop()
		f.close()
		f.open(true, true)
		f.want("sentiment", "neutral", 1, 1)
		f.add(neutral(2), neutral(3))
		f.want("sentiment", "neutral", 3, 3)
		f.close() // writes the file
		f.open(false, true)
		f.add(neutral(4)) // which nobody observes
		f.want("sentiment", "neutral", 4, 4)
		var many []ranker.Event
		for i := range 3000 { // more than may wait
			many = append(many, neutral(10+i))
		}
		f.close()
		old, err := os.ReadFile(trends.Path(f.dir))
		if err != nil {
			t.Fatal(err)
		}
		f.open(true, true)
		f.add(many...)
		f.add(neutral(5))
		f.want("sentiment", "neutral", 3005, 3005)
		f.close()
		if err := os.WriteFile(trends.Path(f.dir), old, 0o600); err != nil { // as after kill -9
			t.Fatal(err)
		}
		f.open(true, true)
		f.want("sentiment", "neutral", 3005, 3005)
	})
}

// Without a usable file the log is counted again.
func TestFollowerWithoutItsFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFolder(t, "sentiment")
		f.open(true, true)
		f.add(neutral(1), neutral(2))
		f.want("sentiment", "neutral", 2, 2)
		f.close()
		intact, err := os.ReadFile(trends.Path(f.dir))
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(intact); at += 17 {
			damaged := slices.Clone(intact)
			damaged[at] ^= 0x10
			f.check(damaged)
		}
		f.check(intact[:len(intact)/2])
		f.check(nil)
		other := newFolder(t, "sentiment")
		other.open(true, true)
		other.add(neutral(1))
		other.want("sentiment", "neutral", 1, 1)
		other.close()
		foreign, err := os.ReadFile(trends.Path(other.dir))
		if err != nil {
			t.Fatal(err)
		}
		f.check(foreign)
	})
}

// check opens the folder with this file of trends.
func (f *folder) check(file []byte) {
	f.t.Helper()
	if err := os.WriteFile(trends.Path(f.dir), file, 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.open(true, true)
	f.want("sentiment", "neutral", 2, 2)
	f.close()
}

// A new field counts in the whole log. Once retention has dropped a part of it, the other fields
// keep their counts.
func TestFollowerWithOtherFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFolder(t)
		f.segment = 1 // each start begins a segment
		f.open(true, true)
		f.add(text("a", "x", values("sentiment", "neutral", "topic", "tax")))
		time.Sleep(2 * time.Second)
		if _, err := os.Stat(trends.Path(f.dir)); err == nil {
			t.Error("a file without counts was written")
		}
		f.fields.Store(&[]string{"sentiment"}) // while it runs
		f.want("sentiment", "neutral", 1, 1)
		f.fields.Store(&[]string{"topic", "sentiment"})
		f.want("topic", "tax", 1, 1)
		f.want("sentiment", "neutral", 1, 1)
		f.close()
		logs, err := filepath.Glob(filepath.Join(ingest.LogDir(f.dir), "*.rlog"))
		if err != nil || len(logs) == 0 {
			t.Fatal(logs, err)
		}
		f.open(true, true)
		f.add(neutral(2))
		f.close()
		if err := os.Remove(logs[0]); err != nil { // as retention does
			t.Fatal(err)
		}
		f.fields.Store(&[]string{"sentiment", "status"})
		f.open(true, true)
		f.add(text("b", "y", values("status", "new")))
		f.want("sentiment", "neutral", 2, 2)
		f.want("status", "new", 1, 1)
		f.add(label("a", "negative")) // a's text is still known
		f.want("sentiment", "negative", 1, 2)
	})
}
