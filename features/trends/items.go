package trends

import (
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/ranker"
)

// itemValues is what is remembered of an item.
type itemValues struct {
	time        uint32 // event time of the text, Unix seconds
	title, text uint32 // hashes of the contents, 0: none
	// packed has the values of the counted fields, three bytes each: the field, and the value's id
	// with the bits gone and uncounted.
	packed string
}

// Marks of a value's id.
const (
	gone      = 0x8000 // the item has the value no more, but its text still counts as that
	uncounted = 0x4000 // the item has the value, but its text is unknown and does not count
)

// of returns the values of a field that the item's text counts as.
func (it itemValues) of(f int) []uint16 { return it.values(f, uncounted) }

// present returns the values of a field that the item has.
func (it itemValues) present(f int) []uint16 { return it.values(f, gone) }

// values returns the values of a field without those that have the mark.
func (it itemValues) values(f int, mark uint16) (ids []uint16) {
	for p := it.packed; len(p) > 0; p = p[3:] {
		id := uint16(p[1]) | uint16(p[2])<<8
		if int(p[0]) == f && id&mark == 0 {
			ids = append(ids, id&^(gone|uncounted))
		}
	}
	return ids
}

// set replaces the values of a field.
func (it *itemValues) set(f int, ids []uint16, mark uint16) {
	var packed []byte
	for p := it.packed; len(p) > 0; p = p[3:] {
		if int(p[0]) != f {
			packed = append(packed, p[:3]...)
		}
	}
	for _, id := range ids {
		packed = binary.LittleEndian.AppendUint16(append(packed, byte(f)), id|mark)
	}
	it.packed = string(packed)
}

// contentHash returns a hash of a content, 0 only for an empty one.
func contentHash(s string) uint32 {
	if s == "" {
		return 0
	}
	return max(1, uint32(xxhash.Sum64String(s)))
}

// applyItem takes what an item event says. An event that is older than the text is left out, as the
// newest event wins in the state.
func (c *Counts) applyItem(e *ranker.Event, at int64) {
	id := xxhash.Sum64String(e.ItemID)
	it, known := c.items[id]
	seconds := uint32(max(0, at/1000))
	if known && seconds < it.time {
		return
	}
	before := it
	if e.Replace {
		it.title, it.text = 0, 0
	}
	if e.Title != nil {
		it.title = contentHash(*e.Title)
	}
	if e.Text != nil {
		it.text = contentHash(*e.Text)
	}
	newText := !known || it.title != before.title || it.text != before.text
	for f := range c.fields {
		c.applyField(&it, f, e, at, newText)
	}
	if newText {
		it.time = seconds
	}
	c.put(id, it)
	if c.itemMemory() > maxItemMemory {
		c.forgetOldest()
	}
}

// put remembers an item.
func (c *Counts) put(id uint64, it itemValues) {
	c.valueBytes += len(it.packed) - len(c.items[id].packed)
	c.items[id] = it
}

// forget removes an item.
func (c *Counts) forget(id uint64) {
	c.valueBytes -= len(c.items[id].packed)
	delete(c.items, id)
}

// itemMemory returns about how many bytes the remembered items take.
func (c *Counts) itemMemory() int { return len(c.items)*itemEntryBytes + c.valueBytes }

// applyField takes what an item event says of one field, and counts it.
func (c *Counts) applyField(it *itemValues, f int, e *ranker.Event, at int64, newText bool) {
	v, said := fieldOf(e, c.fields[f].name)
	label := said && isLabel(e, c.fields[f].name)
	if label && it.title == 0 && it.text == 0 {
		// The text is in another replica's log, or was dropped: it counts there, or has counted.
		it.set(f, c.valueIDs(f, v), uncounted)
		return
	}
	old := it.of(f)
	ids := old
	switch {
	case said:
		ids = c.valueIDs(f, v)
		it.set(f, ids, 0)
	case e.Replace && newText:
		ids = nil
		it.set(f, nil, 0)
	case newText:
		ids = it.present(f)
		it.set(f, ids, 0)
	case e.Replace:
		it.set(f, old, gone)
	}
	switch {
	case newText:
		c.count(f, 0, ids, at)
	case !said || slices.Equal(ids, old):
	case label:
		c.move(f, old, ids, int64(it.time)*1000)
	default:
		c.count(f, 0, ids, at)
	}
}

// fieldOf returns what an item event says of a field. "tags" is the item's tags unless a field has
// that name.
func fieldOf(e *ranker.Event, name string) (v ranker.FieldValue, said bool) {
	if v, said = e.Fields[name]; said || name != "tags" || e.Tags == nil {
		return v, said
	}
	return ranker.StringsValue(e.Tags), true
}

// isLabel reports whether an item event sets a field as the label of a known text.
func isLabel(e *ranker.Event, name string) bool {
	_, found := e.Fields[name+LabelSuffix]
	return found && e.Title == nil && e.Text == nil
}

// forgetOldest forgets about an eighth of the items: those with the oldest texts.
func (c *Counts) forgetOldest() {
	times := make([]uint32, 0, len(c.items))
	for _, it := range c.items {
		times = append(times, it.time)
	}
	slices.Sort(times)
	last := times[len(times)/8]
	for id, it := range c.items {
		if it.time <= last {
			c.forget(id)
		}
	}
}
