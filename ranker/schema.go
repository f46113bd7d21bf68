package ranker

import (
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"
)

// Feature kinds computed by package features, by matchers, and from the request.
const (
	KindNumber     = "number"      // a numeric item field
	KindBoolean    = "boolean"     // a boolean item field
	KindCategory   = "category"    // a string item field: one-hot over Values, or its index (Encode: index)
	KindWordCount  = "word_count"  // words in an item's title, text or string field
	KindAge        = "age"         // log1p of hours since an item's time field, or since it was first seen
	KindCount      = "count"       // log1p of a decayed counter
	KindRate       = "rate"        // log-odds of a smoothed action rate relative to the global rate
	KindInteracted = "interacted"  // overlap of the history with the item's field values
	KindTimeOfDay  = "time_of_day" // hour of day, UTC, 0..24
	KindContext    = "context"     // a request context field: number, or one-hot over Values
	KindTable      = "table"       // a column of an imported table
	KindHistory    = "history"     // log1p of the user's recent interactions: how much is known of him
	KindSignal     = "signal"      // a matcher's column
	KindRetrieval  = "retrieval_score"
	KindPosition   = "position" // training only, constant when serving
)

// Scopes of count and rate features.
const (
	ScopeItem      = "item"
	ScopeField     = "field"      // the item's values of Field, over all users (mean over its values)
	ScopeUser      = "user"       // the user, over all items
	ScopeUserField = "user_field" // this user with the item's values of Field (mean over its values)
	ScopeGlobal    = "global"
)

// Feature is one entry of features.yaml.
type Feature struct {
	Name     string   `yaml:"name"`
	Kind     string   `yaml:"kind"`
	Group    string   `yaml:"group,omitempty"`     // for explanations; "" = by kind: text, behaviour, item, user, request, table
	Field    string   `yaml:"field,omitempty"`     // item, user or context field
	Scope    string   `yaml:"scope,omitempty"`     // count, rate
	Action   string   `yaml:"action,omitempty"`    // count, rate, interacted; "impression" counts being shown
	HalfLife string   `yaml:"half_life,omitempty"` // one of the server's half-lives ("all", "1h", "7d"); "" = all
	Weight   float64  `yaml:"weight,omitempty"`    // rate: strength of the smoothing, in impressions; 0 = 10
	Values   []string `yaml:"values,omitempty"`    // category, context: the one-hot values
	Encode   string   `yaml:"encode,omitempty"`    // category: onehot (default) or index
	Column   string   `yaml:"column,omitempty"`    // match: the column's name; table: TABLE.COLUMN
	// WithinList adds the value's standing within its list in place of the raw value:
	// rank (0 best .. 1), zscore, ratio (to the list's mean).
	WithinList string `yaml:"within_list,omitempty"`
	// Default replaces a missing value; absent = the cell stays missing (NaN).
	Default *float64 `yaml:"default,omitempty"`
	// Min and Max clamp the raw value; absent = unbounded.
	Min *float64 `yaml:"min,omitempty"`
	Max *float64 `yaml:"max,omitempty"`
	// Missing adds a 0/1 column "<name>.missing".
	Missing bool `yaml:"missing,omitempty"`
}

// GroupText is the group of the columns that read text: explanations name it, and
// rank_without_text is the ranking with these columns missing.
const GroupText = "text"

// Schema is an ordered list of features and the columns they make.
type Schema struct {
	features    []Feature
	columns     []Column
	firstColumn []int // first column of each feature
	hash        string
}

// NewSchema checks the features (distinct names, known kinds and options) and lays out the columns.
// The error lists every problem.
func NewSchema(features []Feature) (*Schema, error) {
	if err := checkFeatures(features); err != nil {
		return nil, err
	}
	s := &Schema{features: features}
	d := xxhash.New()
	for _, f := range features {
		s.firstColumn = append(s.firstColumn, len(s.columns))
		group := GroupOf(&f)
		for _, name := range columnNames(&f) {
			s.columns = append(s.columns, Column{Name: name, Group: group})
		}
		fmt.Fprintf(d, "%s|%s|%s|%s|%s|%s|%g|%q|%s|%s|%s|%s|%s|%s|%t\n", f.Name, f.Kind, f.Field, f.Scope, f.Action,
			f.HalfLife, f.Weight, f.Values, f.Encode, f.Column, f.WithinList, num(f.Default), num(f.Min), num(f.Max), f.Missing)
	}
	s.hash = fmt.Sprintf("%016x", d.Sum64())
	return s, nil
}

// Features returns the entries; the slice must not be changed.
func (s *Schema) Features() []Feature { return s.features }

// Columns returns the matrix columns; the slice must not be changed.
func (s *Schema) Columns() []Column { return s.columns }

// FirstColumn returns the first column of feature i.
func (s *Schema) FirstColumn(i int) int { return s.firstColumn[i] }

// width is how many columns feature i has.
func (s *Schema) width(i int) int {
	if i+1 < len(s.firstColumn) {
		return s.firstColumn[i+1] - s.firstColumn[i]
	}
	return len(s.columns) - s.firstColumn[i]
}

// Hash identifies the schema: 16 hex digits over everything that decides a column's meaning.
func (s *Schema) Hash() string { return s.hash }

// GroupOf returns the group of a feature's columns.
func GroupOf(f *Feature) string {
	if f.Group != "" {
		return f.Group
	}
	return defaultGroup(f)
}

// IsStateKind reports whether package features computes the kind (rather than a matcher or the request).
func IsStateKind(kind string) bool {
	switch kind {
	case KindSignal, KindRetrieval, KindPosition:
		return false
	}
	return true
}

func num(p *float64) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%x", math.Float64bits(*p))
}

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

func defaultGroup(f *Feature) string {
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
