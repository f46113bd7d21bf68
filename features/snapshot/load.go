package snapshot

import (
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/go-json-experiment/json"

	"relish/features"
	"relish/ranker"
)

// loader is a snapshot being read: rows by id, in the order of their files.
type loader struct {
	cfg     features.Config
	items   []features.ItemRow
	users   []features.UserRow
	itemAt  map[string]int
	userAt  map[string]int
	tables  map[string]*features.Counters // by replica
	columns int
}

// loadFiles reads the files, which are verified, into memory.
func loadFiles(dir string, m *Manifest, cfg features.Config) (*features.Dump, error) {
	names := features.NewCounters(cfg).CounterNames()
	l := &loader{cfg: cfg, itemAt: map[string]int{}, userAt: map[string]int{}, tables: map[string]*features.Counters{}, columns: len(names)}
	for replica := range m.Replicas {
		l.tables[replica] = features.NewCounters(cfg)
	}
	for _, f := range []struct {
		name   string
		schema *arrow.Schema
		each   func(arrow.Record) error
	}{
		{itemsFile, itemsSchema, l.readItems}, {usersFile, usersSchema, l.readUsers},
		{historyFile, historySchema, l.readHistory}, {countersFile, countersSchema(names), l.readCounters},
	} {
		if err := read(dir, f.name, f.schema, f.each); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
	}
	d := &features.Dump{Config: cfg, Arrival: m.Arrival, Items: rows(l.items), Users: rows(l.users)}
	for replica, seq := range m.Replicas {
		d.Parts = append(d.Parts, features.CounterPart{Replica: replica, Seq: seq, Counters: l.tables[replica]})
	}
	return d, nil
}

func rows[T any](list []T) func(func(T, error) bool) {
	return func(yield func(T, error) bool) {
		for _, r := range list {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Columns of a record, by their number in the schema, which has been checked.
func stringColumn(r arrow.Record, i int) *array.String { return r.Column(i).(*array.String) }
func intColumn(r arrow.Record, i int) *array.Int64     { return r.Column(i).(*array.Int64) }
func boolColumn(r arrow.Record, i int) *array.Boolean  { return r.Column(i).(*array.Boolean) }

// cloneString copies a string out of its batch, which it would else keep alive.
func cloneString(c *array.String, i int) string { return strings.Clone(c.Value(i)) }

func decodeObject[T any](c *array.String, i int, name string) (m map[string]T, err error) {
	v := c.Value(i)
	if v == "{}" {
		return nil, nil
	}
	if err = json.Unmarshal([]byte(v), &m); err != nil {
		err = fmt.Errorf("row %d, %s: %w", i, name, err)
	}
	return m, err
}

func (l *loader) readItems(rec arrow.Record) (err error) {
	id, described, title, text := stringColumn(rec, 0), boolColumn(rec, 1), stringColumn(rec, 2), stringColumn(rec, 3)
	tags := rec.Column(4).(*array.List)
	words := tags.ListValues().(*array.String)
	for i := range int(rec.NumRows()) {
		r := features.ItemRow{Item: ranker.Item{ID: cloneString(id, i), Title: cloneString(title, i), Text: cloneString(text, i)}, Described: described.Value(i),
			Time: intColumn(rec, 6).Value(i), First: intColumn(rec, 8).Value(i), Seen: intColumn(rec, 9).Value(i)}
		if tags.IsValid(i) {
			from, to := tags.ValueOffsets(i)
			r.Item.Tags = make([]string, 0, to-from)
			for k := from; k < to; k++ {
				r.Item.Tags = append(r.Item.Tags, cloneString(words, int(k)))
			}
		}
		if r.Item.Fields, err = decodeObject[ranker.FieldValue](stringColumn(rec, 5), i, "fields"); err != nil {
			return err
		}
		if r.Times, err = decodeObject[int64](stringColumn(rec, 7), i, "times"); err != nil {
			return err
		}
		l.itemAt[r.Item.ID] = len(l.items)
		l.items = append(l.items, r)
	}
	return nil
}

func (l *loader) readUsers(rec arrow.Record) (err error) {
	for i := range int(rec.NumRows()) {
		r := features.UserRow{ID: cloneString(stringColumn(rec, 0), i), Seen: intColumn(rec, 3).Value(i)}
		if r.Fields, err = decodeObject[ranker.FieldValue](stringColumn(rec, 1), i, "fields"); err != nil {
			return err
		}
		if r.Times, err = decodeObject[int64](stringColumn(rec, 2), i, "times"); err != nil {
			return err
		}
		l.userAt[r.ID] = len(l.users)
		l.users = append(l.users, r)
	}
	return nil
}

func (l *loader) readHistory(rec arrow.Record) error {
	user, kind, item, action, time := stringColumn(rec, 0), stringColumn(rec, 1), stringColumn(rec, 2), stringColumn(rec, 3), intColumn(rec, 4)
	for i := range int(rec.NumRows()) {
		at, known := l.userAt[user.Value(i)]
		if !known {
			return fmt.Errorf("row %d is of a user that %s does not have", i, usersFile)
		}
		u := &l.users[at]
		switch kind.Value(i) {
		case kindInteraction:
			u.Recent = append(u.Recent, ranker.Interaction{Item: cloneString(item, i), Action: cloneString(action, i), Time: time.Value(i), Value: rec.Column(5).(*array.Float32).Value(i)})
		case kindShown:
			u.Shown = append(u.Shown, ranker.Shown{Item: cloneString(item, i), Time: time.Value(i), Clicked: boolColumn(rec, 6).Value(i)})
		default:
			return fmt.Errorf("row %d has the kind %q", i, kind.Value(i))
		}
	}
	return nil
}

func (l *loader) readCounters(rec arrow.Record) error {
	scope, replica, id, value := stringColumn(rec, 0), stringColumn(rec, 1), stringColumn(rec, 2), stringColumn(rec, 4)
	field := rec.Column(3).(*array.Int32)
	columns := make([]*array.Float64, l.columns)
	for k := range columns {
		columns[k] = rec.Column(7 + k).(*array.Float64)
	}
	for i := range int(rec.NumRows()) {
		c := features.CounterRow{Ref: intColumn(rec, 6).Value(i), Values: make([]float64, l.columns)}
		for k := range columns {
			c.Values[k] = columns[k].Value(i)
		}
		v := features.CounterKey{Field: int(field.Value(i)), Value: cloneString(value, i)}
		if err := l.setCounters(scope.Value(i), replica.Value(i), id.Value(i), v, intColumn(rec, 5).Value(i), c); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	return nil
}

// setCounters puts counters where they belong.
func (l *loader) setCounters(scope, replica, id string, v features.CounterKey, seen int64, c features.CounterRow) error {
	item, isItem := l.itemAt[id]
	user, isUser := l.userAt[id]
	switch {
	case scope == scopeItem && isItem:
		l.items[item].Counters = c
	case scope == scopeUser && isUser:
		l.users[user].Counters = c
	case scope == scopeUserField && isUser:
		l.users[user].Values = append(l.users[user].Values, features.UserValueRow{CounterKey: v, Seen: seen, Counters: c})
	case (scope == scopeField || scope == scopeGlobal) && l.tables[replica] != nil:
		return l.tables[replica].SetRow(v, c)
	default:
		return fmt.Errorf("scope %q names nothing that the snapshot has", scope)
	}
	return nil
}
