package event

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/ranker"
)

// Identity tells a repeat of an event from another event that has its id by mistake. Both parts are
// hashes.
type Identity struct {
	// ID is the hash of the event's source and id. Interactions name impressions by their id alone,
	// so the hash of an impression leaves out the source: its id is unique over all sources.
	ID uint64
	// Content has the hash of the content in the lower half, and in the upper half that of the
	// time that the sender gave, 0 = none. 0 = nothing is known of the content.
	Content uint64
}

// IdentityOf returns the identity of an event that arrived at the time, in Unix ms. A live event
// whose time is its arrival counts as sent without a time, because the log sets such times.
func IdentityOf(e *ranker.Event, arrival int64) Identity {
	b := AppendContent(nil, e, 0)
	if imp := e.Impression; imp != nil {
		b = appendNumbers(appendNumbers(b, imp.Scores), imp.Propensity)
		for _, name := range slices.Sorted(maps.Keys(imp.Experiments)) {
			b = appendText(appendText(b, name), imp.Experiments[name])
		}
	}
	id := Identity{ID: IDHash(e), Content: uint64(uint32(xxhash.Sum64(b)) | 1)}
	if e.Time != 0 && (e.Imported || e.Time != arrival) {
		b = binary.LittleEndian.AppendUint64(b[:0], uint64(e.Time))
		id.Content |= uint64(uint32(xxhash.Sum64(b))|1) << 32
	}
	return id
}

// IDHash returns the part ID of the event's identity.
func IDHash(e *ranker.Event) uint64 {
	if e.Source == "" || e.Kind == ranker.EventImpression {
		return xxhash.Sum64String(e.ID)
	}
	return xxhash.Sum64String(e.Source + "\x00" + e.ID)
}

// Repeats reports whether two events with the same id can be the same event: their contents are
// equal as far as they are known. A repeat may lack the time.
func (i Identity) Repeats(other Identity) bool {
	if i.Content == 0 || other.Content == 0 {
		return true
	}
	mine, others := i.Content>>32, other.Content>>32
	return uint32(i.Content) == uint32(other.Content) &&
		(mine == others || mine == 0 || others == 0)
}

// AppendContent appends the content of an event without its id, and with the time in place of the
// event's own. Events get equal bytes exactly if they say the same. The form is part of the ids in
// event logs: do not change it.
func AppendContent(b []byte, e *ranker.Event, time int64) []byte {
	for _, s := range []string{
		string(e.Kind), e.UserID, e.ItemID, e.Action, e.Session, e.ImpressionID,
	} {
		b = appendText(b, s)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(time))
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

func appendNumbers(b []byte, list []float64) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
	for _, x := range list {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
	}
	return b
}

func appendFields(b []byte, fields map[string]ranker.FieldValue) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(fields)))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		v := fields[name]
		b = append(appendText(b, name), byte(v.Kind))
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v.Num))
		b = appendNumbers(appendTexts(appendText(b, v.Str), v.List), v.Nums)
	}
	return b
}
