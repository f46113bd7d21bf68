// Package scorer turns the feature matrix into scores.
//
// Prior is the scorer before any training: a sum of log-odds, each weighed by how much is known of
// this user and this item. It needs no data to be useful, and improves by itself as counters fill.
// GBDT is the trained scorer, read from LightGBM's text format. Both explain their scores by
// feature.
package scorer

import "relish/ranker"

// Names of the prior's features. A name that ends with a dot is followed by the name of an item
// field, for tableColumn by the column's name.
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

// ColumnWeight makes a column of an imported table a term of the prior.
type ColumnWeight struct {
	Column string `yaml:"column" json:"column"` // TABLE.COLUMN
	// Weight is in log-odds per unit of the column. 0 shows the column to explanations and training
	// only.
	Weight float64 `yaml:"weight" json:"weight"`
}

// PriorSchema returns the features that the prior reads: fixed ones, two for each counted item
// field, and one for each imported column. It returns an error if their names or columns are not
// valid.
func PriorSchema(fields []string, columns []ColumnWeight) (*ranker.Schema, error) {
	three, minusThree := 3.0, -3.0
	rate := func(name, scope, field string) ranker.Feature {
		return ranker.Feature{
			Name: name, Kind: ranker.KindRate, Scope: scope, Field: field, Action: "any",
			Min: &minusThree, Max: &three,
		}
	}
	// The prior uses a signal relative to its list, because cosines of one encoder lie close
	// together.
	signal := func(name string) ranker.Feature {
		return ranker.Feature{
			Name:       name,
			Kind:       ranker.KindSignal,
			Column:     name,
			WithinList: "zscore",
		}
	}
	features := []ranker.Feature{
		{Name: itemRate, Kind: ranker.KindRate, Scope: ranker.ScopeItem, Action: "any"},
		{Name: itemCount, Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "any"},
		{Name: itemShown, Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "impression"},
		{Name: itemAge, Kind: ranker.KindAge},
		{Name: userHistory, Kind: ranker.KindHistory},
		signal(
			textMean,
		), signal(textMax), signal(textQuery), signal(overlapHistory), signal(overlapQuery),
		{Name: retrieval, Kind: ranker.KindRetrieval, WithinList: "zscore"},
	}
	for _, f := range fields {
		features = append(features,
			rate(fieldRate+f, ranker.ScopeField, f),
			rate(userFieldRate+f, ranker.ScopeUserField, f))
	}
	for _, c := range columns {
		f := ranker.Feature{Name: tableColumn + c.Column, Kind: ranker.KindTable, Column: c.Column}
		features = append(features, f)
	}
	return ranker.NewSchema(features)
}
