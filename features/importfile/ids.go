package importfile

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"

	"relish/ranker"
)

// idMaker gives ids to events that have none.
//
// The id is a hash of the event's content. Rows of one file that are equal get different ids by
// their number, so that two equal purchases count twice in one file, and once in two files that
// overlap.
type idMaker struct {
	source string
	moment int64
	// seen counts the events by hash. When it is full it becomes older, which bounds the memory:
	// equal rows are found if they are at most generation rows away from each other.
	seen, older map[uint64]uint32
	generation  int
	buf         []byte
}

// idGeneration is the number of hashes in one generation, about 60 MB.
const idGeneration = 2_000_000

func newIDMaker(opt Options) idMaker {
	return idMaker{
		source: opt.Source, moment: opt.Moment, seen: map[uint64]uint32{}, generation: idGeneration,
	}
}

// complete sets the id of an event that has none, and marks the ids that the file gives by their
// source.
func (m *idMaker) complete(e *ranker.Event) {
	if e.ID != "" {
		if m.source != "" && e.Kind != ranker.EventImpression {
			e.ID = m.source + ":" + e.ID
		}
		return
	}
	m.buf = appendContent(m.buf[:0], e)
	if e.Time == 0 && (e.Kind == ranker.EventItem || e.Kind == ranker.EventUser) {
		m.buf = binary.LittleEndian.AppendUint64(m.buf, uint64(m.moment))
	}
	sum := sha256.Sum256(m.buf)
	e.ID = "row-" + hex.EncodeToString(sum[:12])
	if n := m.count(binary.LittleEndian.Uint64(sum[:])); n > 0 {
		e.ID += fmt.Sprintf("-%d", n+1)
	}
}

// count returns how often the hash was counted before.
func (m *idMaker) count(hash uint64) uint32 {
	n, ok := m.seen[hash]
	if !ok {
		n = m.older[hash]
		if len(m.seen) >= m.generation {
			m.older, m.seen = m.seen, map[uint64]uint32{}
		}
	}
	m.seen[hash] = n + 1
	return n
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
