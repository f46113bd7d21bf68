package snapshot

import (
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/go-json-experiment/json"

	"relish/features"
	"relish/internal/arrowfile"
	"relish/ranker"
)

// loader collects the rows of a snapshot in the order of the files.
type loader struct {
	cfg     features.Config
	items   []features.ItemRow
	users   []features.UserRow
	itemAt  map[string]int
	userAt  map[string]int
	parts   map[string]*features.Counters // by replica
	columns int                           // number of counter columns
	version int                           // of the format
}

// loadFiles reads the verified files of a snapshot into memory.
func loadFiles(dir string, m *Manifest, cfg features.Config) (*features.Dump, error) {
	names := features.NewCounters(cfg).CounterNames()
	l := &loader{
		cfg:     cfg,
		itemAt:  map[string]int{},
		userAt:  map[string]int{},
		parts:   map[string]*features.Counters{},
		columns: len(names),
		version: m.Version,
	}
	for replica := range m.Replicas {
		l.parts[replica] = features.NewCounters(cfg)
	}
	for _, f := range []struct {
		name   string
		schema *arrow.Schema
		each   func(arrow.Record) error
	}{
		{itemsFile, itemsSchema, l.readItems}, {usersFile, usersSchema, l.readUsers},
		{historyFile, historySchema, l.readHistory},
		{countersFile, countersSchema(names, m.Version), l.readCounters},
	} {
		if err := arrowfile.Read(dir, f.name, f.schema, f.each); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
	}
	d := &features.Dump{Config: cfg, Arrival: m.Arrival, Items: rows(l.items), Users: rows(l.users)}
	for replica, seq := range m.Replicas {
		d.Parts = append(
			d.Parts, features.CounterPart{Replica: replica, Seq: seq, Counters: l.parts[replica]},
		)
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

// cloneString copies a string out of its batch, which it would else keep alive.

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

func (l *loader) readItems(rec arrow.Record) error {
	id, described := arrowfile.Strings(rec, 0), arrowfile.Bools(rec, 1)
	title, text := arrowfile.Strings(rec, 2), arrowfile.Strings(rec, 3)
	tags, fields := rec.Column(4).(*array.List), arrowfile.Strings(rec, 5)
	tagValues := tags.ListValues().(*array.String)
	time, times := arrowfile.Ints(rec, 6), arrowfile.Strings(rec, 7)
	first, seen := arrowfile.Ints(rec, 8), arrowfile.Ints(rec, 9)
	for i := range int(rec.NumRows()) {
		r := features.ItemRow{
			Item: ranker.Item{
				ID:    arrowfile.CloneString(id, i),
				Title: arrowfile.CloneString(title, i),
				Text:  arrowfile.CloneString(text, i),
			},
			Described: described.Value(i),
			Time:      time.Value(i),
			First:     first.Value(i),
			Seen:      seen.Value(i),
		}
		if tags.IsValid(i) {
			from, to := tags.ValueOffsets(i)
			r.Item.Tags = make([]string, 0, to-from)
			for k := from; k < to; k++ {
				r.Item.Tags = append(r.Item.Tags, arrowfile.CloneString(tagValues, int(k)))
			}
		}
		var err error
		if r.Item.Fields, err = decodeObject[ranker.FieldValue](fields, i, "fields"); err != nil {
			return err
		}
		if r.Times, err = decodeObject[int64](times, i, "times"); err != nil {
			return err
		}
		l.itemAt[r.Item.ID] = len(l.items)
		l.items = append(l.items, r)
	}
	return nil
}

func (l *loader) readUsers(rec arrow.Record) error {
	id, fields := arrowfile.Strings(rec, 0), arrowfile.Strings(rec, 1)
	times, seen := arrowfile.Strings(rec, 2), arrowfile.Ints(rec, 3)
	for i := range int(rec.NumRows()) {
		r := features.UserRow{ID: arrowfile.CloneString(id, i), Seen: seen.Value(i)}
		var err error
		if r.Fields, err = decodeObject[ranker.FieldValue](fields, i, "fields"); err != nil {
			return err
		}
		if r.Times, err = decodeObject[int64](times, i, "times"); err != nil {
			return err
		}
		l.userAt[r.ID] = len(l.users)
		l.users = append(l.users, r)
	}
	return nil
}

func (l *loader) readHistory(rec arrow.Record) error {
	user, kind := arrowfile.Strings(rec, 0), arrowfile.Strings(rec, 1)
	item, action := arrowfile.Strings(rec, 2), arrowfile.Strings(rec, 3)
	time, value := arrowfile.Ints(rec, 4), rec.Column(5).(*array.Float32)
	clicked := arrowfile.Bools(rec, 6)
	for i := range int(rec.NumRows()) {
		at, known := l.userAt[user.Value(i)]
		if !known {
			return fmt.Errorf("row %d belongs to a user who is not in %s", i, usersFile)
		}
		u, itemID := &l.users[at], arrowfile.CloneString(item, i)
		switch kind.Value(i) {
		case kindInteraction:
			u.Recent = append(u.Recent, ranker.Interaction{
				Item: itemID, Action: arrowfile.CloneString(action, i),
				Time: time.Value(i), Value: value.Value(i),
			})
		case kindShown:
			u.Shown = append(u.Shown, ranker.Shown{
				Item: itemID, Time: time.Value(i), Clicked: clicked.Value(i),
			})
		default:
			return fmt.Errorf("row %d has the unknown kind %q", i, kind.Value(i))
		}
	}
	return nil
}

func (l *loader) readCounters(rec arrow.Record) error {
	scope, replica := arrowfile.Strings(rec, 0), arrowfile.Strings(rec, 1)
	id, field := arrowfile.Strings(rec, 2), rec.Column(3).(*array.Int32)
	value, seen, ref := arrowfile.Strings(rec, 4), arrowfile.Ints(rec, 5), arrowfile.Ints(rec, 6)
	columns := make([]*array.Float64, l.columns)
	for k := range columns {
		columns[k] = rec.Column(7 + k).(*array.Float64)
	}
	for i := range int(rec.NumRows()) {
		c := counterRow{
			scope: scope.Value(i), replica: replica.Value(i), id: id.Value(i), seen: seen.Value(i),
			key:    features.CounterKey{Field: int(field.Value(i))},
			counts: features.CounterRow{Ref: ref.Value(i), Values: make([]float64, l.columns)},
		}
		c.key.Value = arrowfile.CloneString(value, i)
		for k := range columns {
			c.counts.Values[k] = columns[k].Value(i)
		}
		if l.version > 1 {
			shown, acted := arrowfile.Ints(rec, 7+l.columns), arrowfile.Ints(rec, 8+l.columns)
			c.counts.Newcomers = features.NewcomerCounts{
				Impressions: uint32(shown.Value(i)), Actions: uint32(acted.Value(i)),
			}
		}
		if err := l.setCounters(&c); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	return nil
}

// setCounters sets the counters of an item, a user, a user's field value or a replica.
func (l *loader) setCounters(c *counterRow) error {
	item, isItem := l.itemAt[c.id]
	user, isUser := l.userAt[c.id]
	part := l.parts[c.replica]
	switch {
	case c.scope == scopeItem && isItem:
		l.items[item].Counters = c.counts
	case c.scope == scopeUser && isUser:
		l.users[user].Counters = c.counts
	case c.scope == scopeUserField && isUser:
		l.users[user].Values = append(l.users[user].Values,
			features.UserValueRow{CounterKey: c.key, Seen: c.seen, Counters: c.counts})
	case (c.scope == scopeField || c.scope == scopeGlobal) && part != nil:
		return part.SetRow(c.key, c.counts)
	default:
		return fmt.Errorf("scope %q names an item, user or replica that the snapshot does not have",
			c.scope)
	}
	return nil
}
