package ingest

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"

	"relish/features"
	"relish/features/event"
)

// recentIDs remembers the identities of the last events by arrival. With four million of them, one
// new id in 4.6 * 10^12 is mistaken for a known one.
type recentIDs struct {
	// contents holds the content of every remembered event by the hash of its id. Only the log's
	// owner goroutine changes it, with Ingester.mu held.
	contents map[uint64]uint64
	// ring holds the hashes of the durable ids only, because a checkpoint must not remember an id
	// whose event was never acknowledged. Ingester.mu guards it.
	ring []uint64
	next int // position of the oldest id in a full ring
	max  int
	// oldest is the number of ids that left the ring before the oldest one in it.
	oldest uint64
}

func newRecentIDs(limit int) *recentIDs {
	return &recentIDs{max: limit, contents: map[uint64]uint64{}}
}

// known says what is known of an id.
type known int

const (
	newID    known = iota // it was not seen before
	repeated              // the same event was seen before
	conflict              // another event has this id
)

// admit remembers an event with a new id, and reports whether it is new.
func (r *recentIDs) admit(id event.Identity) known {
	before, found := r.contents[id.ID]
	switch {
	case !found:
		r.contents[id.ID] = id.Content
		return newID
	case id.Repeats(event.Identity{ID: id.ID, Content: before}):
		return repeated
	}
	return conflict
}

// commit adds an admitted id to the ring. It replaces the oldest id of a full ring.
func (r *recentIDs) commit(id uint64) {
	if len(r.ring) < r.max {
		r.ring = append(r.ring, id)
		return
	}
	delete(r.contents, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % r.max
	r.oldest++
}

// forget drops the newest n ids.
func (r *recentIDs) forget(n uint64) {
	n = min(n, uint64(len(r.ring)))
	ordered := append(slices.Clone(r.ring[r.next:]), r.ring[:r.next]...)
	kept := len(ordered) - int(n)
	for _, id := range ordered[kept:] {
		delete(r.contents, id)
	}
	r.ring, r.next = ordered[:kept], 0
}

// abort drops an id that did not become durable.
func (r *recentIDs) abort(id uint64) { delete(r.contents, id) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// withContents marks the length of a written ring whose ids are each followed by their content.
// Older versions wrote the ids alone.
const withContents = 1 << 63

// idsCopy copies the identities in the ring in steps, while further ids are committed. An id that
// leaves the ring before the copy comes to it is left out: it is forgotten anyway when the later
// records are read again.
type idsCopy struct {
	ids     *recentIDs
	next    uint64 // of the ids by their number since the first one
	end     uint64
	entries []byte // id and content of each, from the oldest on
}

// idsAtOnce is the number of ids that one step of a copy takes. It takes about a millisecond.
const idsAtOnce = 4096

// beginCopy begins a copy of the ids that are in the ring now.
func (r *recentIDs) beginCopy() *idsCopy {
	n := uint64(len(r.ring))
	return &idsCopy{ids: r, next: r.oldest, end: r.oldest + n, entries: make([]byte, 0, 16*n)}
}

// step copies the next ids. It is false when all are copied. Ingester.mu must be held.
func (c *idsCopy) step() bool {
	r := c.ids
	c.next = max(c.next, r.oldest)
	for stop := min(c.end, c.next+idsAtOnce); c.next < stop; c.next++ {
		id := r.ring[(uint64(r.next)+c.next-r.oldest)%uint64(len(r.ring))]
		c.entries = binary.LittleEndian.AppendUint64(c.entries, id)
		c.entries = binary.LittleEndian.AppendUint64(c.entries, r.contents[id])
	}
	return c.next < c.end
}

// write writes the number of ids, their identities from the oldest on, and a CRC-32C.
func (c *idsCopy) write(w io.Writer) error {
	head := binary.LittleEndian.AppendUint64(nil, withContents|uint64(len(c.entries)/16))
	sum := crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, c.entries)
	for _, part := range [][]byte{head, c.entries, binary.LittleEndian.AppendUint32(nil, sum)} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// read adds the identities that write wrote. Those of an older version have no content: whatever
// comes with such an id counts as a repeat.
func (r *recentIDs) read(in io.Reader) error {
	head := make([]byte, 8)
	if _, err := io.ReadFull(in, head); err != nil {
		return features.ErrCorrupt
	}
	n, size := binary.LittleEndian.Uint64(head), uint64(8)
	if n&withContents != 0 {
		n, size = n&^withContents, 16
	}
	if n > 100_000_000 {
		return features.ErrCorrupt
	}
	body := make([]byte, size*n+4)
	if _, err := io.ReadFull(in, body); err != nil {
		return features.ErrCorrupt
	}
	sum := crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, body[:size*n])
	if sum != binary.LittleEndian.Uint32(body[size*n:]) {
		return features.ErrCorrupt
	}
	for entry := range slices.Chunk(body[:size*n], int(size)) {
		id := event.Identity{ID: binary.LittleEndian.Uint64(entry)}
		if size > 8 {
			id.Content = binary.LittleEndian.Uint64(entry[8:])
		}
		r.admit(id)
		r.commit(id.ID)
	}
	return nil
}

// Deduplicator detects duplicates among records of several logs that are read in the order of
// arrival, by the same rule as an Ingester. It is not safe for concurrent use.
type Deduplicator struct {
	ids       *recentIDs
	conflicts int
}

// NewDeduplicator returns a Deduplicator that remembers the last limit ids.
func NewDeduplicator(limit int) *Deduplicator { return &Deduplicator{ids: newRecentIDs(limit)} }

// Add remembers the record's event and reports whether it is new. It is not if another record had
// its id: as a repeat, or as a conflict that neither replica could see.
func (s *Deduplicator) Add(rec *event.Record) bool {
	id := event.IdentityOf(&rec.Event, rec.Arrival)
	switch s.ids.admit(id) {
	case newID:
		s.ids.commit(id.ID)
		return true
	case conflict:
		s.conflicts++
	}
	return false
}

// Conflicts returns the number of records so far whose id another event had before.
func (s *Deduplicator) Conflicts() int { return s.conflicts }
