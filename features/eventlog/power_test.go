package eventlog

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"relish/features/event"
	"relish/internal/durable/durabletest"
	"relish/ranker"
)

// faultyLog is a log on a disk that fails and loses power. A client repeats an event after an
// error. The log answers "duplicate" if it kept the event, and that is an acknowledgement too.
type faultyLog struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	disk   *durabletest.Disk
	root   string
	log    *Log
	known  map[string]bool // by id: what the log has, or is about to write
	acked  map[string]bool
	unsure []string // were answered with an error
	seqs   map[uint64]string
}

func newFaultyLog(t *testing.T, seed uint64) *faultyLog {
	root := t.TempDir()
	f := &faultyLog{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), disk: durabletest.New(root),
		root: root, acked: map[string]bool{}, seqs: map[uint64]string{},
	}
	f.open()
	return f
}

func (f *faultyLog) dir() string { return filepath.Join(f.root, "log") }

func (f *faultyLog) open() {
	f.known = map[string]bool{}
	got, damage := ids(f.t, f.dir())
	for _, id := range got {
		f.known[id] = true
	}
	if damage != nil {
		f.t.Fatalf("seed %d: %v", f.seed, damage)
	}
	var err error
	f.log, err = Open(f.dir(), Options{
		FS: f.disk, SegmentBytes: 3000,
		Admit: func(e *ranker.Event, _ int64) ranker.EventOutcome {
			dup := f.known[e.ID]
			f.known[e.ID] = true
			return ranker.EventOutcome{Duplicate: dup}
		},
		Abort: func(recs []event.Record) {
			for _, r := range recs {
				delete(f.known, r.Event.ID)
			}
		},
		Commit: func(recs []event.Record) {
			for _, r := range recs {
				if other := f.seqs[r.Seq]; other != "" {
					f.t.Errorf("seed %d: %s and %s have sequence %d", f.seed, other,
						r.Event.ID, r.Seq)
				}
				f.seqs[r.Seq] = r.Event.ID
			}
		},
	})
	if err != nil {
		f.t.Fatalf("seed %d: %v", f.seed, err)
	}
}

// append appends a batch of new and repeated events, on a disk that may fail.
func (f *faultyLog) append(round int) {
	batch := map[string]bool{}
	for k := range 1 + f.rng.IntN(8) {
		id := fmt.Sprintf("%d-%d-%d", f.seed, round, k)
		if len(f.unsure) > 0 && f.rng.IntN(3) == 0 {
			id = f.unsure[f.rng.IntN(len(f.unsure))]
		}
		batch[id] = true
	}
	var events []ranker.Event
	for id := range batch {
		e := click(id)
		e.ItemID = strings.Repeat("long", f.rng.IntN(60)) // records of several sectors
		events = append(events, e)
	}
	var faults durabletest.Faults
	if f.rng.IntN(8) == 0 {
		faults.Write = syscall.EIO
	}
	if f.rng.IntN(4) == 0 {
		faults.Sync = syscall.EIO
	}
	if f.rng.IntN(2) == 0 {
		faults.Truncate = syscall.EIO
	}
	f.disk.SetFaults(faults)
	_, err := f.log.Append(f.t.Context(), events)
	for id := range batch {
		if err != nil {
			f.unsure = append(f.unsure, id)
		} else {
			f.acked[id] = true
		}
	}
	f.disk.SetFaults(durabletest.Faults{})
}

func (f *faultyLog) powerLoss() {
	_ = f.log.Close()
	root := f.t.TempDir()
	after, err := f.disk.PowerLoss(f.rng, root)
	if err != nil {
		f.t.Fatal(err)
	}
	f.disk, f.root = after, root
	f.open()
	// What nobody was told of may be lost with its sequences.
	for seq := range f.seqs {
		if seq > f.log.LastSeq() {
			delete(f.seqs, seq)
		}
	}
}

// check fails unless each acknowledged event is in the log exactly once.
func (f *faultyLog) check() {
	got, damage := ids(f.t, f.dir())
	count := map[string]int{}
	for _, id := range got {
		count[id]++
	}
	for id := range f.acked {
		if count[id] != 1 {
			f.t.Fatalf("seed %d: %s was acknowledged and is there %d times, damage %v", f.seed, id,
				count[id], damage)
		}
	}
}

// After faults, restarts and power losses in any order, each acknowledged event is in the log
// exactly once, and what a power loss left of the rest is not reported as damage.
func TestAnyFault(t *testing.T) {
	for seed := range uint64(60) {
		f := newFaultyLog(t, seed)
		for round := range 40 {
			what := f.rng.IntN(6)
			if what == 1 {
				f.disk.StopAfter(f.rng.IntN(16)) // within this append or the next ones
			}
			f.append(round)
			switch what {
			case 0:
				_ = f.log.Close()
				f.open()
			case 1:
				f.append(round)
				f.powerLoss()
			}
		}
		f.powerLoss()
		_ = f.log.Close()
		f.check()
	}
}
