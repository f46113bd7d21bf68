package rules

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"relish/ranker"
)

// matches reports whether the entry's item meets the condition.
func (c *Condition) matches(l *ranker.List, e *ranker.Entry) bool {
	v, ok := fieldOf(l, e, c.Field)
	if !ok || c.Missing {
		return !ok && c.Missing
	}
	values := v.AsStrings()
	if c.Equals != nil && !slices.Contains(values, fmt.Sprint(c.Equals)) {
		return false
	}
	isValue := func(x any) bool { return slices.Contains(values, fmt.Sprint(x)) }
	if len(c.In) > 0 && !slices.ContainsFunc(c.In, isValue) {
		return false
	}
	if (c.Lt != nil || c.Gt != nil) && v.Kind != ranker.Number {
		return false
	}
	return (c.Lt == nil || v.Num < *c.Lt) && (c.Gt == nil || v.Num > *c.Gt)
}

// fieldOf returns the value that a condition on the named field tests, and whether the item has it.
func fieldOf(l *ranker.List, e *ranker.Entry, name string) (ranker.FieldValue, bool) {
	if name == "id" {
		return ranker.StringValue(l.Request.Candidates[e.Index].ID), true
	}
	it := l.State.Items[e.Index]
	if it == nil {
		return ranker.FieldValue{}, false
	}
	if name == "tags" {
		tags := it.Tags()
		return ranker.StringsValue(tags), tags != nil
	}
	return it.Field(name)
}

// filter removes entries.
type filter struct {
	seen       *Seen // nil: keep what the user has seen
	conditions []Condition
}

// Name implements ranker.Rule.
func (*filter) Name() string { return "filter" }

// Apply implements ranker.Rule.
func (f *filter) Apply(_ context.Context, l *ranker.List) error {
	seen := map[string]bool{}
	if f.seen != nil {
		for _, in := range l.State.Recent {
			if slices.Contains(f.seen.Actions, in.Action) {
				seen[in.Item] = true
			}
		}
		for _, s := range l.State.Shown {
			seen[s.Item] = seen[s.Item] || f.seen.Shown
		}
	}
	l.Entries = slices.DeleteFunc(l.Entries, func(e ranker.Entry) bool {
		if seen[l.Request.Candidates[e.Index].ID] {
			return true
		}
		return slices.ContainsFunc(f.conditions, func(c Condition) bool { return c.matches(l, &e) })
	})
	return nil
}

// boost adds to scores and sorts again.
type boost struct{ boosts []Boost }

// Name implements ranker.Rule.
func (*boost) Name() string { return "boost" }

// Apply implements ranker.Rule.
func (b *boost) Apply(_ context.Context, l *ranker.List) error {
	for i := range l.Entries {
		e := &l.Entries[i]
		for k := range b.boosts {
			if b.boosts[k].When.matches(l, e) {
				e.Score += b.boosts[k].Add
				if !slices.Contains(e.MovedBy, b.Name()) {
					e.MovedBy = append(e.MovedBy, b.Name())
				}
			}
		}
	}
	slices.SortStableFunc(
		l.Entries,
		func(a, b ranker.Entry) int { return cmp.Compare(b.Score, a.Score) },
	)
	return nil
}

// pin moves entries to fixed positions.
type pin struct{ pins []Pin }

// Name implements ranker.Rule.
func (*pin) Name() string { return "pin" }

// Apply implements ranker.Rule. If two pins name the same position, the first that finds an item
// wins.
func (p *pin) Apply(_ context.Context, l *ranker.List) error {
	pinned := map[int]ranker.Entry{} // by index into the entries
	for k := range p.pins {
		index := p.pins[k].Position - 1
		matches := func(e ranker.Entry) bool { return p.pins[k].When.matches(l, &e) }
		from := slices.IndexFunc(l.Entries, matches)
		if _, taken := pinned[index]; from < 0 || taken {
			continue
		}
		e := l.Entries[from]
		e.MovedBy = append(slices.Clone(e.MovedBy), p.Name())
		pinned[index] = e
		l.Entries = slices.Delete(l.Entries, from, from+1)
	}
	indices := make([]int, 0, len(pinned))
	for index := range pinned {
		indices = append(indices, index)
	}
	slices.Sort(indices)
	for _, index := range indices {
		l.Entries = slices.Insert(l.Entries, min(index, len(l.Entries)), pinned[index])
	}
	return nil
}
