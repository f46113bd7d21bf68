package importfile

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"relish/features/event"
	"relish/ranker"
)

// idMaker gives ids to events that have none, and marks the others by their source.
//
// The id is a hash of the event's content. Rows of one file that are equal get different ids by
// their number, so that two equal purchases count twice in one file, and once in two files that
// overlap.
type idMaker struct {
	source string
	moment int64
	counts recent[uint32] // number of events by the hash of their content
	buf    []byte
}

func newIDMaker(opt Options) idMaker {
	return idMaker{source: opt.Source, moment: opt.Moment, counts: newRecent[uint32]()}
}

// complete sets the id of an event that has none, and puts the source before the id of another.
func (m *idMaker) complete(e *ranker.Event) {
	if e.ID != "" {
		if m.source != "" && e.Kind != ranker.EventImpression {
			e.ID = m.source + ":" + e.ID
		}
		return
	}
	m.buf = event.AppendContent(m.buf[:0], e, e.Time)
	if e.Time == 0 && (e.Kind == ranker.EventItem || e.Kind == ranker.EventUser) {
		m.buf = binary.LittleEndian.AppendUint64(m.buf, uint64(m.moment))
	}
	sum := sha256.Sum256(m.buf)
	e.ID = "row-" + hex.EncodeToString(sum[:12])
	hash := binary.LittleEndian.Uint64(sum[:])
	n, _ := m.counts.get(hash)
	if n > 0 {
		e.ID += fmt.Sprintf("-%d", n+1)
	}
	m.counts.set(hash, n+1)
}

// recent is a map that forgets: when it has generation entries, they become the older ones, and
// those that were older are forgotten. So it finds what was set at most generation entries ago.
type recent[V any] struct{ newer, older map[uint64]V }

// generation is the number of entries in one generation, about 60 MB.
const generation = 2_000_000

func newRecent[V any]() recent[V] { return recent[V]{newer: map[uint64]V{}} }

func (r *recent[V]) get(key uint64) (V, bool) {
	v, ok := r.newer[key]
	if !ok {
		v, ok = r.older[key]
	}
	return v, ok
}

func (r *recent[V]) set(key uint64, v V) {
	if _, ok := r.newer[key]; !ok && len(r.newer) >= generation {
		r.newer, r.older = map[uint64]V{}, r.newer
	}
	r.newer[key] = v
}
