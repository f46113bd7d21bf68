package eventlog

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"relish/features/event"
)

// The logs of three replicas merge by (arrival, replica, sequence), each record once; damage is told and
// costs no record of the others.
func TestMerge(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	now := time.UnixMilli(1_700_000_000_000)
	var dirs []string
	total := 0
	for r := range 3 {
		dir := t.TempDir()
		l := mustOpen(t, dir, Options{Clock: func() time.Time { return now }})
		for i := range 50 {
			now = now.Add(time.Duration(rng.IntN(3)) * time.Millisecond)
			mustAppend(t, l, click(fmt.Sprintf("%d-%d", r, i)))
			total++
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		now = time.UnixMilli(1_700_000_000_000)
		dirs = append(dirs, dir)
	}
	var before event.Record
	n := 0
	for rec, err := range Merge(dirs...) {
		if err != nil {
			t.Fatal(err)
		}
		if rec.Arrival < before.Arrival || rec.Arrival == before.Arrival && rec.Replica < before.Replica || rec.Replica == before.Replica && rec.Seq <= before.Seq && rec.Arrival == before.Arrival {
			t.Fatalf("%+v after %+v", rec, before)
		}
		before = rec
		n++
	}
	if n != total {
		t.Errorf("%d records, want %d", n, total)
	}
	for range Merge(dirs...) {
		break // stops all readers: goleak would tell
	}
	path := newest(t, dirs[1])
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	sound, damaged := 0, 0
	for _, err := range Merge(dirs...) {
		if err != nil {
			damaged++
			continue
		}
		sound++
	}
	if damaged != 1 || sound != total-1 {
		t.Errorf("%d sound, %d damaged, want %d and 1", sound, damaged, total-1)
	}
}
