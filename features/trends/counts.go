// Package trends counts the values of item fields over time: by hour and by day, from item events
// and from interactions.
//
// Counts is a pure function of an event log and of the names of the counted fields. Follower keeps
// it beside the log of a data folder, in memory and in the file "trends". The file names the record
// up to which it counts, so that each record counts once, also after a crash.
//
// # What counts
//
// The source "items" counts texts. An item counts when it is new and when its title or text
// changes, at the event time, once for each value of a counted field. If a counted field changes
// and the text does not, the item counts for the new value at the time of that event. A label is an
// exception. It follows from the text, so it counts at the time of the text, and another label
// takes the place of the one before. An event brings a label if it has no title and no text and
// sets a field together with the field's name and LabelSuffix.
//
// Every other source is an action. An interaction counts at its event time for the values that the
// item had in the log by then. As everywhere in Relish, an event time after the arrival counts as
// the arrival.
package trends

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"relish/features/event"
	"relish/ranker"
)

// Bounds of Counts. Together they bound its memory to about 160 MB.
const (
	// MaxFields bounds the counted fields. Further ones are not counted.
	MaxFields = 32
	// MaxValues bounds the values of a field that are counted each. All others count as "other".
	MaxValues = 512
	// maxValueBytes bounds the length of a counted value. Longer ones count as "other".
	maxValueBytes = 256
	// maxItemValues bounds the values of one field of an item that count.
	maxItemValues = 32
	// HoursKept and DaysKept are how long the counts by hour and by day are kept, before the newest
	// arrival.
	HoursKept = 35 * 24
	DaysKept  = 2 * 365
	// maxCells bounds the counts, of about 24 bytes each. Above it the oldest hours are dropped.
	maxCells = 1 << 20
	// maxItemMemory bounds the memory, in bytes, of the items whose values are remembered. Above it
	// the ones whose texts are oldest are forgotten. An item takes itemEntryBytes at most, besides
	// 3 bytes for each value.
	maxItemMemory  = 128 << 20
	itemEntryBytes = 120
)

// SourceItems is the source that counts texts of items. All other sources are actions.
const SourceItems = "items"

// LabelSuffix ends the name of the field that has a label's probability.
const LabelSuffix = "_probability"

// Config is the section "trends" of relish.yaml.
type Config struct {
	// Fields are the counted item fields, at most MaxFields; "tags" is the item's tags. Empty: the
	// fields that classifiers write. Fields that alert rules name are counted in any case.
	Fields []string `yaml:"fields"`
}

// Validate returns all problems of the section.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Fields) > MaxFields {
		errs = append(errs, fmt.Errorf("trends.fields: has %d entries; keep at most %d",
			len(c.Fields), MaxFields))
	}
	for i, name := range c.Fields {
		switch {
		case name == "":
			errs = append(errs, fmt.Errorf("trends.fields[%d]: is empty; name an item field", i))
		case slices.Index(c.Fields, name) != i:
			errs = append(errs, fmt.Errorf("trends.fields[%d]: %q occurs twice; remove one", i,
				name))
		}
	}
	return errors.Join(errs...)
}

// Counts counts the values of fields. It is not safe for concurrent use, except that any number of
// reads may run at once while nothing is applied.
type Counts struct {
	fields  []field
	sources []string // SourceItems, then the actions
	hours   buckets  // by hours since 1970 in UTC
	days    buckets  // by days since 1970 in UTC
	items   map[uint64]itemValues
	// valueBytes is the length of what all items have in packed.
	valueBytes int

	replica string // id of the log that seq counts; "": unknown
	seq     uint64 // of the last applied record
	newest  int64  // newest arrival, Unix ms
}

// field is a counted field with the values that are counted each.
type field struct {
	name   string
	ids    map[string]uint16 // from firstValue on
	values []string          // by id - firstValue
}

// New returns empty counts of fields and actions. Fields beyond MaxFields and actions beyond 31 are
// left out.
func New(fields, actions []string) *Counts {
	c := &Counts{
		hours: newBuckets(time.Hour), days: newBuckets(24 * time.Hour),
		items: map[uint64]itemValues{}, sources: []string{SourceItems},
	}
	for _, name := range fields[:min(len(fields), MaxFields)] {
		c.fields = append(c.fields, field{name: name, ids: map[string]uint16{}})
	}
	for _, action := range actions {
		if len(c.sources) < maxSources && !slices.Contains(c.sources, action) {
			c.sources = append(c.sources, action)
		}
	}
	return c
}

// Fields returns the names of the counted fields.
func (c *Counts) Fields() []string {
	names := make([]string, len(c.fields))
	for i := range c.fields {
		names[i] = c.fields[i].name
	}
	return names
}

// Sources returns SourceItems and the counted actions.
func (c *Counts) Sources() []string { return slices.Clone(c.sources) }

// Seq returns the sequence of the last applied record, 0 for none.
func (c *Counts) Seq() uint64 { return c.seq }

// Apply counts one record. Records come in the order of the log. One that was applied already
// changes nothing.
func (c *Counts) Apply(rec *event.Record) {
	if rec.Seq <= c.seq {
		return
	}
	c.seq = rec.Seq
	c.advance(rec.Arrival)
	at := rec.Event.Time
	if at == 0 || at > rec.Arrival {
		at = rec.Arrival
	}
	e := &rec.Event
	switch e.Kind {
	case ranker.EventItem:
		c.applyItem(e, at)
	case ranker.EventDelete:
		c.forget(xxhash.Sum64String(e.ItemID))
	case ranker.EventInteraction:
		source := slices.Index(c.sources, e.Action)
		it, known := c.items[xxhash.Sum64String(e.ItemID)]
		if source <= 0 || !known {
			return
		}
		for f := range c.fields {
			c.count(f, source, it.present(f), at)
		}
	}
}

// count counts an event for the values of one field.
func (c *Counts) count(f, source int, values []uint16, at int64) {
	if len(values) == 0 {
		return
	}
	c.add(f, source, totalID, at)
	for _, v := range values {
		c.add(f, source, v, at)
	}
}

// add counts an event for one value. If there are too many counts then, it drops the oldest hours.
func (c *Counts) add(f, source int, value uint16, at int64) {
	key := cellOf(f, source, value)
	c.hours.add(key, at, c.newest, HoursKept)
	c.days.add(key, at, c.newest, DaysKept)
	for c.hours.cells+c.days.cells > maxCells {
		if !c.hours.dropOldest() && !c.days.dropOldest() {
			break
		}
	}
}

// move takes an event from some values of a field to others. What is no longer kept stays as it is.
func (c *Counts) move(f int, from, to []uint16, at int64) {
	for _, v := range from {
		c.hours.remove(cellOf(f, 0, v), at)
		c.days.remove(cellOf(f, 0, v), at)
	}
	if len(from) > 0 {
		c.hours.remove(cellOf(f, 0, totalID), at)
		c.days.remove(cellOf(f, 0, totalID), at)
	}
	c.count(f, 0, to, at)
}

// advance drops what is too old when a record arrives.
func (c *Counts) advance(arrival int64) {
	before := c.hours.at(c.newest)
	c.newest = max(c.newest, arrival)
	if c.hours.at(c.newest) != before {
		c.hours.dropBefore(c.hours.at(c.newest) - HoursKept + 1)
		c.days.dropBefore(c.days.at(c.newest) - DaysKept + 1)
	}
}

// valueIDs returns the ids of the values of a field, sorted and without repetitions. A new value
// gets an id if there is room, and otherwise counts as otherID.
func (c *Counts) valueIDs(f int, v ranker.FieldValue) []uint16 {
	var ids []uint16
	for _, value := range v.AsStrings() {
		if len(ids) == maxItemValues {
			break
		}
		ids = append(ids, c.fields[f].id(value))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (f *field) id(value string) uint16 {
	id, known := f.ids[value]
	switch {
	case known:
	case len(f.values) == MaxValues || len(value) > maxValueBytes:
		return otherID
	default:
		id = firstValue + uint16(len(f.values))
		value = string([]byte(value)) // it may be a part of a long string
		f.ids[value] = id
		f.values = append(f.values, value)
	}
	return id
}
