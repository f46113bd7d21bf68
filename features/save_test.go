package features_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"relish/features"
	"relish/features/event"
	"relish/features/storetest"
	"relish/ranker"
)

// checkpoint returns the checkpoint of a state that does not change.
func checkpoint(t testing.TB, s *features.State) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.WriteCheckpoint(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// change applies random events of every kind: to old and new users and items, with removals,
// evictions, and pauses that must not count as age.
func change(f *feed, r *rand.Rand, arrival *int64, n int) {
	for range n {
		user, id := fmt.Sprint("u", r.IntN(3000)), fmt.Sprint("i", r.IntN(1500))
		var e ranker.Event
		switch r.IntN(12) {
		case 0:
			e = ranker.Event{Kind: ranker.EventErase, UserHash: features.UserHash(user)}
		case 1:
			e = ranker.Event{Kind: ranker.EventDelete, ItemID: id}
		case 2:
			e = ranker.Event{
				Kind: ranker.EventTable, Table: fmt.Sprint("t", r.IntN(3)),
				Digest: fmt.Sprint(r.IntN(9)),
			}
		case 3, 4:
			e = item(id, fmt.Sprint("tag", r.IntN(900)))
		case 5, 6:
			e = shown(user, t0, id, fmt.Sprint("i", r.IntN(1500)))
		case 7, 8:
			e = did(user, "click", id, t0)
		default:
			e = randomEvent(r)
		}
		switch r.IntN(50) {
		case 0:
			*arrival += 10 * day
		case 1, 2, 3, 4, 5, 6:
			*arrival++
		}
		f.seq++
		f.Apply(&event.Record{Seq: f.seq, Arrival: *arrival, Event: e})
	}
}

// smallState returns a configuration whose bounds change reaches.
func smallState() features.Config {
	cfg := storetest.Config()
	cfg.MaxItems, cfg.MaxUsers, cfg.FieldValues, cfg.MaxAge = 900, 1400, 700, "90d"
	return cfg
}

// Whatever changes between the steps of a save, the checkpoint is the state as of its begin.
func TestSaveWhileTheStateChanges(t *testing.T) {
	for seed := range uint64(15) {
		cfg, arrival, r := smallState(), t0, rand.New(rand.NewPCG(seed, 1))
		f := newFeed(cfg)
		change(f, r, &arrival, 6000)
		want := storetest.Bytes(f.State)
		var saved, packed, written []byte
		save := f.BeginSave()
		for more := true; more; {
			change(f, r, &arrival, r.IntN(400))
			packed, more = save.Next(written)
			change(f, r, &arrival, r.IntN(3))
			saved, written = append(saved, packed...), packed
		}
		save.End()
		got, err := features.ReadCheckpoint(cfg, bytes.NewReader(saved))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(storetest.Bytes(got), want) {
			t.Fatalf("seed %d: the checkpoint is not the state as of its begin", seed)
		}
	}
}

// A save that ends early leaves nothing behind: the next one is complete.
func TestSaveAfterAnInterruptedOne(t *testing.T) {
	cfg, arrival, r := smallState(), t0, rand.New(rand.NewPCG(5, 1))
	f := newFeed(cfg)
	change(f, r, &arrival, 4000)
	first := f.BeginSave()
	first.Next(nil)
	change(f, r, &arrival, 100)
	first.End()
	change(f, r, &arrival, 100)
	var saved []byte
	second := f.BeginSave()
	for more := true; more; {
		var packed []byte
		packed, more = second.Next(nil)
		saved = append(saved, packed...)
	}
	second.End()
	got, err := features.ReadCheckpoint(cfg, bytes.NewReader(saved))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(storetest.Bytes(got), storetest.Bytes(f.State)) {
		t.Error("the checkpoint is not the state")
	}
}

// No step of a save packs more than 64 values or much more than 16 KiB, so that it holds the lock
// of a store for a short time. Steps over free slots are short too.
func TestStepsOfASaveAreBounded(t *testing.T) {
	f := newFeed(features.DefaultConfig())
	const n = 20_000
	for i := range n {
		f.add(item(fmt.Sprint("i", i), "x"), did(fmt.Sprint("u", i), "click", "i1", t0))
	}
	for i := range n - 1000 {
		f.add(ranker.Event{Kind: ranker.EventDelete, ItemID: fmt.Sprint("i", i)})
	}
	save, steps, headed := f.BeginSave(), 0, false
	for more := true; more; steps++ {
		var packed []byte
		packed, more = save.Next(nil)
		if len(packed) > 20<<10 {
			t.Fatalf("a step has %d bytes", len(packed))
		}
		if !headed {
			packed, headed = packed[41:], true
		}
		values := 0
		for len(packed) > 0 {
			size, k := binary.Uvarint(packed)
			if size == 0 {
				break
			}
			values++
			packed = packed[k+int(size):]
		}
		if values > 66 {
			t.Fatalf("a step has %d values", values)
		}
	}
	save.End()
	if steps < 2*n/80 { // users, and free slots of items
		t.Errorf("the save took %d steps", steps)
	}
}

// After a restart from a checkpoint the same items and users are dropped as without it, also among
// those whose last event arrived in the same millisecond.
func TestDropsDoNotDependOnRestarts(t *testing.T) {
	for seed := range uint64(10) {
		cfg, arrival, r := smallState(), t0, rand.New(rand.NewPCG(seed, 1))
		cfg.MaxItems, cfg.MaxUsers, cfg.MaxAge = 200, 1200, "30d"
		f := newFeed(cfg)
		change(f, r, &arrival, 4000)
		got, err := features.ReadCheckpoint(cfg, bytes.NewReader(checkpoint(t, f.State)))
		if err != nil {
			t.Fatal(err)
		}
		restarted, again := &feed{State: got, seq: f.seq}, arrival
		for step := range uint64(20) {
			change(f, rand.New(rand.NewPCG(seed, step)), &arrival, 50)
			change(restarted, rand.New(rand.NewPCG(seed, step)), &again, 50)
			if !bytes.Equal(storetest.Bytes(f.State), storetest.Bytes(restarted.State)) {
				t.Fatalf("seed %d: the states differ after %d events", seed, 50*(step+1))
			}
		}
	}
}
