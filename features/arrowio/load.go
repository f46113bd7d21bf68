package arrowio

import (
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/go-json-experiment/json"

	"relish/features"
	"relish/ranker"
)

// loading is a snapshot being read: rows by id, in the order of their files.
type loading struct {
	cfg     features.Config
	items   []features.ItemRow
	users   []features.UserRow
	itemAt  map[string]int
	userAt  map[string]int
	tables  map[string]*features.Tables // by replica
	columns int
}

// loadFiles reads the files, which are verified, into memory.
func loadFiles(dir string, m *Manifest, cfg features.Config) (*features.Dump, error) {
	names := features.NewTables(cfg).CounterNames()
	l := &loading{cfg: cfg, itemAt: map[string]int{}, userAt: map[string]int{}, tables: map[string]*features.Tables{}, columns: len(names)}
	for replica := range m.Replicas {
		l.tables[replica] = features.NewTables(cfg)
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
		d.Parts = append(d.Parts, features.Part{Replica: replica, Seq: seq, Tables: l.tables[replica]})
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
func strs(r arrow.Record, i int) *array.String   { return r.Column(i).(*array.String) }
func nums(r arrow.Record, i int) *array.Int64    { return r.Column(i).(*array.Int64) }
func flags(r arrow.Record, i int) *array.Boolean { return r.Column(i).(*array.Boolean) }

// str copies a string out of its batch, which it would else keep alive.
func str(c *array.String, i int) string { return strings.Clone(c.Value(i)) }

func object[T any](c *array.String, i int, name string) (m map[string]T, err error) {
	v := c.Value(i)
	if v == "{}" {
		return nil, nil
	}
	if err = json.Unmarshal([]byte(v), &m); err != nil {
		err = fmt.Errorf("row %d, %s: %w", i, name, err)
	}
	return m, err
}

func (l *loading) readItems(rec arrow.Record) (err error) {
	id, described, title, text := strs(rec, 0), flags(rec, 1), strs(rec, 2), strs(rec, 3)
	tags := rec.Column(4).(*array.List)
	words := tags.ListValues().(*array.String)
	for i := range int(rec.NumRows()) {
		r := features.ItemRow{Item: ranker.Item{ID: str(id, i), Title: str(title, i), Text: str(text, i)}, Described: described.Value(i),
			Time: nums(rec, 6).Value(i), First: nums(rec, 8).Value(i), Seen: nums(rec, 9).Value(i)}
		if tags.IsValid(i) {
			from, to := tags.ValueOffsets(i)
			r.Item.Tags = make([]string, 0, to-from)
			for k := from; k < to; k++ {
				r.Item.Tags = append(r.Item.Tags, str(words, int(k)))
			}
		}
		if r.Item.Fields, err = object[ranker.Value](strs(rec, 5), i, "fields"); err != nil {
			return err
		}
		if r.Times, err = object[int64](strs(rec, 7), i, "times"); err != nil {
			return err
		}
		l.itemAt[r.Item.ID] = len(l.items)
		l.items = append(l.items, r)
	}
	return nil
}

func (l *loading) readUsers(rec arrow.Record) (err error) {
	for i := range int(rec.NumRows()) {
		r := features.UserRow{ID: str(strs(rec, 0), i), Seen: nums(rec, 3).Value(i)}
		if r.Fields, err = object[ranker.Value](strs(rec, 1), i, "fields"); err != nil {
			return err
		}
		if r.Times, err = object[int64](strs(rec, 2), i, "times"); err != nil {
			return err
		}
		l.userAt[r.ID] = len(l.users)
		l.users = append(l.users, r)
	}
	return nil
}

func (l *loading) readHistory(rec arrow.Record) error {
	user, kind, item, action, time := strs(rec, 0), strs(rec, 1), strs(rec, 2), strs(rec, 3), nums(rec, 4)
	for i := range int(rec.NumRows()) {
		at, known := l.userAt[user.Value(i)]
		if !known {
			return fmt.Errorf("row %d is of a user that %s does not have", i, usersFile)
		}
		u := &l.users[at]
		switch kind.Value(i) {
		case kindInteraction:
			u.Recent = append(u.Recent, ranker.Interaction{Item: str(item, i), Action: str(action, i), Time: time.Value(i), Value: rec.Column(5).(*array.Float32).Value(i)})
		case kindShown:
			u.Shown = append(u.Shown, ranker.Shown{Item: str(item, i), Time: time.Value(i), Clicked: flags(rec, 6).Value(i)})
		default:
			return fmt.Errorf("row %d has the kind %q", i, kind.Value(i))
		}
	}
	return nil
}

func (l *loading) readCounters(rec arrow.Record) error {
	scope, replica, id, value := strs(rec, 0), strs(rec, 1), strs(rec, 2), strs(rec, 4)
	field := rec.Column(3).(*array.Int32)
	columns := make([]*array.Float64, l.columns)
	for k := range columns {
		columns[k] = rec.Column(7 + k).(*array.Float64)
	}
	for i := range int(rec.NumRows()) {
		c := features.Counters{Ref: nums(rec, 6).Value(i), N: make([]float64, l.columns)}
		for k := range columns {
			c.N[k] = columns[k].Value(i)
		}
		v := features.Value{Field: int(field.Value(i)), Value: str(value, i)}
		if err := l.place(scope.Value(i), replica.Value(i), id.Value(i), v, nums(rec, 5).Value(i), c); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	return nil
}

// place puts counters where they belong.
func (l *loading) place(scope, replica, id string, v features.Value, seen int64, c features.Counters) error {
	item, isItem := l.itemAt[id]
	user, isUser := l.userAt[id]
	switch {
	case scope == scopeItem && isItem:
		l.items[item].Counters = c
	case scope == scopeUser && isUser:
		l.users[user].Counters = c
	case scope == scopeUserField && isUser:
		l.users[user].Values = append(l.users[user].Values, features.UserValueRow{Value: v, Seen: seen, Counters: c})
	case (scope == scopeField || scope == scopeGlobal) && l.tables[replica] != nil:
		return l.tables[replica].SetCounters(v, c)
	default:
		return fmt.Errorf("scope %q names nothing that the snapshot has", scope)
	}
	return nil
}
