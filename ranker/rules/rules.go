package rules

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"relish/ranker"
)

// matches reports whether the entry's item meets the condition. An unknown item lacks every field but id.
func (c *Condition) matches(l *ranker.List, e *ranker.Entry) bool {
	v, ok := fieldOf(l, e, c.Field)
	if !ok || c.Missing {
		return !ok && c.Missing
	}
	words := v.AsStrings()
	if c.Equals != nil && !slices.Contains(words, fmt.Sprint(c.Equals)) {
		return false
	}
	if len(c.In) > 0 && !slices.ContainsFunc(c.In, func(x any) bool { return slices.Contains(words, fmt.Sprint(x)) }) {
		return false
	}
	if (c.Lt != nil || c.Gt != nil) && v.Kind != ranker.Number {
		return false
	}
	return (c.Lt == nil || v.Num < *c.Lt) && (c.Gt == nil || v.Num > *c.Gt)
}

func fieldOf(l *ranker.List, e *ranker.Entry, name string) (ranker.FieldValue, bool) {
	if name == "id" {
		return ranker.StringValue(l.Request.Candidates[e.Index].ID), true
	}
	it := l.State.Items[e.Index]
	if it == nil {
		return ranker.FieldValue{}, false
	}
	if name == "tags" {
		return ranker.StringsValue(it.Tags), it.Tags != nil
	}
	v, ok := it.Fields[name]
	return v, ok
}

type filter struct {
	seen       *Seen
	conditions []Condition
}

// Name implements ranker.Step.
func (*filter) Name() string { return "filter" }

// Apply implements ranker.Step.
func (f *filter) Apply(_ context.Context, l *ranker.List) error {
	had := map[string]bool{}
	if f.seen != nil {
		for _, in := range l.State.Recent {
			if slices.Contains(f.seen.Actions, in.Action) {
				had[in.Item] = true
			}
		}
		for _, s := range l.State.Shown {
			had[s.Item] = had[s.Item] || f.seen.Shown
		}
	}
	l.Entries = slices.DeleteFunc(l.Entries, func(e ranker.Entry) bool {
		if had[l.Request.Candidates[e.Index].ID] {
			return true
		}
		return slices.ContainsFunc(f.conditions, func(c Condition) bool { return c.matches(l, &e) })
	})
	return nil
}

type boost struct{ boosts []Boost }

// Name implements ranker.Step.
func (*boost) Name() string { return "boost" }

// Apply implements ranker.Step.
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
	slices.SortStableFunc(l.Entries, func(a, b ranker.Entry) int { return cmp.Compare(b.Score, a.Score) })
	return nil
}

type pin struct{ pins []Pin }

// Name implements ranker.Step.
func (*pin) Name() string { return "pin" }

// Apply implements ranker.Step.
func (p *pin) Apply(_ context.Context, l *ranker.List) error {
	pinned := map[int]ranker.Entry{} // place - 1
	for k := range p.pins {
		at := slices.IndexFunc(l.Entries, func(e ranker.Entry) bool { return p.pins[k].When.matches(l, &e) })
		if _, taken := pinned[p.pins[k].Position-1]; at < 0 || taken {
			continue
		}
		e := l.Entries[at]
		e.MovedBy = append(slices.Clone(e.MovedBy), p.Name())
		pinned[p.pins[k].Position-1] = e
		l.Entries = slices.Delete(l.Entries, at, at+1)
	}
	places := make([]int, 0, len(pinned))
	for place := range pinned {
		places = append(places, place)
	}
	slices.Sort(places)
	for _, place := range places {
		l.Entries = slices.Insert(l.Entries, min(place, len(l.Entries)), pinned[place])
	}
	return nil
}
