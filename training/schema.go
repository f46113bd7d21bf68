package training

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"relish/features"
	"relish/ranker"
	"relish/ranker/signals"
	"relish/training/replay"
)

// Reason says why a feature is in the schema that training writes.
type Reason struct{ Feature, Why string }

// What a field must have to become a feature by itself.
const (
	fieldShare    = 0.02 // of the items
	maxCategories = 30   // distinct values of a one-hot
	categoryShare = 0.01 // of the items must have a value, for it to be a column
)

// InferSchema returns the features that the log before until can feed, each with its reason, in a fixed order. columns are the
// matchers' columns; tables the imported ones ("TABLE.COLUMN").
func InferSchema(l *replay.Log, until uint64, state features.Config, columns, tables []string) ([]ranker.Feature, []Reason) {
	w := &schemaBuilder{log: l, state: state}
	for i := range l.Lists {
		if l.Lists[i].Seq < until {
			w.lists++
		}
	}
	w.impressions = w.lists > 0
	w.countFields()
	w.addBehaviour()
	w.addContent()
	w.addRequest()
	for _, c := range tables {
		w.add(ranker.Feature{Name: "table." + c, Kind: ranker.KindTable, Column: c}, "an imported table has the column")
	}
	for _, c := range columns {
		w.add(ranker.Feature{Name: c, Kind: ranker.KindSignal, Group: signals.ColumnGroup(c), Column: c}, "a matcher gives the column")
	}
	return w.features, w.reasons
}

type schemaBuilder struct {
	lists       int // that are learned from
	log         *replay.Log
	state       features.Config
	impressions bool
	features    []ranker.Feature
	reasons     []Reason

	items        int
	numberFields map[string]int            // field -> items that have it as a number
	valueFields  map[string]int            // field -> items that have it as words
	valueCounts  map[string]map[string]int // field -> value -> items, up to a bound
}

// maxCounted bounds the distinct values of a field that are looked at.
const maxCounted = 1000

// add gives the feature a name of its own: an item's field may be called as a counter is, or hold numbers and words.
func (w *schemaBuilder) add(f ranker.Feature, why string, args ...any) {
	for slices.ContainsFunc(w.features, func(have ranker.Feature) bool { return have.Name == f.Name }) {
		f.Name += "." + f.Kind
	}
	w.features = append(w.features, f)
	w.reasons = append(w.reasons, Reason{f.Name, fmt.Sprintf(why, args...)})
}

// countFields counts what the catalogue's items have.
func (w *schemaBuilder) countFields() {
	w.numberFields, w.valueFields, w.valueCounts = map[string]int{}, map[string]int{}, map[string]map[string]int{}
	for _, it := range w.log.Catalogue.Items() {
		w.items++
		for name, v := range it.Fields {
			switch v.Kind {
			case ranker.Number, ranker.Bool:
				w.numberFields[name]++
			case ranker.String, ranker.Strings:
				w.field(name, v.AsStrings())
			}
		}
		if len(it.Tags) > 0 {
			w.field("tags", it.Tags)
		}
	}
}

func (w *schemaBuilder) field(name string, words []string) {
	w.valueFields[name]++
	if w.valueCounts[name] == nil {
		w.valueCounts[name] = map[string]int{}
	}
	for _, v := range words {
		if _, seen := w.valueCounts[name][v]; seen || len(w.valueCounts[name]) < maxCounted {
			w.valueCounts[name][v]++
		}
	}
}

func (w *schemaBuilder) isCommon(n int) bool {
	return float64(n) >= fieldShare*float64(max(1, w.items))
}

// actions are those that the log has, most frequent first.
func (w *schemaBuilder) actions() []string {
	all := slices.Collect(maps.Keys(w.log.Actions))
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(cmp.Compare(w.log.Actions[b], w.log.Actions[a]), cmp.Compare(a, b))
	})
	return all
}

// halfLives are all-time, and those that the log is long enough to tell from it.
func (w *schemaBuilder) halfLives() []string {
	span := time.Duration(w.log.Last.Arrival-w.log.First.Arrival) * time.Millisecond
	out := []string{"all"}
	for _, h := range w.state.HalfLives {
		if d, err := features.ParseHalfLife(h); err == nil && d > 0 && span >= 4*d {
			out = append(out, h)
		}
	}
	return out
}

func (w *schemaBuilder) addBehaviour() {
	actions := w.actions()
	counts := maps.Clone(w.log.Actions)
	if len(actions) > 1 {
		actions = append([]string{features.ActionAny}, actions...)
		for _, n := range w.log.Actions {
			counts[features.ActionAny] += n
		}
	}
	for _, h := range w.halfLives() {
		suffix := ""
		if h != "all" {
			suffix = "." + h
		}
		for _, a := range actions {
			w.add(ranker.Feature{Name: "item.count." + a + suffix, Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: a, HalfLife: h},
				"popularity: the log has %d interactions %q", counts[a], a)
			if w.impressions {
				w.add(ranker.Feature{Name: "item.rate." + a + suffix, Kind: ranker.KindRate, Scope: ranker.ScopeItem, Action: a, HalfLife: h},
					"how often being shown leads to it: the log has %d impressions", w.lists)
			}
		}
		if len(actions) > 0 {
			w.add(ranker.Feature{Name: "item.within_list" + suffix, Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: actions[0], HalfLife: h, WithinList: "zscore"},
				"popularity relative to the list, which does not drift as counters grow")
		}
		if w.impressions {
			w.add(ranker.Feature{Name: "item.shown" + suffix, Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: features.ActionImpression, HalfLife: h},
				"how much the item's rate can be trusted")
		}
	}
	if len(actions) == 0 {
		return
	}
	if w.impressions {
		w.add(ranker.Feature{Name: "item.rate.within_list", Kind: ranker.KindRate, Scope: ranker.ScopeItem, Action: actions[0], WithinList: "zscore"}, "the rate relative to the list")
		w.add(ranker.Feature{Name: "user.rate", Kind: ranker.KindRate, Scope: ranker.ScopeUser, Action: actions[0]}, "some users click on more than others")
	}
	w.add(ranker.Feature{Name: "user.history", Kind: ranker.KindHistory}, "how much is known of the user: decides whom to believe")
	for _, f := range w.state.Fields {
		if !w.isCommon(w.valueFields[f]) {
			continue
		}
		why := fmt.Sprintf("%d of %d items have the field %q", w.valueFields[f], w.items, f)
		if w.impressions {
			w.add(ranker.Feature{Name: "field.rate." + f, Kind: ranker.KindRate, Scope: ranker.ScopeField, Field: f, Action: actions[0]}, "%s", why)
			w.add(ranker.Feature{Name: "user.rate." + f, Kind: ranker.KindRate, Scope: ranker.ScopeUserField, Field: f, Action: actions[0]}, "%s; the user's own taste in it", why)
		} else {
			w.add(ranker.Feature{Name: "field.count." + f, Kind: ranker.KindCount, Scope: ranker.ScopeField, Field: f, Action: actions[0]}, "%s", why)
			w.add(ranker.Feature{Name: "user.count." + f, Kind: ranker.KindCount, Scope: ranker.ScopeUserField, Field: f, Action: actions[0]}, "%s; the user's own taste in it", why)
		}
		w.add(ranker.Feature{Name: "interacted." + f, Kind: ranker.KindInteracted, Field: f}, "%s; overlap with the history", why)
	}
}

func (w *schemaBuilder) addContent() {
	for _, f := range slices.Sorted(maps.Keys(w.numberFields)) {
		if w.isCommon(w.numberFields[f]) {
			w.add(ranker.Feature{Name: "item." + f, Kind: ranker.KindNumber, Field: f}, "%d of %d items have the number", w.numberFields[f], w.items)
			w.add(ranker.Feature{Name: "item." + f + ".within_list", Kind: ranker.KindNumber, Field: f, WithinList: "zscore"}, "the same relative to the list")
		}
	}
	for _, f := range slices.Sorted(maps.Keys(w.valueCounts)) {
		if !w.isCommon(w.valueFields[f]) || len(w.valueCounts[f]) > maxCategories {
			continue
		}
		var values []string
		for _, v := range slices.Sorted(maps.Keys(w.valueCounts[f])) {
			if float64(w.valueCounts[f][v]) >= categoryShare*float64(w.items) {
				values = append(values, v)
			}
		}
		if len(values) > 0 {
			w.add(ranker.Feature{Name: "item." + f, Kind: ranker.KindCategory, Field: f, Values: values}, "the field has %d values", len(w.valueCounts[f]))
		}
	}
	if span := w.log.Last.Arrival - w.log.First.Arrival; span > (24 * time.Hour).Milliseconds() {
		w.add(ranker.Feature{Name: "item.age", Kind: ranker.KindAge}, "the log spans %s", time.Duration(span)*time.Millisecond)
	}
}

func (w *schemaBuilder) addRequest() {
	if w.impressions && 2*w.log.ScoredImpressions > w.lists {
		w.add(ranker.Feature{Name: "retrieval", Kind: ranker.KindRetrieval}, "%d of %d lists came with retrieval scores", w.log.ScoredImpressions, w.lists)
	}
	for _, name := range slices.Sorted(maps.Keys(w.log.Contexts)) {
		c := w.log.Contexts[name]
		switch {
		case name == "query" || 10*c.Count < w.lists:
		case 2*c.Numbers > c.Count:
			w.add(ranker.Feature{Name: "context." + name, Kind: ranker.KindContext, Field: name}, "%d requests carry the number", c.Count)
		case len(c.Values) <= maxCategories:
			w.add(ranker.Feature{Name: "context." + name, Kind: ranker.KindContext, Field: name, Values: slices.Sorted(maps.Keys(c.Values))}, "%d requests carry one of %d values", c.Count, len(c.Values))
		}
	}
}
