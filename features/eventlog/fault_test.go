package eventlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"relish/features/event"
	"relish/ranker"
)

// After one flipped bit in the newest segment, a restart and an append, every acknowledged record
// is read or reported as damage. Only the last record may be cut off as incomplete. Nothing is
// overwritten.
func TestFlippedNewestSegment(t *testing.T) {
	src := t.TempDir()
	l := mustOpen(t, src, Options{})
	mustAppend(t, l, clicks("k", 4)...)
	l.Close()
	path := newest(t, src)
	data, _ := os.ReadFile(path)
	for i := range data {
		dir := t.TempDir()
		bad := append([]byte(nil), data...)
		bad[i] ^= 0x40
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), bad, 0o644); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir, Options{})
		if err != nil {
			if !strings.Contains(err.Error(), "newer relish") {
				t.Fatalf("byte %d: %v", i, err)
			}
			continue
		}
		cut := l.Stats().CutBytes
		mustAppend(t, l, click("after"))
		l.Close()
		got, damage := ids(t, dir)
		sound := map[string]bool{}
		for _, id := range got {
			sound[id] = true
		}
		for k := range 3 {
			if !sound[fmt.Sprint("k", k)] && damage == nil {
				t.Fatalf("byte %d: k%d is missing without a report, read %v", i, k, got)
			}
		}
		if !sound["k3"] && damage == nil && cut == 0 {
			t.Fatalf("byte %d: the last record is missing without a report, read %v", i, got)
		}
		if !sound["after"] {
			t.Fatalf("byte %d: the new record is missing, read %v", i, got)
		}
		if i < headerSize && len(got) != 5 {
			t.Fatalf("byte %d: a damaged header loses records: %v", i, got)
		}
	}
}

// Rewrite leaves the segment alone that later appends opened.
func TestRewriteDuringAppends(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	mustAppend(t, l, clicks("old", 4)...)
	l.rewrite.Lock() // holds the rewrite between its seal and its work
	done := make(chan error)
	go func() {
		_, err := l.Rewrite(context.Background(), func(*event.Record) bool { return true })
		done <- err
	}()
	kept := 0
	for i := 0; l.Stats().Segments < 2; i++ {
		mustAppend(t, l, click(fmt.Sprint("new", i)))
		kept = i
	}
	l.rewrite.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, click("last"))
	got, damage := ids(t, dir)
	if want := fmt.Sprintf("[new%d last]", kept); fmt.Sprint(got) != want || damage != nil {
		t.Errorf("read %v, damage %v; want %s", got, damage, want)
	}
}

// Rewrite names a damaged segment in its error and rewrites the other segments.
func TestRewriteReportsDamage(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		l := mustOpen(t, dir, Options{})
		mustAppend(t, l, clicks(fmt.Sprintf("s%d-", i), 2)...)
		l.Close()
	}
	segs, _ := segments(dir)
	data, _ := os.ReadFile(segs[1].path)
	data[headerSize+30] ^= 1
	os.WriteFile(segs[1].path, data, 0o644)
	l := mustOpen(t, dir, Options{})
	removed, err := l.Rewrite(t.Context(), func(*event.Record) bool { return true })
	var d *Damage
	if removed != 4 || !errors.As(err, &d) || d.File != filepath.Base(segs[1].path) {
		t.Errorf("removed %d, %v", removed, err)
	}
}

// A full log accepts events again after retention has dropped segments or the limit was raised.
func TestFullLogRecovers(t *testing.T) {
	dir := t.TempDir()
	now := time.UnixMilli(1e12)
	opt := Options{
		SegmentBytes: 600,
		MaxBytes:     3000,
		RetainAge:    time.Hour,
		Clock:        func() time.Time { return now },
	}
	l := mustOpen(t, dir, opt)
	fill := func() (n int) {
		for {
			events := []ranker.Event{click(fmt.Sprint("e", n))}
			if _, err := l.Append(t.Context(), events); err != nil {
				if !errors.Is(err, ranker.ErrLogFull) {
					t.Fatal(err)
				}
				return n
			}
			n++
		}
	}
	fill()
	segs := l.Stats().Segments
	fill()
	if s := l.Stats(); s.Segments != segs || s.Failures != 0 {
		t.Errorf("rejected appends left %+v; they must not touch the disk", s)
	}
	now = now.Add(48 * time.Hour)
	if fill() == 0 {
		t.Error("the log stays full although retention may drop all of it")
	}
	l.Close()
	opt.MaxBytes = 0
	l = mustOpen(t, dir, opt)
	mustAppend(t, l, click("room"))
	if got, damage := ids(t, dir); got[len(got)-1] != "room" || damage != nil {
		t.Errorf("read %v, damage %v", got, damage)
	}
}

// After a restart with a clock that went back, arrivals continue from the last one, also after an
// empty segment.
func TestArrivalAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	now := time.UnixMilli(2_000_000)
	opt := Options{Clock: func() time.Time { return now }}
	l := mustOpen(t, dir, opt)
	mustAppend(t, l, click("a"))
	l.Close()
	h := header{replica: l.replica, first: 2, created: 2_000_000}
	if err := os.WriteFile(segmentPath(dir, 2), h.appendTo(nil), 0o644); err != nil {
		t.Fatal(err)
	}
	now = time.UnixMilli(1_000_000)
	l = mustOpen(t, dir, opt)
	mustAppend(t, l, click("b"))
	for rec, err := range Read(dir, 1) {
		if err != nil || rec.Arrival != 2_000_000 {
			t.Errorf("record %d arrived at %d, %v", rec.Seq, rec.Arrival, err)
		}
	}
}

// Open removes the leftovers of an interrupted rewrite, because they may hold erased records.
func TestLeftoversAreRemoved(t *testing.T) {
	dir := t.TempDir()
	left := segmentPath(dir, 1) + ".new"
	if err := os.WriteFile(left, []byte("secret-user"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir, Options{})
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("the leftover is still there: %v", err)
	}
}

func TestRenamedSegment(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	mustAppend(t, l, clicks("k", 2)...)
	l.Close()
	os.Rename(newest(t, dir), segmentPath(dir, 7))
	if _, damage := ids(t, dir); len(damage) == 0 || !strings.Contains(damage[0].Error(), "name") {
		t.Errorf("damage %v", damage)
	}
	if _, err := Open(dir, Options{}); err == nil ||
		!strings.Contains(err.Error(), "move it away") {
		t.Errorf("got %v; an append would replace the segment", err)
	}
}

// disk is a file system that loses what was not synced. Live files hold what a process sees (the
// page cache), and disk holds what remains after a power loss. A failed sync drops the dirty bytes,
// as Linux may do: a second sync would succeed without them.
type disk struct {
	mu                                sync.Mutex
	live                              map[string]*node // by name, as the process sees the folder
	firm                              map[string]*node // by name, as of the last syncDir
	failWrite, failSync, failTruncate bool
}

type node struct {
	firm  []byte
	dirty []func([]byte) []byte // changes since the last sync, in order
}

type diskFile struct {
	f   *os.File
	d   *disk
	n   *node
	off int64
}

func newDisk() *disk { return &disk{live: map[string]*node{}, firm: map[string]*node{}} }

func (d *disk) create(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := os.Create(path)
	n := &node{}
	d.live[filepath.Base(path)] = n
	return &diskFile{f: f, d: d, n: n}, err
}

func (d *disk) open(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	return &diskFile{f: f, d: d, n: d.live[filepath.Base(path)]}, err
}

func (d *disk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live[filepath.Base(to)] = d.live[filepath.Base(from)]
	delete(d.live, filepath.Base(from))
	return os.Rename(from, to)
}

func (d *disk) syncDir(string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.firm = map[string]*node{}
	for name, n := range d.live {
		d.firm[name] = n
	}
	return nil
}

func (f *diskFile) Write(p []byte) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	var fail error
	if f.d.failWrite {
		p, fail = p[:len(p)/2], syscall.EIO
	}
	at, data := f.off, append([]byte(nil), p...)
	f.n.dirty = append(f.n.dirty, func(b []byte) []byte {
		for int64(len(b)) < at+int64(len(data)) {
			b = append(b, 0)
		}
		copy(b[at:], data)
		return b
	})
	f.off += int64(len(p))
	n, err := f.f.Write(p)
	return n, errors.Join(err, fail)
}

func (f *diskFile) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.failTruncate {
		return syscall.EIO
	}
	f.n.dirty = append(f.n.dirty, func(b []byte) []byte { return b[:min(int64(len(b)), size)] })
	return f.f.Truncate(size)
}

func (f *diskFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	dirty := f.n.dirty
	f.n.dirty = nil
	if f.d.failSync {
		return syscall.EIO
	}
	for _, change := range dirty {
		f.n.firm = change(f.n.firm)
	}
	return nil
}

func (f *diskFile) Close() error { return f.f.Close() }

// powerLoss writes into dir what remains: the synced bytes, and the later changes up to a random
// one.
func (d *disk) powerLoss(t *testing.T, rng *rand.Rand, dir string) *disk {
	t.Helper()
	after := newDisk()
	for name, n := range d.firm {
		data := append([]byte(nil), n.firm...)
		for _, change := range n.dirty[:rng.IntN(len(n.dirty)+1)] {
			data = change(data)
		}
		after.live[name] = &node{firm: data}
		after.firm[name] = after.live[name]
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return after
}

// After faults, restarts and power losses in any order, each acknowledged event is in the log
// exactly once. A client repeats an event after an error. The log answers "duplicate" if it kept
// the event, and that is an acknowledgement too.
func TestAnyFault(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 1))
		d, dir := newDisk(), t.TempDir()
		var l *Log
		var known map[string]bool
		restart := func() {
			if l != nil {
				l.Close()
			}
			known = map[string]bool{}
			got, damage := ids(t, dir)
			for _, id := range got {
				known[id] = true
			}
			if damage != nil {
				t.Fatalf("seed %d: %v", seed, damage)
			}
			var err error
			l, err = open(
				dir,
				Options{
					SegmentBytes: 700,
					Admit: func(e *ranker.Event, _ int64) ranker.EventOutcome {
						dup := known[e.ID]
						known[e.ID] = true
						return ranker.EventOutcome{Duplicate: dup}
					},
					Abort: func(recs []event.Record) {
						for _, r := range recs {
							delete(known, r.Event.ID)
						}
					},
				},
				d,
			)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		restart()
		acked := map[string]bool{}
		unsure := []string{"e0"}
		for i := range 40 {
			d.mu.Lock()
			d.failWrite, d.failSync, d.failTruncate = rng.IntN(8) == 0, rng.IntN(
				4,
			) == 0, rng.IntN(2) == 0
			d.mu.Unlock()
			id := unsure[rng.IntN(len(unsure))]
			if rng.IntN(3) > 0 {
				id = fmt.Sprintf("%d-%d", seed, i)
			}
			if _, err := l.Append(t.Context(), []ranker.Event{click(id)}); err != nil {
				unsure = append(unsure, id)
			} else {
				acked[id] = true
			}
			d.mu.Lock()
			d.failWrite, d.failSync, d.failTruncate = false, false, false
			d.mu.Unlock()
			switch rng.IntN(6) {
			case 0:
				restart()
			case 1:
				l.Close()
				l = nil
				after := t.TempDir()
				d, dir = d.powerLoss(t, rng, after), after
				restart()
			}
		}
		l.Close()
		got, damage := ids(t, dir)
		count := map[string]int{}
		for _, id := range got {
			count[id]++
		}
		for id := range acked {
			if count[id] != 1 {
				t.Fatalf(
					"seed %d: %s was acknowledged and is there %d times, damage %v", seed, id,
					count[id], damage,
				)
			}
		}
	}
}
