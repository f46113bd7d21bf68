package ranker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

var kinds = []string{
	KindNumber, KindBoolean, KindCategory, KindWordCount, KindAge, KindCount, KindRate,
	KindInteracted, KindTimeOfDay, KindContext, KindTable, KindHistory, KindSignal, KindRetrieval,
	KindPosition,
}

// checkFeatures returns every problem of the features, joined.
func checkFeatures(features []Feature) error {
	var errs []error
	seen := map[string]bool{}
	for i, f := range features {
		bad := func(format string, args ...any) {
			problem := fmt.Sprintf(format, args...)
			errs = append(errs, fmt.Errorf("features[%d] %q: %s", i, f.Name, problem))
		}
		if f.Name == "" {
			bad("name is missing")
		}
		if seen[f.Name] {
			bad("another feature has this name; names must be distinct")
		}
		seen[f.Name] = true
		if !slices.Contains(kinds, f.Kind) {
			bad("unknown kind %q; use one of %s", f.Kind, strings.Join(kinds, ", "))
			continue
		}
		checkOptions(&f, bad)
	}
	return errors.Join(errs...)
}

// checkOptions reports the options of a feature of a known kind that are missing or out of range.
func checkOptions(f *Feature, bad func(string, ...any)) {
	need := func(option, value string) {
		if value == "" {
			bad("kind %s needs %s", f.Kind, option)
		}
	}
	switch f.Kind {
	case KindNumber, KindBoolean, KindCategory, KindContext, KindInteracted, KindWordCount:
		need("field", f.Field)
	case KindCount, KindRate:
		need("action", f.Action)
		scopes := []string{ScopeItem, ScopeField, ScopeUser, ScopeUserField, ScopeGlobal}
		if !slices.Contains(scopes, f.Scope) {
			bad("unknown scope %q; use one of %s", f.Scope, strings.Join(scopes, ", "))
		}
		if f.Scope == ScopeField || f.Scope == ScopeUserField {
			need("field", f.Field)
		}
	case KindSignal:
		need("column", f.Column)
	case KindTable:
		if table, column, ok := strings.Cut(f.Column, "."); !ok || table == "" || column == "" {
			bad("column is %q; write it as TABLE.COLUMN", f.Column)
		}
	}
	if !slices.Contains([]string{"", "rank", "zscore", "ratio"}, f.WithinList) {
		bad("unknown within_list %q; use rank, zscore or ratio", f.WithinList)
	}
	if !slices.Contains([]string{"", "onehot", "index"}, f.Encode) {
		bad("unknown encode %q; use onehot or index", f.Encode)
	}
	if f.WithinList != "" && len(columnNames(f)) > 1 && !f.Missing {
		bad("within_list needs a feature of a single column; drop it or the one-hot values")
	}
	if f.Min != nil && f.Max != nil && *f.Min > *f.Max {
		bad("min %g is above max %g", *f.Min, *f.Max)
	}
	if f.MaxValues < 0 {
		bad("max_values is %d; it must be 0 or more", f.MaxValues)
	}
	if f.Weight < 0 {
		bad("weight is %g; it must be 0 or more", f.Weight)
	}
}
