package features

import (
	"math"
	"slices"
	"strings"
	"time"

	"relish/features/event"
	"relish/ranker"
)

// setter sets a feature's cells to what a field's value says.
type setter func(v ranker.FieldValue, row []float32)

func setNumber(v ranker.FieldValue, row []float32) {
	if v.Kind == ranker.Number || v.Kind == ranker.Bool {
		row[0] = float32(v.Num)
	}
}

func setCategory(f *ranker.Feature) setter {
	values, index := f.Values, f.Encode == "index"
	return func(v ranker.FieldValue, row []float32) { oneHot(v.AsStrings(), values, index, row) }
}

// ofItem sets cells by a field of the item.
func ofItem(name string, set setter) func(*ranker.ItemInfo, []float32) {
	return func(info *ranker.ItemInfo, row []float32) {
		if v, ok := fieldOf(info, name); ok {
			set(v, row)
		}
	}
}

// ofUser sets cells by a field of the user, alike for all candidates. name begins with userPrefix.
func ofUser(name string, set setter) filler {
	name, _ = userField(name)
	return func(r *reader) fill {
		if r.user != nil {
			if v, ok := r.user.fields[name]; ok {
				return func(_ int, row []float32) { set(v, row) }
			}
		}
		return nothing
	}
}

// nothing leaves all rows missing.
func nothing(int, []float32) {}

func contextFill(f *ranker.Feature) filler {
	name, values, index := f.Field, f.Values, f.Encode == "index"
	return func(r *reader) fill {
		v, ok := r.q.Context[name]
		switch {
		case ok && len(values) > 0:
			words := v.AsStrings()
			return func(_ int, row []float32) { oneHot(words, values, index, row) }
		case ok && (v.Kind == ranker.Number || v.Kind == ranker.Bool):
			return same(v.Num)
		}
		return nothing
	}
}

// oneHot sets the columns of the values that are there, or the index of the first known one.
func oneHot(words, values []string, index bool, row []float32) {
	if index {
		for _, w := range words {
			if at := slices.Index(values, w); at >= 0 {
				row[0] = float32(at)
				return
			}
		}
		return
	}
	for k, v := range values {
		row[k] = 0
		if slices.Contains(words, v) {
			row[k] = 1
		}
	}
}

func wordCountOf(name string) func(*ranker.ItemInfo, []float32) {
	return func(info *ranker.ItemInfo, row []float32) { row[0] = float32(wordCount(info, name)) }
}

func wordCount(info *ranker.ItemInfo, name string) (n int) {
	var text string
	switch name {
	case "title":
		text = info.Title
	case "text":
		text = info.Text
	default:
		text = strings.Join(info.Fields[name].AsStrings(), " ")
	}
	for range strings.FieldsSeq(text) {
		n++
	}
	return n
}

const hour = float64(60 * 60 * 1000) // ms

// ageFill is ln(1 + hours) since the item's time field (Unix seconds, Unix ms, or RFC 3339), or since
// its first event when no field is named.
func ageFill(name string) filler {
	return func(r *reader) fill {
		return func(i int, row []float32) {
			at := r.items[i].first
			known := r.items[i] != &unknownItem
			if name != "" {
				v, ok := r.field(i, name)
				at, known = fieldTime(v)
				known = known && ok
			}
			if known {
				row[0] = float32(math.Log1p(max(0, float64(r.now-at)) / hour))
			}
		}
	}
}

// msFrom is where a number starts to mean milliseconds: as seconds it would be the year 5138.
const msFrom = 1e11

func fieldTime(v ranker.FieldValue) (ms int64, ok bool) {
	switch v.Kind {
	case ranker.Number:
		if math.Abs(v.Num) < msFrom {
			return int64(v.Num * 1000), true
		}
		return int64(v.Num), true
	case ranker.String:
		ms, err := event.ParseTime(v.Str)
		return ms, err == nil
	}
	return 0, false
}

func timeOfDayFill(r *reader) fill {
	t := time.UnixMilli(r.now).UTC()
	return same(float64(float32(t.Hour()) + float32(t.Minute())/60))
}

func historyFill(r *reader) fill {
	n := 0
	if r.user != nil {
		n = len(r.user.recent)
	}
	return same(math.Log1p(float64(n)))
}

// interactedFill is the share of the candidate's values of the field that are among the values of
// the items in the user's recent interactions (of one action, or all).
func interactedFill(field int, action string) filler {
	return func(r *reader) fill {
		set := r.historySet(field, action)
		return func(i int, row []float32) {
			values := r.values(i, field)
			if len(values) == 0 {
				return
			}
			hit := 0
			for _, v := range values {
				if set[v] {
					hit++
				}
			}
			row[0] = float32(hit) / float32(len(values))
		}
	}
}

// historySet is the values of the field that the items of the user's recent interactions have.
func (r *reader) historySet(field int, action string) map[fieldValue]bool {
	set := map[fieldValue]bool{}
	if r.user == nil {
		return set
	}
	for k := range r.user.recent {
		in := &r.user.recent[k]
		if it := r.history[k]; it.values != nil && (action == "" || action == ActionAny || in.Action == action) {
			for _, v := range it.values[field] {
				set[v] = true
			}
		}
	}
	return set
}
