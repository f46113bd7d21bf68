package features

import (
	"math/rand/v2"
	"testing"
)

// The index finds what a map finds, also among equal hashes and after many removals.
func TestIDIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var x idIndex
	hashes := map[uint32]uint32{} // by slot
	has := func(hash, slot uint32) bool {
		for found, at := x.first(hash); found != noSlot; found = at.next() {
			if found == slot {
				return true
			}
		}
		return false
	}
	for step := range 200_000 {
		slot := uint32(r.IntN(3000))
		hash, known := hashes[slot]
		if !known {
			// Few hashes of few segments, so that runs of places are long and wrap around.
			hash = uint32(r.IntN(3))<<30 | 1<<24 - uint32(r.IntN(500))
		}
		switch {
		case known != has(hash, slot):
			t.Fatalf("step %d: slot %d is known: %v", step, slot, known)
		case known:
			x.remove(hash, slot)
			delete(hashes, slot)
		case r.IntN(3) > 0 || step < 50_000:
			x.add(hash, slot)
			hashes[slot] = hash
		}
		if place := x.home(hash); place != 0 && hashes[uint32(place)-1] != uint32(place>>32) {
			t.Fatalf("step %d: place %x", step, place)
		}
	}
	for slot, hash := range hashes {
		if !has(hash, slot) {
			t.Fatalf("slot %d is lost", slot)
		}
	}
	if x.n != len(hashes) {
		t.Errorf("%d slots, want %d", x.n, len(hashes))
	}
}

// An index of a million ids takes at most 22 bytes for each, and no segment is so large that its
// growth would delay a ranking.
func TestIDIndexSize(t *testing.T) {
	var x idIndex
	const n = 1_000_000
	r := rand.New(rand.NewPCG(2, 2))
	for slot := range uint32(n) {
		x.add(r.Uint32(), slot)
	}
	places := 0
	for i := range x.segments {
		places += len(x.segments[i].places)
		if len(x.segments[i].places) > 16*n/indexSegments {
			t.Errorf("segment %d has %d places", i, len(x.segments[i].places))
		}
	}
	if 8*places > 22*n {
		t.Errorf("%d bytes", 8*places)
	}
}

// Items that share a hash, and unknown ones, are distinguished by their ids.
func TestLookUpItems(t *testing.T) {
	s := New(DefaultConfig())
	const items = 3 * lookUpBatch
	var ids []string
	for i := range items {
		id := string(rune('a'+i%26)) + string(rune('A'+i/26))
		ids = append(ids, id, "unknown"+id)
		s.PutItem(id, &ItemState{})
	}
	// All items stand in one run of places, with the hash of the first one.
	s.items.index = idIndex{}
	for it := range s.items.all {
		s.items.index.add(indexHash(it.id), it.slot)
		if it.id != ids[0] {
			s.items.index.add(indexHash(ids[0]), it.slot)
		}
	}
	for i, it := range s.lookUpItems(ids, nil) {
		switch want := i%2 == 0; {
		case want != (it != nil):
			t.Errorf("%s is known: %v", ids[i], it != nil)
		case want && it.id != ids[i]:
			t.Errorf("%s is %s", ids[i], it.id)
		}
	}
}
