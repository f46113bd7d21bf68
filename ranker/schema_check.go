package ranker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

var kinds = []string{KindNumber, KindBoolean, KindCategory, KindWordCount, KindAge, KindCount, KindRate, KindInteracted,
	KindTimeOfDay, KindContext, KindTable, KindHistory, KindSignal, KindRetrieval, KindPosition}

// checkFeatures returns every problem of the entries, joined.
func checkFeatures(features []Feature) error {
	var errs []error
	seen := map[string]bool{}
	for i, f := range features {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("features[%d] %q: %s", i, f.Name, fmt.Sprintf(format, args...)))
		}
		if f.Name == "" {
			bad("name is missing")
		}
		if seen[f.Name] {
			bad("the name stands twice; every feature needs its own")
		}
		seen[f.Name] = true
		if !slices.Contains(kinds, f.Kind) {
			bad("kind %q is unknown; it is one of %v", f.Kind, kinds)
			continue
		}
		checkOptions(&f, bad)
	}
	return errors.Join(errs...)
}

func checkOptions(f *Feature, bad func(string, ...any)) {
	need := func(what, value string) {
		if value == "" {
			bad("kind %s needs %s", f.Kind, what)
		}
	}
	switch f.Kind {
	case KindNumber, KindBoolean, KindCategory, KindContext, KindInteracted, KindWordCount:
		need("field", f.Field)
	case KindCount, KindRate:
		need("action", f.Action)
		if !slices.Contains([]string{ScopeItem, ScopeField, ScopeUser, ScopeUserField, ScopeGlobal}, f.Scope) {
			bad("scope %q is unknown; it is item, field, user, user_field or global", f.Scope)
		}
		if f.Scope == ScopeField || f.Scope == ScopeUserField {
			need("field", f.Field)
		}
	case KindSignal:
		need("column", f.Column)
	case KindTable:
		if table, column, ok := strings.Cut(f.Column, "."); !ok || table == "" || column == "" {
			bad("column %q is not TABLE.COLUMN", f.Column)
		}
	}
	if !slices.Contains([]string{"", "rank", "zscore", "ratio"}, f.WithinList) {
		bad("within_list %q is unknown; it is rank, zscore or ratio", f.WithinList)
	}
	if !slices.Contains([]string{"", "onehot", "index"}, f.Encode) {
		bad("encode %q is unknown; it is onehot or index", f.Encode)
	}
	if f.WithinList != "" && len(columnNames(f)) > 1 && !f.Missing {
		bad("within_list goes with a single column, not with one-hot values")
	}
	if f.Min != nil && f.Max != nil && *f.Min > *f.Max {
		bad("min %g is above max %g", *f.Min, *f.Max)
	}
	if f.Weight < 0 {
		bad("weight %g is negative", f.Weight)
	}
}
