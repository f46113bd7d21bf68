package training

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"relish/features"
	"relish/internal/plural"
	"relish/ranker"
	served "relish/ranker/signals"
	"relish/training/replay"
	"relish/training/signals"
)

// Reason says why a feature is in an inferred schema.
type Reason struct{ Feature, Why string }

// Limits for fields that become features automatically.
const (
	// minFieldShare is the share of the items that must have the field.
	minFieldShare = 0.02
	// maxCategories bounds the distinct values of a one-hot feature.
	maxCategories = 30
	// minCategoryShare is the share of the items that must have a value for it to get a column.
	minCategoryShare = 0.01
	// maxCountedValues bounds the distinct values that are counted for a field.
	maxCountedValues = 1000
)

// InferSchema returns the features that the log before a sequence has data for, each with its
// reason, in a fixed order. signalColumns are the columns of the signals. externalColumns are the
// columns of external tables, as "TABLE.COLUMN".
func InferSchema(
	log *replay.Log, before uint64, state features.Config, signalColumns, externalColumns []string,
) ([]ranker.Feature, []Reason) {
	b := &schemaBuilder{log: log, before: before, state: state, fields: countFields(log)}
	for i := range log.Lists {
		if log.Lists[i].Seq < before {
			b.lists++
		}
	}
	b.addCounters()
	b.addFields()
	b.addContent()
	b.addRequest()
	for _, c := range externalColumns {
		b.add(ranker.Feature{Name: "table." + c, Kind: ranker.KindTable, Column: c},
			"an external table has the column")
	}
	for _, c := range signalColumns {
		b.add(ranker.Feature{
			Name: c, Kind: ranker.KindSignal, Group: served.ColumnGroup(c), Column: c,
		}, "a signal computes the column")
	}
	return b.features, b.reasons
}

// fieldCounts says what the items of the catalogue have.
type fieldCounts struct {
	items   int
	numbers map[string]int            // field -> items with a number or boolean
	strings map[string]int            // field -> items with strings
	values  map[string]map[string]int // field -> value -> items, at most maxCountedValues values
	lengths map[string][]int          // field -> number of strings of each item
}

func countFields(log *replay.Log) *fieldCounts {
	c := &fieldCounts{
		numbers: map[string]int{}, strings: map[string]int{}, values: map[string]map[string]int{},
		lengths: map[string][]int{},
	}
	for _, item := range log.Catalogue.Items() {
		c.items++
		for name, v := range item.Fields() {
			switch v.Kind {
			case ranker.Number, ranker.Bool:
				c.numbers[name]++
			case ranker.String, ranker.Strings:
				c.addStrings(name, v.AsStrings())
			}
		}
		if tags := item.Tags(); len(tags) > 0 {
			c.addStrings("tags", tags)
		}
	}
	return c
}

func (c *fieldCounts) addStrings(field string, values []string) {
	c.strings[field]++
	c.lengths[field] = append(c.lengths[field], len(values))
	if c.values[field] == nil {
		c.values[field] = map[string]int{}
	}
	for _, v := range values {
		if _, seen := c.values[field][v]; seen || len(c.values[field]) < maxCountedValues {
			c.values[field][v]++
		}
	}
}

// isCommon reports whether n items are enough for a feature.
func (c *fieldCounts) isCommon(n int) bool {
	return float64(n) >= minFieldShare*float64(max(1, c.items))
}

// schemaBuilder collects the features of an inferred schema.
type schemaBuilder struct {
	log      *replay.Log
	before   uint64 // what is learned from has lower sequences
	state    features.Config
	lists    int // impressions that are learned from
	fields   *fieldCounts
	features []ranker.Feature
	reasons  []Reason
}

// add adds a feature. It appends the kind to a name that exists already: a field of the items may
// have the name of a counter, or hold both numbers and strings.
func (b *schemaBuilder) add(f ranker.Feature, why string, args ...any) {
	isTaken := func(other ranker.Feature) bool { return other.Name == f.Name }
	for slices.ContainsFunc(b.features, isTaken) {
		f.Name += "." + f.Kind
	}
	b.features = append(b.features, f)
	b.reasons = append(b.reasons, Reason{f.Name, fmt.Sprintf(why, args...)})
}

// addFields adds counters by the values of the fields that the state counts.
func (b *schemaBuilder) addFields() {
	actions, _ := b.actions()
	if len(actions) == 0 {
		return
	}
	for _, field := range b.state.Fields {
		n := b.fields.strings[field]
		if !b.fields.isCommon(n) {
			continue
		}
		name, kind := "count.", ranker.KindCount
		if b.lists > 0 {
			name, kind = "rate.", ranker.KindRate
		}
		why := fmt.Sprintf("%d of %d items have the field %q", n, b.fields.items, field)
		b.add(ranker.Feature{
			Name: "field." + name + field, Kind: kind, Scope: ranker.ScopeField, Field: field,
			Action: actions[0],
		}, "%s", why)
		b.add(ranker.Feature{
			Name: "user." + name + field, Kind: kind, Scope: ranker.ScopeUserField, Field: field,
			Action: actions[0],
		}, "%s; the user's own preference", why)
		b.add(
			ranker.Feature{
				Name: "interacted." + field, Kind: ranker.KindInteracted, Field: field,
				MaxValues: signals.UsualMaximum(b.fields.lengths[field]),
			},
			"%s; overlap with the history",
			why,
		)
	}
}

// addContent adds the fields of the items themselves.
func (b *schemaBuilder) addContent() {
	c := b.fields
	for _, field := range slices.Sorted(maps.Keys(c.numbers)) {
		if !c.isCommon(c.numbers[field]) {
			continue
		}
		f := ranker.Feature{Name: "item." + field, Kind: ranker.KindNumber, Field: field}
		b.add(f, "%d of %d items have the number", c.numbers[field], c.items)
		f.Name, f.WithinList = f.Name+".within_list", "zscore"
		b.add(f, "the number relative to the list")
	}
	for _, field := range slices.Sorted(maps.Keys(c.values)) {
		if !c.isCommon(c.strings[field]) || len(c.values[field]) > maxCategories {
			continue
		}
		var values []string
		for _, v := range slices.Sorted(maps.Keys(c.values[field])) {
			if float64(c.values[field][v]) >= minCategoryShare*float64(c.items) {
				values = append(values, v)
			}
		}
		if len(values) > 0 {
			b.add(ranker.Feature{
				Name: "item." + field, Kind: ranker.KindCategory, Field: field, Values: values,
			}, "the field has %s", plural.Count(len(c.values[field]), "value"))
		}
	}
	if span := b.log.To - b.log.From; span > (24 * time.Hour).Milliseconds() {
		b.add(ranker.Feature{Name: "item.age", Kind: ranker.KindAge},
			"the log spans %s", time.Duration(span)*time.Millisecond)
	}
}

// addRequest adds what requests carry: retrieval scores and context.
func (b *schemaBuilder) addRequest() {
	if scored := b.log.ScoredImpressions; b.lists > 0 && 2*scored > b.lists {
		b.add(ranker.Feature{Name: "retrieval", Kind: ranker.KindRetrieval},
			"%d of %d lists came with retrieval scores", scored, b.lists)
	}
	for _, name := range slices.Sorted(maps.Keys(b.log.Contexts)) {
		c := b.log.Contexts[name]
		f := ranker.Feature{Name: "context." + name, Kind: ranker.KindContext, Field: name}
		switch {
		case name == "query" || 10*c.Count < b.lists:
		case 2*c.Numbers > c.Count:
			b.add(f, "the number came with %s", plural.Count(c.Count, "request"))
		case len(c.Values) <= maxCategories:
			f.Values = slices.Sorted(maps.Keys(c.Values))
			b.add(f, "one of %s came with %s", plural.Count(len(c.Values), "value"),
				plural.Count(c.Count, "request"))
		}
	}
}
