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

// userFieldSetter sets the cells of a user's field. name begins with userPrefix.
func userFieldSetter(name string, set cellSetter) requestFunc {
	name, _ = userField(name)
	return func(x *extraction, cells []float32) {
		if v, ok := x.userField(name); ok {
			set(v, cells)
		}
	}
}

// userField returns a field of the user.
func (x *extraction) userField(name string) (v ranker.FieldValue, ok bool) {
	if x.user != nil {
		v, ok = x.user.fields[name]
	}
	return v, ok
}

func contextSetter(f *ranker.Feature) requestFunc {
	name, categories, asIndex := f.Field, f.Values, f.Encode == "index"
	return func(x *extraction, cells []float32) {
		v, ok := x.query.Context[name]
		switch {
		case ok && len(categories) > 0:
			encodeCategory(v.AsStrings(), categories, asIndex, cells)
		case ok && (v.Kind == ranker.Number || v.Kind == ranker.Bool):
			cells[0] = float32(v.Num)
		}
	}
}

// tableFeature is a column of an external table.
type tableFeature struct {
	table, name string
	column      int // in the matrix
}

// newTableFeature returns the feature of the column "TABLE.COLUMN".
func newTableFeature(source string, column int) tableFeature {
	table, name, _ := strings.Cut(source, ".")
	return tableFeature{table, name, column}
}

// tableColumn is a column of an external table about items, for one request.
type tableColumn struct {
	rows   map[string]int
	values []float32
	column int // in the matrix
}

// prepareTables reads the external tables. The cells are missing while nobody has imported the
// table.
func (x *extraction) prepareTables(c *compiledSchema) {
	for _, f := range c.tables {
		t := x.counters.externalTable(f.table)
		if t == nil {
			continue
		}
		at := slices.Index(t.names, f.name)
		if at < 0 {
			continue
		}
		if t.key == KeyItem {
			x.tables = append(x.tables, tableColumn{t.rows, t.values[at], f.column})
		} else if row, ok := t.rows[UserHash(x.query.User)]; ok {
			x.template[f.column] = t.values[at][row]
		}
	}
}

// fill sets the cell of candidate i's row.
func (t *tableColumn) fill(x *extraction, i int, row []float32) {
	if at, ok := t.rows[x.query.Candidates[i].ID]; ok {
		row[t.column] = t.values[at]
	}
}

// wordCountFill counts the words of an item's title, text or field.
func wordCountFill(name string) contentFunc {
	return func(info *ranker.ItemInfo, cells []float32) {
		var text string
		switch name {
		case partTitle:
			text = info.Title()
		case partText:
			text = info.Text()
		default:
			v, _ := info.Field(name)
			text = strings.Join(v.AsStrings(), " ")
		}
		n := 0
		for range strings.FieldsSeq(text) {
			n++
		}
		cells[0] = float32(n)
	}
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

// userAge sets log1p of the hours since the time in a field of the user. name begins with
// userPrefix.
func userAge(name string) requestFunc {
	name, _ = userField(name)
	return func(x *extraction, cells []float32) {
		if v, ok := x.userField(name); ok {
			if at, known := millisOf(v); known {
				cells[0] = ageCell(x.now, at)
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

// setTimeOfDay sets the hour of the day in UTC, 0 to 24, with the minutes as its fraction.
func setTimeOfDay(x *extraction, cells []float32) {
	t := time.UnixMilli(x.query.Now).UTC()
	cells[0] = float32(t.Hour()) + float32(t.Minute())/60
}

// setHistory sets log1p of the number of the user's recent interactions.
func setHistory(x *extraction, cells []float32) {
	n := 0
	if x.user != nil {
		n = len(x.user.recent)
	}
	cells[0] = float32(math.Log1p(float64(n)))
}
