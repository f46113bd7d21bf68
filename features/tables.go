package features

import (
	"cmp"
	"slices"
	"unique"

	"relish/ranker"
)

// Counters are what every replica holds whole: the counters of everything together and of each value of
// the counted fields. They are bounded by Config.FieldValues. Concurrent use is as for State.
type Counters struct {
	cfg        Config
	layoutHash uint64 // of what decides the meaning of counters
	layout     counterLayout
	values     []map[string]*decayedCounts // by counted field
	global     decayedCounts
	created    uint64 // how many entries of values were ever made; none is removed or moved

	changed  map[CounterKey]struct{} // since TakeChanged, nil while nobody asked for it
	programs programs
	external externalTables
}

// CounterKey names one entry of the tables: a value of the counted field with this index, or with index -1
// the counters of everything together.
type CounterKey struct {
	Field int
	Value string
}

// globalKey is the entry of all together.
var globalKey = CounterKey{Field: -1}

// NewCounters returns empty tables. cfg must be valid.
func NewCounters(cfg Config) *Counters {
	t := &Counters{cfg: cfg, layoutHash: cfg.layoutHash(), layout: newLayout(&cfg)}
	for range cfg.Fields {
		t.values = append(t.values, map[string]*decayedCounts{})
	}
	return t
}

// Config returns what is counted.
func (t *Counters) Config() Config { return t.cfg }

// Len returns how many field values are counted.
func (t *Counters) Len() (n int) {
	for _, m := range t.values {
		n += len(m)
	}
	return n
}

// countValue counts one event for a field's value, unless the field has no room for another value.
func (t *Counters) countValue(field int, v string, kind int, at int64) {
	if c := t.getOrCreate(CounterKey{field, v}); c != nil {
		t.layout.add(c, kind, at)
		t.markChanged(CounterKey{field, v})
	}
}

// getOrCreate finds an entry's counters, made if there is room, else nil.
func (t *Counters) getOrCreate(v CounterKey) *decayedCounts {
	if v.Field < 0 {
		return &t.global
	}
	c := t.values[v.Field][v.Value]
	if c == nil && len(t.values[v.Field]) < t.cfg.FieldValues {
		c = &decayedCounts{}
		t.values[v.Field][v.Value] = c
		t.created++
	}
	return c
}

func (t *Counters) markChanged(v CounterKey) {
	if t.changed != nil {
		t.changed[v] = struct{}{}
	}
}

// TakeChanged returns the entries that changed since the last call, in a fixed order. The first call
// returns all there are, and starts the watch.
func (t *Counters) TakeChanged() []CounterKey {
	if t.changed == nil {
		t.changed = map[CounterKey]struct{}{}
		return t.Keys()
	}
	out := make([]CounterKey, 0, len(t.changed))
	for v := range t.changed {
		out = append(out, v)
	}
	clear(t.changed)
	slices.SortFunc(out, compareKeys)
	return out
}

// Keys returns all entries in a fixed order.
func (t *Counters) Keys() []CounterKey {
	out := []CounterKey{globalKey}
	for f, m := range t.values {
		for _, v := range sortedKeys(m) {
			out = append(out, CounterKey{f, v})
		}
	}
	return out
}

func compareKeys(a, b CounterKey) int {
	return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Value, b.Value))
}

// SetSum sets the entry to the sum of what parts hold for it.
func (t *Counters) SetSum(v CounterKey, parts ...*Counters) {
	to := t.getOrCreate(v)
	if to == nil {
		return
	}
	sum := decayedCounts{}
	for _, p := range parts {
		if c := p.lookup(v); c != nil {
			t.layout.merge(&sum, c)
		}
	}
	*to = sum
}

func (t *Counters) lookup(v CounterKey) *decayedCounts {
	if v.Field < 0 {
		return &t.global
	}
	return t.values[v.Field][v.Value]
}

// fieldValue is a value of a counted field, which many items share: it is there once, and is compared by its place.
type fieldValue = unique.Handle[string]

// Content is an item's content as it is read: shared and immutable.
type Content struct {
	Info   *ranker.ItemInfo // nil: nobody has described the item
	Hash   uint64           // of the packed content, 0 without Info or where nobody asked for it
	values [][]fieldValue   // by counted field: the item's values

	prepared *prepared // nil without Info
}

func (t *Counters) content(item ranker.Item) Content {
	info := ranker.NewItemInfo(item, t.cfg.Text)
	return Content{Info: info, values: fieldValuesOf(info, t.cfg.Fields), prepared: &prepared{}}
}

// LayoutHash identifies what is counted: state under another hash cannot be read.
func (t *Counters) LayoutHash() uint64 { return t.layoutHash }
