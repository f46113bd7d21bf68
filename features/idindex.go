package features

import "hash/maphash"

// idIndex finds the slots of items or users by their ids. It keeps 32 bits of each id's hash beside
// the slot, and no pointer, so the garbage collector has nothing to scan, and a look-up reads one
// cache line. The caller compares the id. The zero value is empty.
type idIndex struct {
	segments *[indexSegments]indexSegment // nil until the first add
	n        int
}

const (
	segmentBits   = 8
	indexSegments = 1 << segmentBits
	// minSegmentPlaces is the size of a segment with its first slot.
	minSegmentPlaces = 8
)

// indexSegment is an open-addressed table of the ids whose hashes begin with the same segmentBits.
// Segments grow one by one: of ten million ids, one event moves 40,000 at most, which takes less
// than a millisecond.
type indexSegment struct {
	// places has the hash in its upper and the slot plus 1 in its lower half, 0 if it is free. The
	// length is a power of two; a quarter is free at least.
	places []uint64
	n      int
}

var indexSeed = maphash.MakeSeed()

// indexHash returns the hash of an id. It differs from process to process, so that nobody can
// choose ids that share a place.
func indexHash(id string) uint32 { return uint32(maphash.String(indexSeed, id)) }

// first returns the first slot that may be that of an id with the hash, and noSlot if there is
// none. Further ones follow with next.
func (x *idIndex) first(hash uint32) (slot uint32, at indexCursor) {
	if x.segments == nil {
		return noSlot, at
	}
	at = indexCursor{&x.segments[hash>>(32-segmentBits)], hash, hash}
	slot = at.next()
	return slot, at
}

// home returns the first place of a look-up, 0 if it is free. It lets a caller load the places of
// many ids before it compares any.
func (x *idIndex) home(hash uint32) uint64 {
	if x.segments == nil {
		return 0
	}
	s := &x.segments[hash>>(32-segmentBits)]
	if len(s.places) == 0 {
		return 0
	}
	return s.places[hash&s.mask()]
}

// grow makes room for n slots in an empty index.
func (x *idIndex) grow(n int) {
	size := minSegmentPlaces
	for size/4*3 < n/indexSegments {
		size *= 2
	}
	x.segments = new([indexSegments]indexSegment)
	for i := range x.segments {
		x.segments[i].places = make([]uint64, size)
	}
}

// indexCursor is a place of a look-up.
type indexCursor struct {
	segment  *indexSegment
	hash, at uint32
}

func (c *indexCursor) next() (slot uint32) {
	places := c.segment.places
	for mask := uint32(len(places) - 1); len(places) > 0; {
		place := places[c.at&mask]
		c.at++
		if place == 0 {
			break
		}
		if place>>32 == uint64(c.hash) {
			return uint32(place) - 1
		}
	}
	return noSlot
}

// add adds a slot. It must not be there.
func (x *idIndex) add(hash, slot uint32) {
	if x.segments == nil {
		x.segments = new([indexSegments]indexSegment)
	}
	s := &x.segments[hash>>(32-segmentBits)]
	if s.n >= len(s.places)/4*3 {
		s.grow()
	}
	s.insert(uint64(hash)<<32 | uint64(slot+1))
	s.n++
	x.n++
}

func (s *indexSegment) grow() {
	old := s.places
	s.places = make([]uint64, max(minSegmentPlaces, 2*len(old)))
	for _, place := range old {
		if place != 0 {
			s.insert(place)
		}
	}
}

// home returns where the place stands in an empty segment.
func (s *indexSegment) home(place uint64) uint32 { return uint32(place>>32) & s.mask() }

func (s *indexSegment) mask() uint32 { return uint32(len(s.places) - 1) }

func (s *indexSegment) insert(place uint64) {
	at := s.home(place)
	for s.places[at] != 0 {
		at = (at + 1) & s.mask()
	}
	s.places[at] = place
}

// remove removes a slot. It must be there.
func (x *idIndex) remove(hash, slot uint32) {
	s := &x.segments[hash>>(32-segmentBits)]
	place := uint64(hash)<<32 | uint64(slot+1)
	at := s.home(place)
	for s.places[at] != place {
		at = (at + 1) & s.mask()
	}
	// Each later place of the run moves up if its look-up would otherwise end at the gap.
	for next := (at + 1) & s.mask(); s.places[next] != 0; next = (next + 1) & s.mask() {
		if home := s.home(s.places[next]); (next-home)&s.mask() >= (next-at)&s.mask() {
			s.places[at], at = s.places[next], next
		}
	}
	s.places[at] = 0
	s.n--
	x.n--
}
