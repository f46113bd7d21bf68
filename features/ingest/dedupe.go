package ingest

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/cespare/xxhash/v2"

	"relish/features"
)

// recentIDs remembers the last event ids by arrival, as 64-bit hashes. With four million of them,
// one new id in 4.6 * 10^12 is mistaken for a known one.
type recentIDs struct {
	// set holds all remembered ids. Only the log's owner goroutine uses it.
	set map[uint64]struct{}
	// ring holds the durable ids only, because a checkpoint must not remember an id whose event was
	// never acknowledged. Ingester.mu guards it.
	ring []uint64
	next int // position of the oldest id in a full ring
	max  int
}

func newRecentIDs(limit int) *recentIDs {
	return &recentIDs{max: limit, set: map[uint64]struct{}{}}
}

// admit remembers id and reports whether it is new.
func (r *recentIDs) admit(id string) bool {
	h := xxhash.Sum64String(id)
	_, known := r.set[h]
	r.set[h] = struct{}{}
	return !known
}

// commit adds an admitted id to the ring. It replaces the oldest id of a full ring.
func (r *recentIDs) commit(id string) { r.push(xxhash.Sum64String(id)) }

func (r *recentIDs) push(h uint64) {
	r.set[h] = struct{}{}
	if len(r.ring) < r.max {
		r.ring = append(r.ring, h)
		return
	}
	delete(r.set, r.ring[r.next])
	r.ring[r.next] = h
	r.next = (r.next + 1) % r.max
}

// abort drops an id that did not become durable.
func (r *recentIDs) abort(id string) { delete(r.set, xxhash.Sum64String(id)) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// write writes the length of the ring, its ids from the oldest on, and a CRC-32C.
func (r *recentIDs) write(w io.Writer) error {
	buf := make([]byte, 0, 8*(len(r.ring)+1)+4)
	buf = binary.LittleEndian.AppendUint64(buf, uint64(len(r.ring)))
	for i := range r.ring {
		buf = binary.LittleEndian.AppendUint64(buf, r.ring[(r.next+i)%len(r.ring)])
	}
	buf = binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf, castagnoli))
	_, err := w.Write(buf)
	return err
}

// read adds the ids that write wrote.
func (r *recentIDs) read(in io.Reader) error {
	head := make([]byte, 8)
	if _, err := io.ReadFull(in, head); err != nil {
		return features.ErrCorrupt
	}
	n := binary.LittleEndian.Uint64(head)
	if n > 100_000_000 {
		return features.ErrCorrupt
	}
	body := make([]byte, 8*n+4)
	if _, err := io.ReadFull(in, body); err != nil {
		return features.ErrCorrupt
	}
	sum := crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, body[:8*n])
	if sum != binary.LittleEndian.Uint32(body[8*n:]) {
		return features.ErrCorrupt
	}
	for i := range n {
		r.push(binary.LittleEndian.Uint64(body[8*i:]))
	}
	return nil
}

// Deduplicator detects duplicates among records that are read in the order of arrival, by the same
// rule as an Ingester. It is not safe for concurrent use.
type Deduplicator struct{ ids *recentIDs }

// NewDeduplicator returns a Deduplicator that remembers the last limit ids.
func NewDeduplicator(limit int) *Deduplicator { return &Deduplicator{newRecentIDs(limit)} }

// Add remembers an id and reports whether it is new.
func (s *Deduplicator) Add(id string) bool {
	if !s.ids.admit(id) {
		return false
	}
	s.ids.commit(id)
	return true
}
