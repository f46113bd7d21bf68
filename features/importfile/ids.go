package importfile

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/ranker"
)

// idMaker gives ids to events that have none, and checks the ids of the others.
//
// The id is a hash of the event's content. Rows of one file that are equal get different ids by
// their number, so that two equal purchases count twice in one file, and once in two files that
// overlap.
type idMaker struct {
	source string
	moment int64
	counts recent[uint32] // number of events by the hash of their content
	ids    recent[uint64] // hash of the content by the hash of the id
	buf    []byte
}

func newIDMaker(opt Options) idMaker {
	return idMaker{
		source: opt.Source, moment: opt.Moment, counts: newRecent[uint32](),
		ids: newRecent[uint64](),
	}
}

// complete sets the id of an event that has none, and marks the ids that the file gives by their
// source. It returns an error for an id that the file gave to another event.
func (m *idMaker) complete(e *ranker.Event) *ranker.EventError {
	m.buf = appendContent(m.buf[:0], e)
	if e.ID != "" {
		return m.check(e)
	}
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
	return nil
}

// check compares the content of an event with that of an earlier one with its id.
func (m *idMaker) check(e *ranker.Event) *ranker.EventError {
	id, content := xxhash.Sum64String(e.ID), xxhash.Sum64(m.buf)
	switch before, known := m.ids.get(id); {
	case known && before != content:
		return &ranker.EventError{
			Code: "id_conflict", Pointer: "/" + nameID,
			Message: fmt.Sprintf("%.40q is the id of another event of this file: ids must be "+
				"different. With --columns id= the rows of a table get other ids", e.ID),
		}
	case !known:
		m.ids.set(id, content)
	}
	if m.source != "" && e.Kind != ranker.EventImpression {
		e.ID = m.source + ":" + e.ID
	}
	return nil
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

// appendContent appends the content of an event without its id. Events get equal bytes exactly if
// they say the same. The form is part of the ids in event logs: do not change it.
func appendContent(b []byte, e *ranker.Event) []byte {
	for _, s := range []string{
		string(e.Kind), e.UserID, e.ItemID, e.Action, e.Session, e.ImpressionID,
	} {
		b = appendText(b, s)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Time))
	if e.Value != nil {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(*e.Value))
	}
	for _, s := range []*string{e.Title, e.Text} {
		if s != nil {
			b = appendText(append(b, 't'), *s)
		}
		b = append(b, 0)
	}
	b = appendTexts(b, e.Tags)
	b = appendFields(b, e.Fields)
	if imp := e.Impression; imp != nil {
		b = appendTexts(b, imp.Items)
		b = appendFields(b, imp.Context)
		b = appendText(b, imp.Model)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

func appendFields(b []byte, fields map[string]ranker.FieldValue) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(fields)))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		v := fields[name]
		b = append(appendText(b, name), byte(v.Kind))
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v.Num))
		b = appendTexts(appendText(b, v.Str), v.List)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(v.Nums)))
		for _, x := range v.Nums {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
		}
	}
	return b
}
