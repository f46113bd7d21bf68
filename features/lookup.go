package features

import (
	"math"
	"slices"
)

// The state of a large catalogue is not in the processor's caches. What a request needs of one
// candidate stands at several addresses, each of which is read from the one before, so a candidate
// would wait for the memory several times. The loops of this file read one address of each
// candidate. The processor then waits for those of many candidates at once.

// lookUpBatch is the number of candidates whose addresses stay in the first cache meanwhile.
const lookUpBatch = 64

// lookUpItems returns the items with the ids, nil for an unknown one, in the memory of found.
func (s *State) lookUpItems(ids []string, found []*ItemState) []*ItemState {
	found = slices.Grow(found[:0], len(ids))[:len(ids)]
	for from := 0; from < len(ids); from += lookUpBatch {
		to := min(from+lookUpBatch, len(ids))
		s.lookUpBatch(ids[from:to], found[from:to])
	}
	return found
}

func (s *State) lookUpBatch(ids []string, found []*ItemState) {
	var hashes [lookUpBatch]uint32
	var places [lookUpBatch]uint64
	var slots [lookUpBatch]uint32
	var known [lookUpBatch]string
	for i, id := range ids {
		hashes[i] = indexHash(id)
		places[i] = s.items.index.home(hashes[i])
	}
	for i, hash := range hashes[:len(ids)] {
		slots[i] = noSlot
		if places[i] != 0 {
			slots[i], _ = s.items.index.first(hash)
		}
	}
	for i, slot := range slots[:len(ids)] {
		found[i] = nil
		if slot != noSlot {
			found[i] = s.items.slots.ptr(slot)
		}
	}
	for i, it := range found {
		if it != nil {
			known[i] = it.id
		}
	}
	for i, id := range ids {
		if found[i] != nil && known[i] != id { // another id has the same hash
			found[i] = s.items.get(id)
		}
	}
}

// preload reads what the rows of the candidates from, up to to, will need from the memory.
func (x *extraction) preload(from, to int) {
	for ; from < to; from += lookUpBatch {
		end := min(from+lookUpBatch, to)
		x.preloadBatch(x.items[from:end], x.contents[from:end])
	}
}

// preloadBatch returns a sum of what it reads, so that the compiler keeps the reads.
//
//go:noinline
func (x *extraction) preloadBatch(items []*ItemState, contents []*Content) (sum uint64) {
	var caches [lookUpBatch]*itemCache
	var rows [lookUpBatch]*itemRow
	var ids [lookUpBatch]*valueIDs
	var cells [lookUpBatch]*cachedCells
	for i, c := range contents {
		caches[i] = c.cache
		sum += uint64(items[i].first) // in another cache line than the content
	}
	for i := range contents {
		if c := caches[i]; c != nil {
			rows[i], ids[i], cells[i] = c.row.Load(), c.ids.Load(), c.cells.Load()
		}
	}
	for i := range contents {
		if r := rows[i]; r != nil {
			sum += uint64(r.version) + uint64(len(r.cells))
		}
		if v := ids[i]; v != nil {
			sum += uint64(len(v.list))
		}
		if c := cells[i]; c != nil {
			sum += uint64(len(c.cells))
		}
	}
	for i := range contents {
		if r := rows[i]; r != nil && len(r.cells) > 0 {
			sum += uint64(math.Float32bits(r.cells[0]))
		}
		if v := ids[i]; v != nil && len(v.list) > 0 {
			sum += uint64(v.list[0])
		}
		if c := cells[i]; c != nil && len(c.cells) > 0 {
			sum += uint64(math.Float32bits(c.cells[0]))
		}
	}
	return sum
}
