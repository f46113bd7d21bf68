package eventlog_test

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"relish/features/eventlog"
	"relish/ranker"
)

// Merge orders several logs by arrival, then replica, then sequence. It reports damage and
// continues.
func TestMerge(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	var dirs []string
	var want []string
	type place struct {
		arrival int64
		replica string
		seq     uint64
	}
	var all []place
	for r, step := range []int64{3, 2, 7} {
		dir := t.TempDir()
		dirs = append(dirs, dir)
		clock := now
		l, err := eventlog.Open(dir, eventlog.Options{Clock: func() time.Time { return clock }})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			e := ranker.Event{
				Kind:   ranker.EventInteraction,
				ID:     fmt.Sprint(r, "-", i),
				UserID: "u",
				ItemID: "i",
				Action: "click",
			}
			if _, err := l.Append(t.Context(), []ranker.Event{e}); err != nil {
				t.Fatal(err)
			}
			all = append(all, place{clock.UnixMilli(), l.Replica(), uint64(i + 1)})
			clock = clock.Add(time.Duration(step) * time.Millisecond)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(all, func(a, b place) int {
		return cmp.Or(
			cmp.Compare(a.arrival, b.arrival), cmp.Compare(a.replica, b.replica),
			cmp.Compare(a.seq, b.seq),
		)
	})
	for _, p := range all {
		want = append(want, fmt.Sprint(p))
	}
	var got []string
	for rec, err := range eventlog.Merge(append(dirs, filepath.Join(t.TempDir(), "no log"))...) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(place{rec.Arrival, rec.Replica, rec.Seq}))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	for range eventlog.Merge(dirs...) {
		break // who stops early leaves nothing open: goleak looks
	}

	segments, err := filepath.Glob(filepath.Join(dirs[1], "*"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	data, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(segments[0], data, 0o644); err != nil {
		t.Fatal(err)
	}
	sound, damaged := 0, 0
	for _, err := range eventlog.Merge(dirs...) {
		var d *eventlog.Damage
		switch {
		case errors.As(err, &d):
			damaged++
		case err != nil:
			t.Fatal(err)
		default:
			sound++
		}
	}
	if damaged == 0 || sound < len(all)-2 || sound >= len(all) {
		t.Errorf("%d damaged places, %d of %d records", damaged, sound, len(all))
	}
}
