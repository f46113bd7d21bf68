package snapshot

import (
	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"relish/features"
	"relish/internal/arrowfile"
)

var (
	itemsSchema = arrow.NewSchema([]arrow.Field{
		{Name: "item", Type: arrow.BinaryTypes.String},
		{Name: "described", Type: arrow.FixedWidthTypes.Boolean},
		{Name: "title", Type: arrow.BinaryTypes.String},
		{Name: "text", Type: arrow.BinaryTypes.String},
		{
			Name:     "tags",
			Type:     arrow.ListOf(arrow.BinaryTypes.String),
			Nullable: true,
		}, // null: unknown; empty: none
		{
			Name: "fields",
			Type: arrow.BinaryTypes.String,
		}, // a JSON object
		{Name: "time", Type: arrow.PrimitiveTypes.Int64},
		{Name: "times", Type: arrow.BinaryTypes.String}, // a JSON object: event times by part
		{Name: "first", Type: arrow.PrimitiveTypes.Int64},
		{Name: "seen", Type: arrow.PrimitiveTypes.Int64},
	}, nil)
	usersSchema = arrow.NewSchema([]arrow.Field{
		{Name: "user", Type: arrow.BinaryTypes.String},
		{Name: "fields", Type: arrow.BinaryTypes.String},
		{Name: "times", Type: arrow.BinaryTypes.String},
		{Name: "seen", Type: arrow.PrimitiveTypes.Int64},
	}, nil)
	// The rows of a user are consecutive, newest first.
	historySchema = arrow.NewSchema([]arrow.Field{
		{Name: "user", Type: arrow.BinaryTypes.String},
		{Name: "kind", Type: arrow.BinaryTypes.String}, // interaction or shown
		{Name: "item", Type: arrow.BinaryTypes.String},
		{Name: "action", Type: arrow.BinaryTypes.String}, // of an interaction
		{Name: "time", Type: arrow.PrimitiveTypes.Int64},
		{Name: "value", Type: arrow.PrimitiveTypes.Float32},
		{Name: "clicked", Type: arrow.FixedWidthTypes.Boolean}, // of something shown
	}, nil)
)

const (
	kindInteraction = "interaction"
	kindShown       = "shown"
)

// Scopes of the counters file.
const (
	scopeItem      = "item"
	scopeUser      = "user"
	scopeUserField = "user_field"
	scopeField     = "field"
	scopeGlobal    = "global"
)

// countersSchema has one column for each counter name, so it depends on the configuration. Version
// 1 of the format has no counts of newcomers.
func countersSchema(names []string, version int) *arrow.Schema {
	fields := []arrow.Field{
		{Name: "scope", Type: arrow.BinaryTypes.String},
		{
			Name: "replica",
			Type: arrow.BinaryTypes.String,
		}, // for the scopes field and global: the replica that counted
		{Name: "id", Type: arrow.BinaryTypes.String}, // the item or user
		{
			Name: "field",
			Type: arrow.PrimitiveTypes.Int32,
		}, // index of the counted field, -1 for none
		{Name: "value", Type: arrow.BinaryTypes.String}, // of that field
		{Name: "seen", Type: arrow.PrimitiveTypes.Int64},
		{Name: "ref", Type: arrow.PrimitiveTypes.Int64}, // the counts are as of this time, Unix ms
	}
	for _, n := range names {
		fields = append(fields, arrow.Field{Name: n, Type: arrow.PrimitiveTypes.Float64})
	}
	if version > 1 { // included in the counts above; of the scopes item and global
		fields = append(fields,
			arrow.Field{Name: "newcomers:impression", Type: arrow.PrimitiveTypes.Int64},
			arrow.Field{Name: "newcomers:any", Type: arrow.PrimitiveTypes.Int64})
	}
	return arrow.NewSchema(fields, nil)
}

// stateWriter writes the four files of a snapshot.
type stateWriter struct {
	items, users, history, counters *arrowfile.Writer
	all                             []*arrowfile.Writer
}

// writeFiles writes the files of a snapshot into dir.
func writeFiles(dir string, d *features.Dump) (out []arrowfile.Info, err error) {
	f := &stateWriter{}
	defer func() {
		if err != nil {
			for _, w := range f.all {
				w.Abandon()
			}
		}
	}()
	names := features.NewCounters(d.Config).CounterNames()
	for _, c := range []struct {
		to     **arrowfile.Writer
		name   string
		schema *arrow.Schema
	}{
		{&f.items, itemsFile, itemsSchema},
		{&f.users, usersFile, usersSchema},
		{&f.history, historyFile, historySchema},
		{&f.counters, countersFile, countersSchema(names, version)},
	} {
		if *c.to, err = arrowfile.Create(dir, c.name, c.schema); err != nil {
			return nil, err
		}
		f.all = append(f.all, *c.to)
	}
	if err := f.write(d); err != nil {
		return nil, err
	}
	for len(f.all) > 0 {
		w := f.all[0]
		f.all = f.all[1:]
		info, err := w.Close()
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	return out, nil
}

func (f *stateWriter) write(d *features.Dump) error {
	for r, err := range d.Items {
		if err != nil {
			return err
		}
		if err := f.writeItem(&r); err != nil {
			return err
		}
	}
	for r, err := range d.Users {
		if err != nil {
			return err
		}
		if err := f.writeUser(&r); err != nil {
			return err
		}
	}
	for _, p := range d.Parts {
		for _, v := range p.Counters.Keys() {
			scope := scopeField
			if v.Field < 0 {
				scope = scopeGlobal
			}
			row := counterRow{scope: scope, replica: p.Replica, key: v, counts: p.Counters.Row(v)}
			if err := f.writeCounters(row); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *stateWriter) writeItem(r *features.ItemRow) error {
	w := f.items
	w.AppendString(0, r.Item.ID)
	w.AppendBool(1, r.Described)
	w.AppendString(2, r.Item.Title)
	w.AppendString(3, r.Item.Text)
	tags := w.Field(4).(*array.ListBuilder)
	tags.Append(r.Item.Tags != nil)
	for _, t := range r.Item.Tags {
		tags.ValueBuilder().(*array.StringBuilder).Append(t)
	}
	if err := w.AppendJSON(5, r.Item.Fields); err != nil {
		return err
	}
	w.AppendInt(6, r.Time)
	if err := w.AppendJSON(7, r.Times); err != nil {
		return err
	}
	w.AppendInt(8, r.First)
	w.AppendInt(9, r.Seen)
	if err := w.EndRow(); err != nil {
		return err
	}
	return f.writeCounters(counterRow{
		scope: scopeItem, id: r.Item.ID, key: noFieldValue, seen: r.Seen, counts: r.Counters,
	})
}

func (f *stateWriter) writeUser(r *features.UserRow) error {
	w := f.users
	w.AppendString(0, r.ID)
	if err := w.AppendJSON(1, r.Fields); err != nil {
		return err
	}
	if err := w.AppendJSON(2, r.Times); err != nil {
		return err
	}
	w.AppendInt(3, r.Seen)
	if err := w.EndRow(); err != nil {
		return err
	}
	for _, in := range r.Recent {
		f.startHistory(r.ID, kindInteraction, in.Item, in.Action, in.Time)
		if err := f.endHistory(in.Value, false); err != nil {
			return err
		}
	}
	for _, sh := range r.Shown {
		f.startHistory(r.ID, kindShown, sh.Item, "", sh.Time)
		if err := f.endHistory(0, sh.Clicked); err != nil {
			return err
		}
	}
	own := counterRow{scope: scopeUser, id: r.ID, key: noFieldValue, seen: r.Seen}
	own.counts = r.Counters
	if err := f.writeCounters(own); err != nil {
		return err
	}
	for i := range r.Values {
		v := &r.Values[i]
		row := counterRow{
			scope: scopeUserField, id: r.ID, key: v.CounterKey, seen: v.Seen, counts: v.Counters,
		}
		if err := f.writeCounters(row); err != nil {
			return err
		}
	}
	return nil
}

// startHistory appends the columns that both kinds of history rows have. endHistory ends the row.
func (f *stateWriter) startHistory(user, kind, item, action string, time int64) {
	w := f.history
	w.AppendString(0, user)
	w.AppendString(1, kind)
	w.AppendString(2, item)
	w.AppendString(3, action)
	w.AppendInt(4, time)
}

func (f *stateWriter) endHistory(value float32, clicked bool) error {
	w := f.history
	w.Field(5).(*array.Float32Builder).Append(value)
	w.AppendBool(6, clicked)
	return w.EndRow()
}

// counterRow is one row of the counters file.
type counterRow struct {
	scope, replica, id string
	key                features.CounterKey // Field -1: no field value
	seen               int64
	counts             features.CounterRow
}

// noFieldValue is the key of counters that do not belong to a field value.
var noFieldValue = features.CounterKey{Field: -1}

// writeCounters writes a row, unless nothing was counted.
func (f *stateWriter) writeCounters(c counterRow) error {
	if c.counts.Values == nil {
		return nil
	}
	w := f.counters
	w.AppendString(0, c.scope)
	w.AppendString(1, c.replica)
	w.AppendString(2, c.id)
	w.Field(3).(*array.Int32Builder).Append(int32(c.key.Field))
	w.AppendString(4, c.key.Value)
	w.AppendInt(5, c.seen)
	w.AppendInt(6, c.counts.Ref)
	for i, x := range c.counts.Values {
		w.Field(7 + i).(*array.Float64Builder).Append(x)
	}
	next := 7 + len(c.counts.Values)
	w.AppendInt(next, int64(c.counts.Newcomers.Impressions))
	w.AppendInt(next+1, int64(c.counts.Newcomers.Actions))
	return w.EndRow()
}
