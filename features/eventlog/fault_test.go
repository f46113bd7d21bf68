package eventlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	for _, e := range clicks("k", 4) {
		mustAppend(t, l, e)
	}
	l.Close()
	path := newest(t, src)
	data, _ := os.ReadFile(path)
	for i := range data {
		dir := folderWithKeys(t, src)
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
