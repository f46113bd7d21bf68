// Package blend turns the feature matrix into scores.
//
// The prior is the blend before any training: a sum of log-odds, each weighed by how much is known of
// this user and this item. It needs no data to be of use, and gets better as counters fill, by itself.
// Trees is the blend that was trained, read from LightGBM's text format.
package scorer

import "relish/ranker"

// Names of the prior's features. The fields' ones are followed by the field's name, the
// tables' one by the column's.
const (
	itemRate       = "item.rate"
	itemCount      = "item.count"
	itemShown      = "item.shown"
	itemAge        = "item.age"
	userHistory    = "user.history"
	fieldRate      = "field.rate."
	userFieldRate  = "user_field.rate."
	textMean       = "text.mean"
	textMax        = "text.max"
	textQuery      = "text.query"
	overlapHistory = "overlap.history"
	overlapQuery   = "overlap.query"
	retrieval      = "retrieval"
	tableColumn    = "table."
)

// A Table gives a column of an imported table a say in the prior.
type ColumnWeight struct {
	Column string  `yaml:"column" json:"column"` // TABLE.COLUMN
	Weight float64 `yaml:"weight" json:"weight"` // log-odds per unit of the column; 0 = shown to explanations and trainings only
}

// PriorSchema returns the features that the prior reads, over the counted item fields and imported columns.
func PriorSchema(fields []string, tables []ColumnWeight) (*ranker.Schema, error) {
	three, minusThree := 3.0, -3.0
	match := func(name string) ranker.Feature {
		// How a text compares with its list is what counts: cosines of one encoder lie close together.
		return ranker.Feature{Name: name, Kind: ranker.KindSignal, Column: name, WithinList: "zscore"}
	}
	features := []ranker.Feature{
		{Name: itemRate, Kind: ranker.KindRate, Scope: ranker.ScopeItem, Action: "any"},
		{Name: itemCount, Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "any"},
		{Name: itemShown, Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "impression"},
		{Name: itemAge, Kind: ranker.KindAge},
		{Name: userHistory, Kind: ranker.KindHistory},
		match(textMean), match(textMax), match(textQuery), match(overlapHistory), match(overlapQuery),
		{Name: retrieval, Kind: ranker.KindRetrieval, WithinList: "zscore"},
	}
	for _, f := range fields {
		features = append(features,
			ranker.Feature{Name: fieldRate + f, Kind: ranker.KindRate, Scope: ranker.ScopeField, Field: f, Action: "any", Min: &minusThree, Max: &three},
			ranker.Feature{Name: userFieldRate + f, Kind: ranker.KindRate, Scope: ranker.ScopeUserField, Field: f, Action: "any", Min: &minusThree, Max: &three})
	}
	for _, t := range tables {
		features = append(features, ranker.Feature{Name: tableColumn + t.Column, Kind: ranker.KindTable, Column: t.Column})
	}
	return ranker.NewSchema(features)
}
