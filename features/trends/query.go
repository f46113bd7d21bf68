package trends

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"relish/internal/suggest"
)

// Query asks for the counts of one field.
type Query struct {
	Field  string
	Source string // SourceItems or an action; "": SourceItems
	ByDay  bool   // else by hour
	// From and To bound the periods, To included. Zero: the 48 hours or 30 days up to Now, and Now.
	From, To time.Time
	Now      time.Time
	Values   int // how many values are named, the most frequent first; 0: 10
}

// Series is the answer to a Query. Its slices are aligned with Buckets.
type Series struct {
	Field   string      `json:"field"`
	Source  string      `json:"source"`
	By      string      `json:"by"`      // hour or day
	Buckets []time.Time `json:"buckets"` // start of each period, UTC
	// Totals has the events of items with a value. A share is a part of it: the shares of a field
	// with several values for an item add up to more than 1.
	Totals []int         `json:"totals"`
	Values []ValueSeries `json:"values"` // most frequent first
	// Other has all values that Values does not name, nil if there are none.
	Other *ValueSeries `json:"other,omitzero"`
	// Behind is how many records of the log are not counted yet.
	Behind uint64 `json:"behind"`
}

// ValueSeries are the counts of one value over time.
type ValueSeries struct {
	Value  string    `json:"value,omitzero"`
	Count  int       `json:"count"` // in all periods together
	Counts []int     `json:"counts"`
	Shares []float64 `json:"shares"` // 0 where the total is 0
}

// Defaults of a Query.
const (
	defaultHours  = 48
	defaultDays   = 30
	defaultValues = 10
)

// QueryError says what is wrong with a Query, for clients.
type QueryError struct{ message string }

// Error implements error.
func (e *QueryError) Error() string { return e.message }

// place returns the indexes of a field and a source.
func (c *Counts) place(name, source string) (f, s int, err error) {
	f = slices.Index(c.Fields(), name)
	s = slices.Index(c.sources, cmp.Or(source, SourceItems))
	if f < 0 {
		message := fmt.Sprintf("field %.80q is not counted", name)
		if hint := suggest.DidYouMean(name, c.Fields()); hint != "" {
			message += hint
		} else if len(c.fields) > 0 {
			message += ": name one of " + strings.Join(c.Fields(), ", ") +
				", or add it to trends.fields in relish.yaml"
		} else {
			message += ": name it in trends.fields in relish.yaml, or train a classifier with " +
				"that name"
		}
		return 0, 0, &QueryError{message}
	}
	if s < 0 {
		return 0, 0, &QueryError{fmt.Sprintf("source %.80q is not counted: name one of %s", source,
			strings.Join(c.sources, ", "))}
	}
	return f, s, nil
}

// Query returns counts and shares over time. Its errors are *QueryError.
func (c *Counts) Query(q Query) (*Series, error) {
	f, source, err := c.place(q.Field, q.Source)
	if err != nil {
		return nil, err
	}
	if q.Values < 0 || q.Values > MaxValues {
		return nil, &QueryError{fmt.Sprintf("values must be 1 to %d, and is %d", MaxValues,
			q.Values)}
	}
	b, name, length := &c.hours, "hour", int64(defaultHours)
	if q.ByDay {
		b, name, length = &c.days, "day", defaultDays
	}
	from, to, err := q.periods(b, length)
	if err != nil {
		return nil, err
	}
	s := &Series{Field: q.Field, Source: c.sources[source], By: name, Values: []ValueSeries{}}
	byValue := map[uint16]*ValueSeries{}
	periods := int(to - from + 1)
	s.Totals = make([]int, periods)
	for n := from; n <= to; n++ {
		s.Buckets = append(s.Buckets, time.UnixMilli(n*b.size).UTC())
		for key, count := range b.counts[n] {
			if key.field() != f || key.source() != source {
				continue
			}
			if key.value() == totalID {
				s.Totals[n-from] = int(count)
				continue
			}
			v := byValue[key.value()]
			if v == nil {
				v = &ValueSeries{Counts: make([]int, periods)}
				byValue[key.value()] = v
			}
			v.Counts[n-from] = int(count)
			v.Count += int(count)
		}
	}
	s.fill(c.fields[f].values, byValue, cmp.Or(q.Values, defaultValues))
	return s, nil
}

// periods returns the first and the last period of a query.
func (q *Query) periods(b *buckets, length int64) (from, to int64, err error) {
	most := int64(HoursKept)
	if q.ByDay {
		most = DaysKept
	}
	to = b.at(q.Now.UnixMilli())
	if !q.To.IsZero() {
		to = b.at(q.To.UnixMilli())
	}
	from = to - length + 1
	if !q.From.IsZero() {
		from = b.at(q.From.UnixMilli())
	}
	switch {
	case from > to:
		return 0, 0, &QueryError{"from is after to: swap them"}
	case to-from >= most:
		return 0, 0, &QueryError{fmt.Sprintf("from and to enclose %d periods; at most %d are "+
			"kept: ask for a shorter time, or by=day", to-from+1, most)}
	}
	return from, to, nil
}

// fill sets the values, their shares, and the rest.
func (s *Series) fill(names []string, byValue map[uint16]*ValueSeries, most int) {
	for id, v := range byValue {
		if id != otherID {
			v.Value = names[id-firstValue]
			s.Values = append(s.Values, *v)
		}
	}
	slices.SortFunc(s.Values, func(a, b ValueSeries) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
	s.Other = byValue[otherID]
	for _, v := range s.Values[min(most, len(s.Values)):] {
		if s.Other == nil {
			s.Other = &ValueSeries{Counts: make([]int, len(s.Totals))}
		}
		s.Other.Count += v.Count
		for i, n := range v.Counts {
			s.Other.Counts[i] += n
		}
	}
	s.Values = s.Values[:min(most, len(s.Values))]
	for i := range s.Values {
		s.Values[i].setShares(s.Totals)
	}
	if s.Other != nil {
		s.Other.setShares(s.Totals)
	}
}

func (v *ValueSeries) setShares(totals []int) {
	v.Shares = make([]float64, len(totals))
	for i, total := range totals {
		if total > 0 {
			v.Shares[i] = float64(v.Counts[i]) / float64(total)
		}
	}
}

// Hours are the counts of one value in consecutive hours.
type Hours struct {
	Counts, Totals []int // oldest first; the last one is the hour of now
	// Known is how many of the hours, from the end, are not before the first hour in which the
	// field was counted.
	Known int
}

// Hours returns the counts of a value in all kept hours up to the hour of now. Its errors are
// *QueryError.
func (c *Counts) Hours(name, source, value string, now time.Time) (*Hours, error) {
	f, s, err := c.place(name, source)
	if err != nil {
		return nil, err
	}
	h := &Hours{Counts: make([]int, HoursKept), Totals: make([]int, HoursKept)}
	id, counted := c.fields[f].ids[value]
	last := c.hours.at(now.UnixMilli())
	for i := range HoursKept {
		counts := c.hours.counts[last-HoursKept+1+int64(i)]
		h.Totals[i] = int(counts[cellOf(f, s, totalID)])
		if counted {
			h.Counts[i] = int(counts[cellOf(f, s, id)])
		}
		if h.Totals[i] > 0 && h.Known == 0 {
			h.Known = HoursKept - i
		}
	}
	return h, nil
}

// TextTime returns the event time of an item's text, in whole seconds. known is false for an item
// that is not remembered.
func (c *Counts) TextTime(itemID string) (at time.Time, known bool) {
	it, known := c.items[xxhash.Sum64String(itemID)]
	if !known {
		return at, false
	}
	return time.Unix(int64(it.time), 0).UTC(), true
}

// Sizes returns the numbers of counts and of remembered items.
func (c *Counts) Sizes() (cells, items int) { return c.hours.cells + c.days.cells, len(c.items) }
