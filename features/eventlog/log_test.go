package eventlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"relish/features/event"
	"relish/internal/durable"
	"relish/ranker"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("EVENTLOG_CHILD"); dir != "" {
		child(dir)
	}
	goleak.VerifyTestMain(m)
}

func click(id string) ranker.Event {
	return ranker.Event{
		Kind:   ranker.EventInteraction,
		ID:     id,
		Time:   5,
		UserID: "u",
		ItemID: "i",
		Action: "click",
	}
}

func clicks(prefix string, n int) []ranker.Event {
	var out []ranker.Event
	for i := range n {
		out = append(out, click(fmt.Sprintf("%s%d", prefix, i)))
	}
	return out
}

func mustOpen(t testing.TB, dir string, opt Options) *Log {
	t.Helper()
	l, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustAppend(t testing.TB, l *Log, events ...ranker.Event) {
	t.Helper()
	if _, err := l.Append(context.Background(), events); err != nil {
		t.Fatal(err)
	}
}

// folderWithKeys returns an empty folder of a log with the keys of the log in src.
func folderWithKeys(t testing.TB, src string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	keys, err := os.ReadFile(userKeysPath(src))
	if err == nil {
		err = os.WriteFile(userKeysPath(dir), keys, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// ids reads the whole log. Without damage the sequence must have no gaps.
func ids(t testing.TB, dir string) (out []string, damage []*Damage) {
	t.Helper()
	for rec, err := range Read(dir, 1) {
		var d *Damage
		if errors.As(err, &d) {
			damage = append(damage, d)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rec.Event.ID)
	}
	return out, damage
}

func TestAppendRead(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{SegmentBytes: 2000})
	for i := range 50 {
		mustAppend(t, l, clicks(fmt.Sprintf("a%d-", i), 3)...)
	}
	if l.Stats().Segments < 3 {
		t.Errorf("%d segments, want several of 2,000 bytes", l.Stats().Segments)
	}
	l.Close()
	l = mustOpen(t, dir, Options{})
	mustAppend(t, l, click("last"))
	var seq uint64
	for rec, err := range Read(dir, 1) {
		if err != nil {
			t.Fatal(err)
		}
		if seq++; rec.Seq != seq || rec.Replica != l.Replica() || rec.Arrival == 0 {
			t.Fatalf("record %d: %+v", seq, rec)
		}
	}
	if seq != 151 || l.LastSeq() != 151 {
		t.Errorf("read %d records, last %d; want 151", seq, l.LastSeq())
	}
	n := 0
	for rec := range Read(dir, 149) {
		n++
		if rec.Seq < 149 {
			t.Errorf("record %d is before 149", rec.Seq)
		}
	}
	if n != 3 {
		t.Errorf("%d records from 149 on, want 3", n)
	}
}

func TestAdmitCommitAbort(t *testing.T) {
	var admitted, committed []string
	l := mustOpen(t, t.TempDir(), Options{
		Admit: func(e *ranker.Event, _ int64) ranker.EventOutcome {
			dup := slices.Contains(admitted, e.ID)
			admitted = append(admitted, e.ID)
			return ranker.EventOutcome{Duplicate: dup}
		},
		Commit: func(recs []event.Record) {
			for _, r := range recs {
				committed = append(committed, r.Event.ID)
			}
		},
	})
	out, err := l.Append(context.Background(), []ranker.Event{click("a"), click("a"), click("b")})
	if err != nil || out[0].Duplicate || !out[1].Duplicate || out[2].Duplicate {
		t.Fatalf("%v %v", out, err)
	}
	if fmt.Sprint(committed) != "[a b]" {
		t.Errorf("committed %v before Append returned", committed)
	}
}

// The arrival never decreases, even if the clock goes back.
func TestArrival(t *testing.T) {
	dir := t.TempDir()
	now := time.UnixMilli(1_000_000)
	l := mustOpen(t, dir, Options{Clock: func() time.Time { return now }})
	mustAppend(t, l, click("a"))
	now = now.Add(-time.Hour)
	mustAppend(t, l, click("b"))
	for rec := range Read(dir, 1) {
		if rec.Arrival != 1_000_000 {
			t.Errorf("arrival %d", rec.Arrival)
		}
	}
}

func newest(t *testing.T, dir string) string {
	t.Helper()
	segs, err := segments(dir)
	if err != nil {
		t.Fatal(err)
	}
	return segs[len(segs)-1].path
}

// After a cut at any byte of the last record, only that record is missing and the log continues.
func TestIncompleteEnd(t *testing.T) {
	src := t.TempDir()
	l := mustOpen(t, src, Options{})
	mustAppend(t, l, clicks("k", 5)...)
	before := l.Stats().Bytes
	mustAppend(t, l, click("torn"))
	l.Close()
	path := newest(t, src)
	data, _ := os.ReadFile(path)
	for cut := before; cut < int64(len(data)); cut++ {
		dir := folderWithKeys(t, src)
		to := filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(to, data[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		tail, err := IncompleteTail(dir)
		if err != nil || int64(tail) != cut-before {
			t.Fatalf("cut at %d: %d bytes after the last complete record, %v; want %d",
				cut, tail, err, cut-before)
		}
		l := mustOpen(t, dir, Options{})
		mustAppend(t, l, click("after"))
		l.Close()
		if tail, err := IncompleteTail(dir); err != nil || tail != 0 {
			t.Fatalf("cut at %d: the next start leaves %d bytes, %v", cut, tail, err)
		}
		got, damage := ids(t, dir)
		if want := "[k0 k1 k2 k3 k4 after]"; fmt.Sprint(got) != want || damage != nil {
			t.Fatalf("cut at %d: %v, damage %v", cut, got, damage)
		}
	}
}

// After a flip of any byte of a sealed segment, Read yields what was written or reports damage. It
// never yields a wrong record.
func TestFlippedBytes(t *testing.T) {
	src := t.TempDir()
	l := mustOpen(t, src, Options{})
	mustAppend(t, l, clicks("k", 4)...)
	l.Close()
	l = mustOpen(t, src, Options{})
	mustAppend(t, l, click("next"))
	l.Close()
	segs, _ := segments(src)
	data, _ := os.ReadFile(segs[0].path)
	tail, _ := os.ReadFile(segs[1].path)
	dir := t.TempDir()
	to := filepath.Join(dir, filepath.Base(segs[1].path))
	if err := os.WriteFile(to, tail, 0o644); err != nil {
		t.Fatal(err)
	}
	want, _ := ids(t, src)
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x40
		to := filepath.Join(dir, filepath.Base(segs[0].path))
		if err := os.WriteFile(to, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		var got []string
		reported := false
		for rec, err := range Read(dir, 1) {
			if reported = reported || err != nil; err == nil {
				got = append(got, rec.Event.ID)
			}
		}
		if !reported {
			t.Fatalf("byte %d: nothing was reported, read %v", i, got)
		}
		for _, id := range got {
			if !slices.Contains(want, id) {
				t.Fatalf("byte %d: record %q was never written", i, id)
			}
		}
	}
}

func TestMissingSegment(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		l := mustOpen(t, dir, Options{})
		mustAppend(t, l, clicks(fmt.Sprintf("s%d-", i), 2)...)
		l.Close()
	}
	segs, _ := segments(dir)
	os.Remove(segs[1].path)
	got, damage := ids(t, dir)
	if len(damage) != 1 || !strings.Contains(damage[0].Error(), "3 to 4") || len(got) != 4 {
		t.Errorf("got %v, damage %v", got, damage)
	}
}

func TestNewerVersionIsRejected(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	mustAppend(t, l, click("a"))
	l.Close()
	data, _ := os.ReadFile(newest(t, dir))
	data[4] = version + 1
	os.WriteFile(newest(t, dir), data, 0o644)
	if _, err := Open(dir, Options{}); err == nil ||
		!strings.Contains(err.Error(), "newer relish") {
		t.Errorf("got %v", err)
	}
}

// faultFS separates what was synced from what was only written, and fails on request.
type faultFS struct {
	durable.FS
	failWrite, failSync atomic.Bool
	err                 error
	syncs               atomic.Int64
	gate                chan struct{} // if not nil, Sync waits until it is closed
}

type faultFile struct {
	durable.File
	fs *faultFS
}

func (f *faultFS) Create(path string) (durable.File, error) {
	inner, err := f.FS.Create(path)
	return &faultFile{inner, f}, err
}

func (f *faultFile) Write(p []byte) (int, error) {
	if f.fs.failWrite.Load() {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, f.fs.err
	}
	return f.File.Write(p)
}

func (f *faultFile) Sync() error {
	f.fs.syncs.Add(1)
	if f.fs.gate != nil {
		<-f.fs.gate
	}
	if f.fs.failSync.Load() {
		return f.fs.err
	}
	return f.File.Sync()
}

func TestDiskFaults(t *testing.T) {
	failWrite := func(f *faultFS) { f.failWrite.Store(true) }
	failSync := func(f *faultFS) { f.failSync.Store(true) }
	for _, c := range []struct {
		name string
		arm  func(*faultFS)
		err  error
		want error
	}{
		{"short write", failWrite, syscall.EIO, ranker.ErrLogUnavailable},
		{"disk full", failWrite, syscall.ENOSPC, ranker.ErrLogFull},
		{"failed sync", failSync, syscall.EIO, ranker.ErrLogUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			fsys := &faultFS{FS: durable.Disk, err: c.err}
			var aborted []string
			l, err := Open(dir, Options{FS: fsys, Abort: func(recs []event.Record) {
				for _, r := range recs {
					aborted = append(aborted, r.Event.ID)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			mustAppend(t, l, click("good"))
			c.arm(fsys)
			for range 2 {
				if _, err := l.Append(t.Context(), []ranker.Event{click("lost")}); !errors.Is(
					err, c.want,
				) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
			}
			fsys.failWrite.Store(false)
			fsys.failSync.Store(false)
			mustAppend(t, l, click("again"))
			got, damage := ids(t, dir)
			if fmt.Sprint(got) != "[good again]" || damage != nil ||
				fmt.Sprint(aborted) != "[lost lost]" {
				t.Errorf("read %v, damage %v, aborted %v", got, damage, aborted)
			}
			l.Close()
			l = mustOpen(t, dir, Options{})
			mustAppend(t, l, click("reopened"))
			if got, damage := ids(t, dir); fmt.Sprint(got) != "[good again reopened]" ||
				damage != nil {
				t.Errorf("after reopening: %v, damage %v", got, damage)
			}
		})
	}
}

// Appends that arrive during one fsync share the next one.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := &faultFS{FS: durable.Disk}
		l, err := Open(t.TempDir(), Options{FS: fsys})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		mustAppend(t, l, click("opens the segment"))
		before := fsys.syncs.Load()
		fsys.gate = make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { mustAppend(t, l, click("first")) })
		synctest.Wait() // the owner is in the first fsync
		for i := range 31 {
			wg.Go(func() { mustAppend(t, l, click(fmt.Sprint("e", i))) })
		}
		synctest.Wait() // the others are queued
		close(fsys.gate)
		wg.Wait()
		if n := fsys.syncs.Load() - before; n != 2 {
			t.Errorf("%d fsyncs for 32 concurrent appends, want 2", n)
		}
	})
}

func TestMaxBytes(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{MaxBytes: 1500})
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = l.Append(t.Context(), []ranker.Event{click(fmt.Sprint("e", i))})
	}
	if !errors.Is(err, ranker.ErrLogFull) {
		t.Errorf("got %v, want full", err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := click("e00")
		size := int64(event.Size(&first))
		fsys := &faultFS{FS: durable.Disk}
		l, err := Open(t.TempDir(), Options{QueueBytes: 5 * size, FS: fsys})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		mustAppend(t, l, click("opens the segment"))
		fsys.gate = make(chan struct{})
		l.TryAppend([]ranker.Event{first}, nil)
		synctest.Wait() // the owner is in fsync, and the event still takes memory
		accepted := 0
		for i := range 50 {
			if l.TryAppend([]ranker.Event{click(fmt.Sprintf("e%02d", i+1))}, nil) {
				accepted++
			}
		}
		if st := l.Stats(); accepted != 4 || st.Refused != 46 || st.Queued != 5*size {
			t.Errorf("a queue for 5 events took %d beside the one under way: %+v", accepted, st)
		}
		close(fsys.gate)
		synctest.Wait()
		if st := l.Stats(); st.Queued != 0 {
			t.Errorf("%d bytes are queued although all is written", st.Queued)
		}
		large := click("large")
		large.Session = strings.Repeat("x", int(6*size))
		mustAppend(t, l, large) // never too large for an empty queue
	})
}

func TestRetention(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{SegmentBytes: 500, RetainBytes: 2000})
	for i := range 100 {
		mustAppend(t, l, click(fmt.Sprint("e", i)))
	}
	got, damage := ids(t, dir)
	if len(got) == 100 || len(got) == 0 || got[len(got)-1] != "e99" || damage != nil ||
		l.FirstSeq() == 1 {
		t.Errorf("%d records left from %d on, damage %v", len(got), l.FirstSeq(), damage)
	}
	if b := l.Stats().Bytes; b > 3500 {
		t.Errorf("%d bytes are kept", b)
	}
}

func TestRewrite(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{SegmentBytes: 600})
	for i := range 40 {
		e := click(fmt.Sprint("e", i))
		e.UserID = []string{"keep", "secret-user"}[i%2]
		mustAppend(t, l, e)
	}
	removed, err := l.Rewrite(
		t.Context(), func(r *event.Record) bool { return r.Event.UserID == "secret-user" },
	)
	if err != nil || removed != 20 {
		t.Fatalf("removed %d, %v", removed, err)
	}
	mustAppend(t, l, click("after"))
	got, damage := ids(t, dir)
	if len(got) != 21 || got[20] != "after" || damage != nil || l.LastSeq() != 41 {
		t.Errorf("read %v, damage %v", got, damage)
	}
	filepath.Walk(dir, func(path string, info os.FileInfo, _ error) error {
		if data, _ := os.ReadFile(path); bytes.Contains(data, []byte("secret-user")) {
			t.Errorf("%s still holds the user's id", filepath.Base(path))
		}
		return nil
	})
}

// A reader sees a prefix of the acknowledged records while another goroutine appends, without
// damage.
func TestReadDuringAppends(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{SegmentBytes: 4000})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				mustAppend(t, l, clicks(fmt.Sprint(i, "-"), 5)...)
			}
		}
	})
	for range 30 {
		sealed := l.LastSeq()
		got, damage := ids(t, dir)
		if uint64(len(got)) < sealed || damage != nil {
			t.Errorf("read %d of %d acknowledged, damage %v", len(got), sealed, damage)
		}
	}
	close(stop)
	wg.Wait()
}

// child appends one event after the other, and prints each id when it is acknowledged.
func child(dir string) {
	l, err := Open(dir, Options{SegmentBytes: 3000})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for i := l.LastSeq(); ; i++ {
		id := fmt.Sprint("c", i)
		if _, err := l.Append(context.Background(), []ranker.Event{click(id)}); err != nil {
			os.Exit(1)
		}
		fmt.Println(id)
	}
}

// A killed process loses no acknowledged event.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var acked []string
	for round := range 15 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "EVENTLOG_CHILD="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		for {
			id, err := lines.ReadString('\n')
			if err != nil {
				break // an incomplete last line is not an acknowledgement
			}
			if acked = append(acked, strings.TrimSpace(id)); len(acked) >= 5*(round+1) {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
	}
	got, damage := ids(t, dir)
	have := map[string]bool{}
	for _, id := range got {
		have[id] = true
	}
	if damage != nil {
		t.Fatalf("%d acknowledged, damage %v", len(acked), damage)
	}
	for _, id := range acked {
		if !have[id] {
			t.Errorf("%s was acknowledged and is missing", id)
		}
	}
}

func FuzzSegment(f *testing.F) {
	h := header{first: 1}
	f.Add(appendFrame(h.appendTo(nil), 1, 5, []byte(`{"type":"user","id":"e","user":"u"}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		sc := scanner{
			each:    func(s *scanner, f frame) bool { _, _ = s.record(f); return true },
			damaged: func(*Damage) bool { return true },
		}
		_, _ = sc.segment(segment{1, "x"}, data, 0)
		_, _ = sc.segment(segment{1, "x"}, data, 10)
	})
}

func BenchmarkAppend100(b *testing.B) {
	l := mustOpen(b, b.TempDir(), Options{})
	batch := clicks("e", 100)
	b.ReportAllocs()
	for b.Loop() {
		mustAppend(b, l, batch...)
	}
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "events/s")
}

// TryAppend reports the events that the log accepted into its queue and then did not take.
func TestTryAppendReportsLostEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := &faultFS{FS: durable.Disk, err: errors.New("broken disk")}
		l, err := Open(t.TempDir(), Options{
			FS: fsys,
			Admit: func(e *ranker.Event, _ int64) ranker.EventOutcome {
				return ranker.EventOutcome{Duplicate: e.ID == "again"}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		lost := 0
		try := func(ids ...string) {
			var events []ranker.Event
			for _, id := range ids {
				events = append(events, click(id))
			}
			if !l.TryAppend(events, func(n int) { lost += n }) {
				t.Fatalf("%v were not accepted", ids)
			}
			synctest.Wait()
		}
		if try("e1", "e2"); lost != 0 {
			t.Errorf("%d of 2 durable events are lost", lost)
		}
		if try("e3", "again"); lost != 1 {
			t.Errorf("%d events are lost, want the duplicate", lost)
		}
		fsys.failWrite.Store(true)
		if try("e4", "e5"); lost != 3 {
			t.Errorf("%d events are lost, want the duplicate and two that were not written", lost)
		}
		fsys.failWrite.Store(false)
	})
}
