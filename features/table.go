package features

import (
	"cmp"
	"container/heap"
	"slices"
)

// A table holds the items or the users of a state. No operation takes time in proportion to its
// size: entries stand in the order of their last events, so the ones to drop are found at once,
// and each has a slot, so a save can walk them in small steps while the state changes.

// noSlot stands for no entry.
const noSlot = ^uint32(0)

// entry is the part of an item's or user's state that its table manages.
type entry struct {
	id   string
	seen int64 // arrival of the last event, Unix ms, without the pauses in State.idle
	slot uint32
	// older and newer are the slots of the neighbours in the order of seen, noSlot at the ends.
	older, newer uint32
	// version is the number of an item's events, for what itemCache keeps. It fills a gap here.
	version uint32
}

func (e *entry) tableEntry() *entry { return e }

type tableEntry[T any] interface {
	*T
	tableEntry() *entry
}

// table is used as State is: changes exclude everything else.
type table[T any, P tableEntry[T]] struct {
	index idIndex
	// slots has the entries themselves, so that a look-up needs one address less than with
	// pointers. An entry does not move, but a later one may take the place of a removed one.
	slots slab[T]
	free  []uint32

	oldest, newest uint32 // ends of the order, noSlot if the table is empty
	unordered      bool   // entries were added in another order than that of seen
	ties           tiedEntries

	hashes   *hashIndex // of the users; nil for items
	onRemove func(P)    // may be nil
	save     *walk      // of a save in progress, nil without one
}

// newTable returns an empty table. small says that it will hold a few entries for a moment.
func newTable[T any, P tableEntry[T]](small bool) table[T, P] {
	return table[T, P]{slots: slab[T]{small: small}, oldest: noSlot, newest: noSlot}
}

// in returns the entry in a slot, nil if the slot is free.
func (t *table[T, P]) in(slot uint32) P {
	v := P(t.slots.ptr(slot))
	if v.tableEntry().isFree(slot) {
		return nil
	}
	return v
}

// isFree reports whether free has marked the slot of e as free.
func (e *entry) isFree(slot uint32) bool { return e.older == slot }

// grow makes room for n entries in an empty table.
func (t *table[T, P]) grow(n int) {
	t.index.grow(n)
	t.hashes.grow(n)
}

func (t *table[T, P]) len() int { return t.index.n }

// get returns the entry with the id, nil if there is none.
func (t *table[T, P]) get(id string) P {
	for slot, at := t.index.first(indexHash(id)); slot != noSlot; slot = at.next() {
		if v := P(t.slots.ptr(slot)); v.tableEntry().id == id {
			return v
		}
	}
	return nil
}

// all yields the entries in the order of their slots.
func (t *table[T, P]) all(yield func(P) bool) {
	for slot := range t.slots.n {
		if v := t.in(slot); v != nil && !yield(v) {
			return
		}
	}
}

// sorted returns the entries in the order of their ids.
func (t *table[T, P]) sorted() []P {
	list := slices.AppendSeq(make([]P, 0, t.len()), t.all)
	slices.SortFunc(list, func(a, b P) int {
		return cmp.Compare(a.tableEntry().id, b.tableEntry().id)
	})
	return list
}

func (t *table[T, P]) at(slot uint32) *entry { return P(t.slots.ptr(slot)).tableEntry() }

// put adds a copy of an entry whose seen is set, in place of any entry with its id, and returns the
// copy.
func (t *table[T, P]) put(id string, v P) P {
	if old := t.get(id); old != nil {
		t.remove(old)
	}
	var slot uint32
	if n := len(t.free); n > 0 {
		slot, t.free = t.free[n-1], t.free[:n-1]
		t.save.exclude(slot)
		t.slots.set(slot, *v)
	} else {
		slot = t.slots.add(*v)
	}
	v = P(t.slots.ptr(slot))
	e := v.tableEntry()
	e.id, e.slot = id, slot
	t.index.add(indexHash(id), slot)
	t.hashes.add(id, slot)
	t.link(e)
	return v
}

// set is put, or for nil it removes the entry.
func (t *table[T, P]) set(id string, v P) {
	if v != nil {
		t.put(id, v)
	} else if old := t.get(id); old != nil {
		t.remove(old)
	}
}

// add adds a copy of a new entry whose first event arrives now, and returns the copy.
func (t *table[T, P]) add(id string, v P, now int64) P {
	v.tableEntry().seen = now
	return t.put(id, v)
}

// touch notes an event of an entry that arrives now. It must come before any change of the entry.
func (t *table[T, P]) touch(v P, now int64) {
	e := v.tableEntry()
	t.save.before(e.slot)
	if e.seen == now {
		return
	}
	t.unlink(e)
	e.seen = now
	t.link(e)
}

func (t *table[T, P]) remove(v P) {
	e := v.tableEntry()
	t.save.before(e.slot)
	t.unlink(e)
	t.hashes.remove(e.id, e.slot)
	t.index.remove(indexHash(e.id), e.slot)
	if t.onRemove != nil {
		t.onRemove(v)
	}
	slot := e.slot
	t.free = append(t.free, slot)
	var none T
	*v = none
	e.older = slot // see isFree
}

func (t *table[T, P]) link(e *entry) {
	e.older, e.newer = t.newest, noSlot
	if t.newest == noSlot {
		t.oldest = e.slot
	} else {
		newest := t.at(t.newest)
		newest.newer = e.slot
		t.unordered = t.unordered || e.seen < newest.seen
	}
	t.newest = e.slot
	if t.ties.complete && t.ties.seen == e.seen {
		t.ties.add(e)
	}
}

func (t *table[T, P]) unlink(e *entry) {
	if e.older == noSlot {
		t.oldest = e.newer
	} else {
		t.at(e.older).newer = e.newer
	}
	if e.newer == noSlot {
		t.newest = e.older
	} else {
		t.at(e.newer).older = e.older
	}
}

// next returns the entry to drop next: the one whose last event arrived longest ago, among several
// the one with the smallest id, so that a replay and a restarted server drop the same ones. It is
// nil for an empty table.
func (t *table[T, P]) next() P {
	t.sort()
	if t.oldest == noSlot {
		return nil
	}
	seen := t.at(t.oldest).seen
	if t.ties.seen != seen || len(t.ties.heap) > 2*t.len()+minTies {
		t.ties.complete = false
	}
	if !t.ties.complete {
		t.ties = tiedEntries{seen: seen, complete: true}
		for slot := t.oldest; slot != noSlot && t.at(slot).seen == seen; slot = t.at(slot).newer {
			t.ties.add(t.at(slot))
		}
	}
	for {
		first := t.ties.heap[0]
		if v := t.in(first.slot); v != nil {
			if e := v.tableEntry(); e.id == first.id && e.seen == seen {
				return v
			}
		}
		heap.Pop(&t.ties.heap)
	}
}

// sort brings the entries into their order after some were added in another one.
func (t *table[T, P]) sort() {
	if t.unordered {
		t.ties.complete = false
		t.reorder()
		t.unordered = false
	}
}

// newestSeen returns the latest seen, 0 for an empty table. The entries must be sorted.
func (t *table[T, P]) newestSeen() int64 {
	if t.newest == noSlot {
		return 0
	}
	return t.at(t.newest).seen
}

// reorder sorts the entries by seen.
func (t *table[T, P]) reorder() {
	type key struct { // comparing keys needs no look at millions of entries
		seen int64
		slot uint32
	}
	list := make([]key, 0, t.len())
	for slot := range t.slots.n {
		if v := t.in(slot); v != nil {
			list = append(list, key{v.tableEntry().seen, slot})
		}
	}
	slices.SortFunc(list, func(a, b key) int { return cmp.Compare(a.seen, b.seen) })
	t.oldest, t.newest = noSlot, noSlot
	for _, k := range list {
		t.link(t.at(k.slot))
	}
}

// tiedEntries are the oldest entries of a table, if they have the same seen: after an import all
// users may. They are a heap by id, so that dropping one of them does not look at the others. Some
// may have left or moved since.
type tiedEntries struct {
	seen     int64
	complete bool // the heap has all entries with this seen
	heap     tieHeap
}

// minTies is the number of entries in a heap below which nobody counts those that have left.
const minTies = 64

func (t *tiedEntries) add(e *entry) { heap.Push(&t.heap, tie{e.id, e.slot}) }

type tie struct {
	id   string
	slot uint32
}

// tieHeap implements heap.Interface.
type tieHeap []tie

func (h tieHeap) Len() int           { return len(h) }
func (h tieHeap) Less(i, j int) bool { return h[i].id < h[j].id }
func (h tieHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *tieHeap) Push(x any)        { *h = append(*h, x.(tie)) }

func (h *tieHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// maxDrops bounds the entries that one record drops, so that no record takes long when many entries
// become too old at once. The next records drop the rest.
const maxDrops = 256

// dropOlder drops entries whose last event arrived before the time oldest, at most maxDrops.
func (t *table[T, P]) dropOlder(oldest int64) {
	for range maxDrops {
		if t.oldest == noSlot || !t.unordered && t.at(t.oldest).seen >= oldest {
			return
		}
		v := t.next()
		if v.tableEntry().seen >= oldest {
			return
		}
		t.remove(v)
	}
}

// makeRoom drops the oldest entries, at most maxDrops, so that the table has fewer than bound.
func (t *table[T, P]) makeRoom(bound int) {
	for n := 0; t.len() >= bound && n < maxDrops; n++ {
		t.remove(t.next())
	}
}
