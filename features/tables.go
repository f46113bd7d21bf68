package features

import (
	"cmp"
	"slices"
	"unique"

	"relish/ranker"
)

// Tables are what every replica holds whole: the counters of everything together and of each value of
// the counted fields. They are bounded by Config.FieldValues. Concurrent use is as for State.
type Tables struct {
	cfg    Config
	hash   uint64 // of what decides the meaning of counters
	layout layout
	values []map[string]*counts // by counted field
	global counts
	made   uint64 // how many entries of values were ever made; none is removed or moved

	changed  map[Value]struct{} // since TakeChanged, nil while nobody asked for it
	programs programs
	imported imported
}

// Value names one entry of the tables: a value of the counted field with this index, or with index -1
// the counters of everything together.
type Value struct {
	Field int
	Value string
}

// everything is the entry of all together.
var everything = Value{Field: -1}

// NewTables returns empty tables. cfg must be valid.
func NewTables(cfg Config) *Tables {
	t := &Tables{cfg: cfg, hash: cfg.layoutHash(), layout: newLayout(&cfg)}
	for range cfg.Fields {
		t.values = append(t.values, map[string]*counts{})
	}
	return t
}

// Config returns what is counted.
func (t *Tables) Config() Config { return t.cfg }

// Len returns how many field values are counted.
func (t *Tables) Len() (n int) {
	for _, m := range t.values {
		n += len(m)
	}
	return n
}

// countValue counts one event for a field's value, unless the field has no room for another value.
func (t *Tables) countValue(field int, v string, kind int, at int64) {
	if c := t.entry(Value{field, v}); c != nil {
		t.layout.add(c, kind, at)
		t.touch(Value{field, v})
	}
}

// entry finds an entry's counters, made if there is room, else nil.
func (t *Tables) entry(v Value) *counts {
	if v.Field < 0 {
		return &t.global
	}
	c := t.values[v.Field][v.Value]
	if c == nil && len(t.values[v.Field]) < t.cfg.FieldValues {
		c = &counts{}
		t.values[v.Field][v.Value] = c
		t.made++
	}
	return c
}

func (t *Tables) touch(v Value) {
	if t.changed != nil {
		t.changed[v] = struct{}{}
	}
}

// TakeChanged returns the entries that changed since the last call, in a fixed order. The first call
// returns all there are, and starts the watch.
func (t *Tables) TakeChanged() []Value {
	if t.changed == nil {
		t.changed = map[Value]struct{}{}
		return t.Values()
	}
	out := make([]Value, 0, len(t.changed))
	for v := range t.changed {
		out = append(out, v)
	}
	clear(t.changed)
	slices.SortFunc(out, compareValues)
	return out
}

// Values returns all entries in a fixed order.
func (t *Tables) Values() []Value {
	out := []Value{everything}
	for f, m := range t.values {
		for _, v := range sortedKeys(m) {
			out = append(out, Value{f, v})
		}
	}
	return out
}

func compareValues(a, b Value) int {
	return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Value, b.Value))
}

// SetSum sets the entry to the sum of what parts hold for it.
func (t *Tables) SetSum(v Value, parts ...*Tables) {
	to := t.entry(v)
	if to == nil {
		return
	}
	sum := counts{}
	for _, p := range parts {
		if c := p.lookup(v); c != nil {
			t.layout.merge(&sum, c)
		}
	}
	*to = sum
}

func (t *Tables) lookup(v Value) *counts {
	if v.Field < 0 {
		return &t.global
	}
	return t.values[v.Field][v.Value]
}

// word is a value of a counted field, which many items share: it is there once, and is compared by its place.
type word = unique.Handle[string]

// Content is an item's content as it is read: shared and immutable.
type Content struct {
	Info   *ranker.ItemInfo // nil: nobody has described the item
	Hash   uint64           // of the packed content, 0 without Info or where nobody asked for it
	values [][]word         // by counted field: the item's values

	prepared *prepared // nil without Info
}

func (t *Tables) content(item ranker.Item) Content {
	info := ranker.NewItemInfo(item, t.cfg.Text)
	return Content{Info: info, values: valuesOf(info, t.cfg.Fields), prepared: &prepared{}}
}

// Hash identifies what is counted: state under another hash cannot be read.
func (t *Tables) Hash() uint64 { return t.hash }
