package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relish/features/event"
	"relish/internal/durable/durabletest"
	"relish/ranker"
)

// threeSegments returns the folder of a log whose three segments have two records each.
func threeSegments(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	for i := range 3 {
		l := mustOpen(t, dir, Options{})
		mustAppend(t, l, clicks(fmt.Sprintf("s%d-", i), 2)...)
		l.Close()
	}
	return dir
}

// If the newest segments are missing, this is reported, and no sequence is used again.
func TestMissingNewestSegment(t *testing.T) {
	for _, c := range []struct {
		name  string
		lose  func(dir string) error
		left  string
		after string // what is read after the next append
		hole  bool   // the loss is still reported then
	}{
		{"the newest", func(dir string) error { return os.Remove(segmentPath(dir, 5)) },
			"[s0-0 s0-1 s1-0 s1-1]", "[s0-0 s0-1 s1-0 s1-1 after]", true},
		{"two", func(dir string) error {
			return errors.Join(os.Remove(segmentPath(dir, 3)), os.Remove(segmentPath(dir, 5)))
		}, "[s0-0 s0-1]", "[s0-0 s0-1 after]", true},
		{"the folder", os.RemoveAll, "[]", "[after]", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := threeSegments(t)
			replica, err := Replica(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.lose(dir); err != nil {
				t.Fatal(err)
			}
			got, damage := ids(t, dir)
			if fmt.Sprint(got) != c.left || len(damage) != 1 ||
				!strings.Contains(damage[0].Error(), "segment is missing") {
				t.Errorf("read %v, damage %v; want a report of the missing segment", got, damage)
			}
			l := mustOpen(t, dir, Options{})
			mustAppend(t, l, click("after"))
			if l.LastSeq() <= 6 || l.Replica() != replica {
				t.Errorf("record %d of %s; sequences up to 6 of %s were used", l.LastSeq(),
					l.Replica(), replica)
			}
			got, damage = ids(t, dir)
			if fmt.Sprint(got) != c.after || (len(damage) > 0) != c.hole {
				t.Errorf("then read %v, damage %v", got, damage)
			}
		})
	}
}

// Records of erased users leave the log although a segment is missing.
func TestRewriteWithoutMissingSegment(t *testing.T) {
	dir := threeSegments(t)
	if err := os.Remove(segmentPath(dir, 3)); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, dir, Options{})
	removed, err := l.Rewrite(t.Context(), func(*event.Record) bool { return true })
	if removed != 4 || err != nil {
		t.Errorf("removed %d, %v; want the 4 records that are left", removed, err)
	}
}

// The mark of another log, or of an older state of the folder, is not used.
func TestForeignHighWater(t *testing.T) {
	dir, other := threeSegments(t), filepath.Join(t.TempDir(), "log")
	l := mustOpen(t, other, Options{})
	mustAppend(t, l, clicks("o", 9)...)
	l.Close()
	data, err := os.ReadFile(highWaterPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(highWaterPath(other), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, damage := ids(t, other); len(got) != 9 || damage != nil {
		t.Errorf("read %v, damage %v", got, damage)
	}
	l = mustOpen(t, other, Options{})
	mustAppend(t, l, click("after"))
	if l.LastSeq() != 10 {
		t.Errorf("record %d, want 10", l.LastSeq())
	}
}

// A damaged mark is written again if the log is there. If it is the only witness of a lost log, the
// start ends with what to do.
func TestDamagedHighWater(t *testing.T) {
	dir := threeSegments(t)
	damage := func() {
		t.Helper()
		if err := os.WriteFile(highWaterPath(dir), []byte("{"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	damage()
	l := mustOpen(t, dir, Options{})
	if !l.HighWaterLost() {
		t.Error("the damage is not reported")
	}
	mustAppend(t, l, click("after"))
	if l.LastSeq() != 7 {
		t.Errorf("record %d, want 7", l.LastSeq())
	}
	l.Close()
	if mark, err := readHighWater(dir); err != nil || mark.Segment != 7 {
		t.Errorf("the mark after the next record: %+v, %v", mark, err)
	}
	if got, damage := ids(t, dir); len(got) != 7 || damage != nil {
		t.Errorf("read %v, damage %v", got, damage)
	}
	l = mustOpen(t, dir, Options{})
	if l.HighWaterLost() {
		t.Error("the damage is reported again")
	}
	l.Close()
	damage()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "backup") ||
		!strings.Contains(err.Error(), "remove it") {
		t.Errorf("a damaged mark without a log: %v", err)
	}
}

// CheckEnds finds sealed segments without their last record, wherever they were cut, and no others.
func TestCheckEnds(t *testing.T) {
	dir := threeSegments(t)
	check := func(upTo uint64, want string) {
		t.Helper()
		cut, err := CheckEnds(dir, upTo)
		names := ""
		for _, d := range cut {
			names += d.File + " "
		}
		if err != nil || names != want {
			t.Errorf("up to %d: %v, %v, want %q", upTo, cut, err, want)
		}
	}
	check(7, "")
	first := segmentPath(dir, 1)
	data, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	for size := range data {
		if err := os.WriteFile(first, data[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		check(7, filepath.Base(first)+" ")
	}
	check(2, "") // the caller reads the first segment by itself
	leftovers := append(bytes.Clone(data), make([]byte, 2*firstTail)...)
	if err := os.WriteFile(first, leftovers, 0o644); err != nil {
		t.Fatal(err)
	}
	check(7, "")
	l := mustOpen(t, dir, Options{})
	if _, err := l.Rewrite(t.Context(), func(*event.Record) bool { return true }); err != nil {
		t.Fatal(err)
	}
	check(7, "") // erased records keep their places
}

// UsedUpTo and Replica make a log go on where a lost one ended.
func TestUsedSequences(t *testing.T) {
	l := mustOpen(t, filepath.Join(t.TempDir(), "log"),
		Options{UsedUpTo: 41, Replica: "00112233445566aa"})
	mustAppend(t, l, click("a"))
	if l.LastSeq() != 42 || l.FirstSeq() != 42 || l.Replica() != "00112233445566aa" {
		t.Errorf("record %d, first %d, replica %s", l.LastSeq(), l.FirstSeq(), l.Replica())
	}
}

// Nothing is acknowledged that is written to a file which somebody has removed or moved away.
func TestRemovedWhileOpen(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(dir string) error
		back func(dir string) error // until which appends fail
	}{
		{"file removed", func(dir string) error { return os.Remove(segmentPath(dir, 1)) }, nil},
		{"file replaced", func(dir string) error {
			return errors.Join(os.Remove(segmentPath(dir, 1)),
				os.WriteFile(segmentPath(dir, 1), nil, 0o644))
		}, nil},
		{"folder removed", os.RemoveAll,
			func(dir string) error { return os.Mkdir(dir, 0o755) }},
		{"folder moved", func(dir string) error { return os.Rename(dir, dir+"-moved") },
			func(dir string) error { return os.Rename(dir+"-moved", dir) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "log")
			l := mustOpen(t, dir, Options{})
			mustAppend(t, l, click("before"))
			if err := c.lose(dir); err != nil {
				t.Fatal(err)
			}
			appendOne := func() error {
				_, err := l.Append(t.Context(), []ranker.Event{click("e")})
				return err
			}
			if err := appendOne(); !errors.Is(err, ranker.ErrLogUnavailable) {
				t.Fatalf("got %v, want that the log is unavailable", err)
			}
			if c.back != nil {
				if err := appendOne(); !errors.Is(err, ranker.ErrLogUnavailable) {
					t.Fatalf("then %v, want that the log is unavailable", err)
				}
				if err := c.back(dir); err != nil {
					t.Fatal(err)
				}
			}
			if err := appendOne(); err != nil {
				t.Fatal(err)
			}
			if got, _ := ids(t, dir); len(got) == 0 || got[len(got)-1] != "e" {
				t.Errorf("an acknowledged event is missing: %v", got)
			}
			if l.LastSeq() != 2 {
				t.Errorf("record %d, want 2", l.LastSeq())
			}
		})
	}
}

// Appends fail before the disk is full, and succeed again when there is clearly more space.
func TestMinFreeBytes(t *testing.T) {
	root := t.TempDir()
	disk := durabletest.New(root)
	l := mustOpen(t, filepath.Join(root, "log"), Options{FS: disk, MinFreeBytes: 1000})
	for i, step := range []struct {
		free int64
		full bool
	}{{10_000, false}, {1000, true}, {1200, true}, {1500, false}, {1200, false}, {900, true}} {
		disk.SetFree(step.free)
		_, err := l.Append(t.Context(), []ranker.Event{click(fmt.Sprint("e", i))})
		if errors.Is(err, ranker.ErrLogFull) != step.full || l.Stats().Full != step.full {
			t.Errorf("step %d: with %d free bytes: %v, full %v", i, step.free, err,
				l.Stats().Full)
		}
	}
	if got, damage := ids(t, filepath.Join(root, "log")); len(got) != 3 || damage != nil {
		t.Errorf("read %v, damage %v", got, damage)
	}
}

// Any flipped byte and any cut of the newest segment of a log that was closed is damage, although
// one batch has all its records. No sequence is used again.
func TestDamagedClosedSegment(t *testing.T) {
	src := filepath.Join(t.TempDir(), "log")
	l := mustOpen(t, src, Options{})
	mustAppend(t, l, clicks("k", 4)...)
	l.Close()
	data, err := os.ReadFile(segmentPath(src, 1))
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, bad []byte) {
		if err := os.WriteFile(segmentPath(src, 1), bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, damage := ids(t, src); len(damage) == 0 {
			t.Errorf("%s: nothing is reported, read %v", what, got)
		}
	}
	for i := range data {
		if i == 4 || i == 5 {
			continue // the version of the format
		}
		bad := bytes.Clone(data)
		bad[i] ^= 0x40
		check(fmt.Sprint("byte ", i), bad)
		check(fmt.Sprint("cut at ", i), data[:i])
	}
	l = mustOpen(t, src, Options{})
	mustAppend(t, l, click("after"))
	if l.LastSeq() <= 4 {
		t.Errorf("record %d; sequences up to 4 were used", l.LastSeq())
	}
	if got, damage := ids(t, src); len(got) == 0 || got[len(got)-1] != "after" || damage == nil {
		t.Errorf("then read %v, damage %v", got, damage)
	}
}

// A segment that is rewritten and then not written again is intact, also after a crash.
func TestRewriteOfClosedSegment(t *testing.T) {
	dir := threeSegments(t)
	l := mustOpen(t, dir, Options{})
	if _, err := l.Rewrite(t.Context(), func(*event.Record) bool { return true }); err != nil {
		t.Fatal(err)
	}
	// The process is killed: nothing closes the log.
	if _, damage := ids(t, dir); damage != nil {
		t.Errorf("damage %v", damage)
	}
}

// A segment that is filled with zeros is reported, and no record is written over it.
func TestZeroFilledSegment(t *testing.T) {
	for _, first := range []uint64{1, 3, 5} {
		dir := threeSegments(t)
		st, err := os.Stat(segmentPath(dir, first))
		if err != nil {
			t.Fatal(err)
		}
		zeros := make([]byte, st.Size())
		if err := os.WriteFile(segmentPath(dir, first), zeros, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, damage := ids(t, dir); len(got) != 4 || len(damage) == 0 {
			t.Errorf("segment %d: read %v, damage %v", first, got, damage)
		}
		l := mustOpen(t, dir, Options{})
		mustAppend(t, l, click("after"))
		l.Close()
		if got, damage := ids(t, dir); len(got) != 5 || len(damage) == 0 {
			t.Errorf("segment %d: then read %v, damage %v", first, got, damage)
		}
	}
}

// A reader that is slower than retention sees the records from some segment on without a gap.
func TestReadDuringRetention(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l := mustOpen(t, dir, Options{SegmentBytes: 500, RetainBytes: 2000})
	mustAppend(t, l, clicks("a", 20)...)
	for round := range 20 {
		last := uint64(0)
		for rec, err := range Read(dir, 1) {
			if err != nil {
				t.Fatal(err)
			}
			if last != 0 && rec.Seq != last+1 && rec.Seq < l.FirstSeq() {
				t.Fatalf("record %d follows %d, and retention kept from %d on", rec.Seq, last,
					l.FirstSeq())
			}
			last = rec.Seq
			mustAppend(t, l, click(fmt.Sprint("e", round, "-", rec.Seq)))
			if rec.Seq >= uint64(20*(round+1)) {
				break
			}
		}
	}
}
