package ranker

import (
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"
)

// The kinds of features. IsStateKind says which of them the feature store computes; the others come
// from signals and from the request.
const (
	KindNumber     = "number"          // a numeric item field
	KindBoolean    = "boolean"         // a boolean item field: 0 or 1
	KindCategory   = "category"        // a string item field: one-hot over Values, or its index
	KindWordCount  = "word_count"      // words in an item's title, text or string field
	KindAge        = "age"             // log1p of hours since an item's time field or first event
	KindCount      = "count"           // log1p of a decayed counter
	KindRate       = "rate"            // log-odds of a smoothed action rate, minus the global one
	KindInteracted = "interacted"      // overlap of the history with the item's field values
	KindTimeOfDay  = "time_of_day"     // hour of day, UTC, 0 to 24
	KindContext    = "context"         // a request context field: number, or one-hot over Values
	KindTable      = "table"           // a column of an imported table
	KindHistory    = "history"         // log1p of the user's recent interactions
	KindSignal     = "signal"          // a column of a signal
	KindRetrieval  = "retrieval_score" // the retriever's score
	KindPosition   = "position"        // position in the shown list; 0 when serving
)

// IsStateKind reports whether the feature store computes the kind. Signals and the request provide
// the other kinds.
func IsStateKind(kind string) bool {
	switch kind {
	case KindSignal, KindRetrieval, KindPosition:
		return false
	}
	return true
}

// Scopes of count and rate features. An item with several values of a field has the mean over them.
const (
	ScopeItem      = "item"       // the item, over all users
	ScopeField     = "field"      // the item's values of Field, over all users
	ScopeUser      = "user"       // the user, over all items
	ScopeUserField = "user_field" // the user with the item's values of Field
	ScopeGlobal    = "global"     // all users and items
)

// Feature is one entry of features.yaml. A comment that begins with kinds lists the only ones that
// read the option.
type Feature struct {
	Name string `yaml:"name"`
	Kind string `yaml:"kind"`
	// Group is the feature's group in explanations; see GroupOf for the default.
	Group string `yaml:"group,omitempty"`
	// Field is an item field, for kind context a context field.
	Field string `yaml:"field,omitempty"`
	// Scope: count, rate.
	Scope string `yaml:"scope,omitempty"`
	// Action: count, rate, interacted. "impression" counts being shown.
	Action string `yaml:"action,omitempty"`
	// HalfLife is one of the server's half-lives ("all", "1h", "7d"); "" = "all".
	HalfLife string `yaml:"half_life,omitempty"`
	// Weight: rate. Strength of the smoothing, in impressions; 0 = 10.
	Weight float64 `yaml:"weight,omitempty"`
	// Values: category, context. The values of a one-hot encoding.
	Values []string `yaml:"values,omitempty"`
	// MaxValues: interacted. The number of values of the field that nearly all items keep to. Of an
	// item with more, the overlap is rounded down to a multiple of 1/MaxValues, so that an item
	// cannot overlap with every history by listing many values; 0 = no rounding.
	MaxValues int `yaml:"max_values,omitempty"`
	// Encode: category. "onehot" (the default) or "index".
	Encode string `yaml:"encode,omitempty"`
	// Column: signal, the name of the signal's column; table, TABLE.COLUMN.
	Column string `yaml:"column,omitempty"`
	// WithinList replaces the value by how it compares within its list: rank (0 best to 1), zscore,
	// or ratio (to the list's mean).
	WithinList string `yaml:"within_list,omitempty"`
	// Default replaces a missing value; absent = the cell stays missing (NaN).
	Default *float64 `yaml:"default,omitempty"`
	// Min and Max clamp the raw value; absent = unbounded.
	Min *float64 `yaml:"min,omitempty"`
	Max *float64 `yaml:"max,omitempty"`
	// Missing adds a 0/1 column "<name>.missing".
	Missing bool `yaml:"missing,omitempty"`
}

// GroupText is the group of the columns that read text. Explanation.RankWithoutText is the rank
// with these columns missing.
const GroupText = "text"

// GroupOf returns the group of a feature's columns: its own, or by kind text, behaviour, item,
// user, request or table.
func GroupOf(f *Feature) string {
	if f.Group != "" {
		return f.Group
	}
	switch f.Kind {
	case KindSignal:
		return GroupText
	case KindCount, KindRate, KindInteracted, KindHistory:
		if f.Scope == ScopeUser || f.Kind == KindHistory {
			return "user"
		}
		return "behaviour"
	case KindContext, KindTimeOfDay, KindRetrieval, KindPosition:
		return "request"
	case KindTable:
		return "table"
	}
	return "item"
}

// Schema is an ordered list of features and their matrix columns. It is immutable.
type Schema struct {
	features    []Feature
	columns     []Column
	firstColumn []int // by feature
	hash        string
	// compares reports that a feature compares its values within the list, comparesSignals that one
	// of these is a signal's column.
	compares, comparesSignals bool
}

// NewSchema checks the features and lays out their columns. It keeps the slice. The error lists
// every problem: names that are missing or repeat, unknown kinds, and options that do not fit.
func NewSchema(features []Feature) (*Schema, error) {
	if err := checkFeatures(features); err != nil {
		return nil, err
	}
	s := &Schema{features: features}
	d := xxhash.New()
	for _, f := range features {
		s.firstColumn = append(s.firstColumn, len(s.columns))
		s.compares = s.compares || f.WithinList != ""
		s.comparesSignals = s.comparesSignals || f.WithinList != "" && f.Kind == KindSignal
		group := GroupOf(&f)
		for _, name := range columnNames(&f) {
			s.columns = append(s.columns, Column{Name: name, Group: group})
		}
		fmt.Fprintf(d, "%s|%s|%s|%s|%s|%s|%g|%q|%s|%s|%s|%s|%s|%s|%t\n",
			f.Name, f.Kind, f.Field, f.Scope, f.Action, f.HalfLife, f.Weight, f.Values, f.Encode,
			f.Column, f.WithinList, hashable(f.Default), hashable(f.Min), hashable(f.Max),
			f.Missing)
	}
	s.hash = fmt.Sprintf("%016x", d.Sum64())
	return s, nil
}

// hashable writes an optional number so that equal numbers, and only those, are written alike.
func hashable(p *float64) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%x", math.Float64bits(*p))
}

// columnNames returns the names of a feature's columns: one, or one for each one-hot value, then
// the missing indicator.
func columnNames(f *Feature) []string {
	var names []string
	if len(f.Values) > 0 && f.Encode != "index" {
		for _, v := range f.Values {
			names = append(names, f.Name+"="+v)
		}
	} else {
		names = append(names, f.Name)
	}
	if f.Missing {
		names = append(names, f.Name+".missing")
	}
	return names
}

// Features returns the features in their order. The slice must not be changed.
func (s *Schema) Features() []Feature { return s.features }

// Columns returns the matrix columns in their order. The slice must not be changed.
func (s *Schema) Columns() []Column { return s.columns }

// FirstColumn returns the index of feature i's first column.
func (s *Schema) FirstColumn(i int) int { return s.firstColumn[i] }

// width returns how many columns feature i has.
func (s *Schema) width(i int) int {
	if i+1 < len(s.firstColumn) {
		return s.firstColumn[i+1] - s.firstColumn[i]
	}
	return len(s.columns) - s.firstColumn[i]
}

// Hash returns 16 hex digits over everything that decides what a column means. Two schemas with the
// same hash have the same columns.
func (s *Schema) Hash() string { return s.hash }
