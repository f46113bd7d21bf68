package features

import (
	"math"
	"slices"
	"strings"
	"time"

	"relish/features/event"
	"relish/ranker"
)

// ---- Fields of items, users and the request's context ----

// cellSetter sets the cells of one feature to what a field's value says.
type cellSetter func(v ranker.FieldValue, cells []float32)

func setNumber(v ranker.FieldValue, cells []float32) {
	// A number beyond a float32, which only old logs hold, is missing: it would hide the values of
	// the other candidates from within-list features.
	if x := float32(v.Num); (v.Kind == ranker.Number || v.Kind == ranker.Bool) && x-x == 0 {
		cells[0] = x
	}
}

func categorySetter(f *ranker.Feature) cellSetter {
	categories, asIndex := f.Values, f.Encode == "index"
	return func(v ranker.FieldValue, cells []float32) {
		encodeCategory(v.AsStrings(), categories, asIndex, cells)
	}
}

// encodeCategory sets one cell for each category: 1 if it is among the values, else 0. With asIndex
// it sets the first cell to the index of the first value that is a category, and leaves the cell
// missing if there is none.
func encodeCategory(values, categories []string, asIndex bool, cells []float32) {
	if asIndex {
		for _, v := range values {
			if at := slices.Index(categories, v); at >= 0 {
				cells[0] = float32(at)
				return
			}
		}
		return
	}
	for k, c := range categories {
		cells[k] = 0
		if slices.Contains(values, c) {
			cells[k] = 1
		}
	}
}

func itemFieldFill(name string, set cellSetter) contentFunc {
	return func(info *ranker.ItemInfo, cells []float32) {
		if v, ok := fieldOf(info, name); ok {
			set(v, cells)
		}
	}
}

// userFieldFill fills all rows alike. name begins with userPrefix.
func userFieldFill(name string, set cellSetter) prepareFunc {
	name, _ = userField(name)
	return func(x *extraction) fillFunc {
		if x.user != nil {
			if v, ok := x.user.fields[name]; ok {
				return func(_ int, cells []float32) { set(v, cells) }
			}
		}
		return leaveMissing
	}
}

func contextFill(f *ranker.Feature) prepareFunc {
	name, categories, asIndex := f.Field, f.Values, f.Encode == "index"
	return func(x *extraction) fillFunc {
		v, ok := x.query.Context[name]
		switch {
		case ok && len(categories) > 0:
			values := v.AsStrings()
			return func(_ int, cells []float32) {
				encodeCategory(values, categories, asIndex, cells)
			}
		case ok && (v.Kind == ranker.Number || v.Kind == ranker.Bool):
			return constant(v.Num)
		}
		return leaveMissing
	}
}

// externalFill fills from the column "TABLE.COLUMN" of an external table. The cells are missing
// while nobody has imported the table.
func externalFill(column string) prepareFunc {
	table, column, _ := strings.Cut(column, ".")
	return func(x *extraction) fillFunc {
		t := x.counters.externalTable(table)
		if t == nil {
			return leaveMissing
		}
		at := slices.Index(t.names, column)
		if at < 0 {
			return leaveMissing
		}
		values := t.values[at]
		if t.key == KeyItem {
			return func(i int, cells []float32) {
				if row, ok := t.rows[x.query.Candidates[i].ID]; ok {
					cells[0] = values[row]
				}
			}
		}
		row, ok := t.rows[UserHash(x.query.User)]
		if !ok {
			return leaveMissing
		}
		return func(_ int, cells []float32) { cells[0] = values[row] }
	}
}

// wordCountFill counts the words of an item's title, text or field.
func wordCountFill(name string) contentFunc {
	return func(info *ranker.ItemInfo, cells []float32) {
		var text string
		switch name {
		case partTitle:
			text = info.Title
		case partText:
			text = info.Text
		default:
			text = strings.Join(info.Fields[name].AsStrings(), " ")
		}
		n := 0
		for range strings.FieldsSeq(text) {
			n++
		}
		cells[0] = float32(n)
	}
}

// leaveMissing leaves all rows missing.
func leaveMissing(int, []float32) {}

// constant fills all rows alike.
func constant(v float64) fillFunc {
	cell := float32(v)
	return func(_ int, cells []float32) { cells[0] = cell }
}

// field returns a field of candidate i, or of the user if the name begins with userPrefix.
func (x *extraction) field(i int, name string) (ranker.FieldValue, bool) {
	if rest, ok := userField(name); ok {
		if x.user == nil {
			return ranker.FieldValue{}, false
		}
		v, ok := x.user.fields[rest]
		return v, ok
	}
	if x.contents[i] == nil {
		return ranker.FieldValue{}, false
	}
	return fieldOf(x.contents[i], name)
}

// userPrefix begins the name of a user's field in features.yaml.
const userPrefix = "user."

// userField returns the name of the user's field without the prefix. ok is false for an item's
// field.
func userField(name string) (field string, ok bool) {
	field, ok = strings.CutPrefix(name, userPrefix)
	return field, ok && field != ""
}

// ---- Time ----

const millisPerHour = float64(60 * 60 * 1000)

// ageFill fills log1p of the hours since the time in the field name. Without a name it is the hours
// since the item's first event.
func ageFill(name string) prepareFunc {
	return func(x *extraction) fillFunc {
		return func(i int, cells []float32) {
			at, known := x.items[i].first, x.items[i] != &unknownItem
			if name != "" {
				v, ok := x.field(i, name)
				at, known = millisOf(v)
				known = known && ok
			}
			if known {
				cells[0] = float32(math.Log1p(max(0, float64(x.query.Now-at)) / millisPerHour))
			}
		}
	}
}

// minMillis is the number from which a time field counts as milliseconds. As seconds it would be
// the year 5138.
const minMillis = 1e11

// millisOf reads a time field as Unix ms: Unix seconds, Unix milliseconds, or RFC 3339.
func millisOf(v ranker.FieldValue) (ms int64, ok bool) {
	switch v.Kind {
	case ranker.Number:
		if math.Abs(v.Num) < minMillis {
			return int64(v.Num * 1000), true
		}
		return int64(v.Num), true
	case ranker.String:
		ms, err := event.ParseTime(v.Str)
		return ms, err == nil
	}
	return 0, false
}

// timeOfDayFill fills the hour of the day in UTC, 0 to 24, with the minutes as its fraction.
func timeOfDayFill(x *extraction) fillFunc {
	t := time.UnixMilli(x.query.Now).UTC()
	return constant(float64(float32(t.Hour()) + float32(t.Minute())/60))
}

// ---- The user's history ----

// historyFill fills log1p of the number of the user's recent interactions.
func historyFill(x *extraction) fillFunc {
	n := 0
	if x.user != nil {
		n = len(x.user.recent)
	}
	return constant(math.Log1p(float64(n)))
}

// interactedFill fills the share of the candidate's values of a counted field that also occur among
// the items of the user's recent interactions. action restricts the interactions; "" means all.
func interactedFill(field int, action string) prepareFunc {
	return func(x *extraction) fillFunc {
		known := x.historyValues(field, action)
		return func(i int, cells []float32) {
			values := x.values(i, field)
			if len(values) == 0 {
				return
			}
			hits := 0
			for _, v := range values {
				if known[v] {
					hits++
				}
			}
			cells[0] = float32(hits) / float32(len(values))
		}
	}
}

// historyValues returns the values of the field among the items of the user's recent interactions.
func (x *extraction) historyValues(field int, action string) map[fieldValue]bool {
	set := map[fieldValue]bool{}
	if x.user == nil {
		return set
	}
	for k := range x.user.recent {
		in, item := &x.user.recent[k], x.history[k]
		if item.values != nil && (action == "" || action == ActionAny || in.Action == action) {
			for _, v := range item.values[field] {
				set[v] = true
			}
		}
	}
	return set
}

// values returns candidate i's values of a counted field.
func (x *extraction) values(i, field int) []fieldValue {
	if v, ok := x.inline[i]; ok {
		return v[field]
	}
	if v := x.items[i].values; v != nil {
		return v[field]
	}
	return nil
}
