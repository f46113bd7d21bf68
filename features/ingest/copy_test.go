package ingest

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"relish/features/event"
)

// remembered returns which of the ids 0 to n-1 the checkpoint in data remembers, in their order.
func remembered(t *testing.T, data []byte, limit int) (ids []uint64) {
	t.Helper()
	r := newRecentIDs(limit)
	if err := r.read(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	for i := range r.ring {
		id := r.ring[(r.next+i)%len(r.ring)]
		if r.contents[id] != id+1 {
			t.Fatalf("id %d has content %d", id, r.contents[id])
		}
		ids = append(ids, id)
	}
	return ids
}

// A copy of the ids that is made in steps, while further ids come in, has the ids of its begin
// except for the oldest, which have been forgotten meanwhile.
func TestCopyOfIDsWhileMoreComeIn(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		limit := 3*idsAtOnce + r.IntN(1000)
		ids, next := newRecentIDs(limit), uint64(0)
		commit := func(n int) {
			for range n {
				ids.admit(event.Identity{ID: next, Content: next + 1})
				ids.commit(next)
				next++
			}
		}
		commit(r.IntN(3 * limit))
		begin := next
		oldest := begin - uint64(len(ids.ring))
		c := ids.beginCopy()
		for more := true; more; {
			commit(r.IntN(idsAtOnce))
			before := len(c.entries)
			more = c.step()
			if n := (len(c.entries) - before) / 16; n > idsAtOnce {
				t.Fatalf("a step copies %d ids", n)
			}
		}
		var file bytes.Buffer
		if err := c.write(&file); err != nil {
			t.Fatal(err)
		}
		got := remembered(t, file.Bytes(), limit)
		for i, id := range got {
			if want := begin - uint64(len(got)-i); id != want {
				t.Fatalf("seed %d: id %d at %d of %d, want %d", seed, id, i, len(got), want)
			}
		}
		forgotten := next - min(next, uint64(limit))
		if uint64(len(got)) < begin-max(oldest, min(begin, forgotten)) {
			t.Errorf("seed %d: %d ids of %d to %d; those before %d are forgotten", seed, len(got),
				oldest, begin, forgotten)
		}
	}
}
