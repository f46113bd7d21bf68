package trends_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"relish/features/event"
	"relish/features/trends"
	"relish/ranker"
)

// start is a Tuesday at 10:00 UTC.
var start = time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)

// history applies events to counts as a log would have them.
type history struct {
	*trends.Counts
	seq uint64
}

func newHistory(fields ...string) *history {
	return &history{Counts: trends.New(fields, []string{"view", "click"})}
}

// add applies an event that arrived at a time.
func (h *history) add(arrival time.Time, e ranker.Event) {
	h.seq++
	h.Apply(&event.Record{Seq: h.seq, Arrival: arrival.UnixMilli(), Event: e})
}

func text(id, title string, fields map[string]ranker.FieldValue) ranker.Event {
	return ranker.Event{Kind: ranker.EventItem, ItemID: id, Title: &title, Fields: fields}
}

func values(pairs ...string) map[string]ranker.FieldValue {
	out := map[string]ranker.FieldValue{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = ranker.StringValue(pairs[i+1])
	}
	return out
}

// label is the event by which the server labels an item.
func label(id, sentiment string) ranker.Event {
	fields := values("sentiment", sentiment)
	fields["sentiment"+trends.LabelSuffix] = ranker.NumberValue(.9)
	return ranker.Event{Kind: ranker.EventItem, ItemID: id, Fields: fields}
}

func act(action, item string) ranker.Event {
	return ranker.Event{
		Kind: ranker.EventInteraction, ItemID: item, UserID: "u", Action: action,
	}
}

// check compares the counts by hour, and the totals, with the wanted ones of the last hours.
func (h *history) check(
	t *testing.T, source, field, value string, now time.Time, want, totals []int,
) {
	t.Helper()
	got, err := h.Hours(field, source, value, now)
	if err != nil {
		t.Fatal(err)
	}
	last := len(got.Counts) - len(want)
	if !slices.Equal(got.Counts[last:], want) || !slices.Equal(got.Totals[last:], totals) {
		t.Errorf("%s of %s: counts %v of %v, want %v of %v", value, source, got.Counts[last:],
			got.Totals[last:], want, totals)
	}
}

// A label counts at the time of its text, and another label of the same text takes its place. A
// text that is sent again does not count again, and a new one does.
func TestLabelsCountAtTheTimeOfTheText(t *testing.T) {
	h, hour := newHistory("sentiment"), time.Hour
	h.add(start, text("a", "profit fell", nil))
	h.add(start.Add(hour), label("a", "negative"))
	h.check(t, "items", "sentiment", "negative", start.Add(hour), []int{1, 0}, []int{1, 0})
	h.add(start.Add(hour), label("a", "neutral")) // by a new version of the classifier
	h.check(t, "items", "sentiment", "negative", start.Add(hour), []int{0, 0}, []int{1, 0})
	h.check(t, "items", "sentiment", "neutral", start.Add(hour), []int{1, 0}, []int{1, 0})
	again := text("a", "profit fell", nil)
	again.Replace = true // the catalogue is sent again, without the label
	h.add(start.Add(hour), again)
	h.add(start.Add(hour), label("a", "neutral"))
	h.check(t, "items", "sentiment", "neutral", start.Add(hour), []int{1, 0}, []int{1, 0})
	changed := text("a", "profit rose", nil)
	changed.Replace = true
	h.add(start.Add(hour), changed)
	h.add(start.Add(hour), label("a", "positive"))
	h.check(t, "items", "sentiment", "neutral", start.Add(hour), []int{1, 0}, []int{1, 1})
	h.check(t, "items", "sentiment", "positive", start.Add(hour), []int{0, 1}, []int{1, 1})
}

// A label of a text that the log does not have counts for interactions only.
func TestLabelOfAnUnknownText(t *testing.T) {
	h := newHistory("sentiment")
	for _, sentiment := range []string{"negative", "neutral"} {
		h.add(start, label("a", sentiment))
		h.add(start, act("click", "a"))
	}
	h.check(t, "items", "sentiment", "neutral", start, []int{0}, []int{0})
	h.check(t, "click", "sentiment", "neutral", start, []int{1}, []int{2})
	h.add(start, text("a", "x", nil))
	h.add(start, label("a", "neutral"))
	h.check(t, "items", "sentiment", "neutral", start, []int{1}, []int{1})
}

// Other fields count when they change, and each value of a list counts.
func TestFieldsCountWhenTheyChange(t *testing.T) {
	h, hour := newHistory("status", "tags"), time.Hour
	e := text("a", "a coat", values("status", "new"))
	e.Tags = []string{"wool", "blue", "wool"}
	h.add(start, e)
	sold := ranker.Event{Kind: ranker.EventItem, ItemID: "a", Fields: values("status", "sold")}
	h.add(start.Add(hour), sold)
	h.add(start.Add(hour), sold)
	now := start.Add(hour)
	h.check(t, "items", "status", "new", now, []int{1, 0}, []int{1, 1})
	h.check(t, "items", "status", "sold", now, []int{0, 1}, []int{1, 1})
	h.check(t, "items", "tags", "wool", now, []int{1, 0}, []int{1, 0})
	h.check(t, "items", "tags", "blue", now, []int{1, 0}, []int{1, 0})
}

// An interaction counts for the values that the item has by then, at its event time but not after
// its arrival.
func TestInteractionsCountForTheValuesOfTheirTime(t *testing.T) {
	h, hour := newHistory("sentiment"), time.Hour
	h.add(start, act("click", "a")) // nobody has described it
	h.add(start, text("a", "x", values("sentiment", "neutral")))
	h.add(start, act("click", "a"))
	h.add(start.Add(hour), label("a", "negative"))
	late := act("click", "a")
	late.Time = start.Add(9 * hour).UnixMilli()
	h.add(start.Add(hour), late)
	h.add(start.Add(hour), act("share", "a")) // not a counted action
	replaced := text("a", "x", nil)
	replaced.Replace = true
	h.add(start.Add(hour), replaced)
	h.add(start.Add(hour), act("click", "a")) // it has no value now
	h.add(start.Add(hour), ranker.Event{Kind: ranker.EventDelete, ItemID: "a"})
	h.add(start.Add(hour), act("click", "a"))
	now := start.Add(hour)
	h.check(t, "click", "sentiment", "neutral", now, []int{1, 0}, []int{1, 1})
	h.check(t, "click", "sentiment", "negative", now, []int{0, 1}, []int{1, 1})
	h.check(t, "view", "sentiment", "negative", now, []int{0, 0}, []int{0, 0})
}

// Imported events count at their event times, a record that comes twice counts once, and what is
// older than what is known changes nothing.
func TestEventTimes(t *testing.T) {
	h := newHistory("sentiment")
	e := text("a", "x", values("sentiment", "neutral"))
	e.Time, e.Imported = start.Add(-50*24*time.Hour).UnixMilli(), true
	h.add(start, e)
	h.seq--
	h.add(start, e)
	older := text("a", "y", values("sentiment", "negative"))
	older.Time = start.Add(-60 * 24 * time.Hour).UnixMilli()
	h.add(start, older)
	s, err := h.Query(trends.Query{
		Field: "sentiment", ByDay: true, Now: start, From: start.Add(-61 * 24 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Values) != 1 || s.Values[0].Count != 1 || s.Values[0].Counts[11] != 1 {
		t.Errorf("%+v, want one neutral text on the 12th of %d days", s.Values, len(s.Buckets))
	}
	h.check(t, "items", "sentiment", "neutral", start, []int{0}, []int{0}) // too old for hours
}

// The counts are bounded: hours and days by age, values by number and length.
func TestBounds(t *testing.T) {
	h := newHistory("topic")
	for i := range 3 * trends.MaxValues {
		h.add(start, text(fmt.Sprint(i), "x", values("topic", fmt.Sprint("t", i))))
	}
	s, err := h.Query(trends.Query{Field: "topic", Now: start, Values: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Values) != 3 || s.Other == nil || s.Other.Count != 3*trends.MaxValues-3 {
		t.Errorf("%d values, others %+v", len(s.Values), s.Other)
	}
	before, _ := h.Sizes()
	if before != 2*(trends.MaxValues+2) {
		t.Errorf("%d counts of %d values", before, trends.MaxValues)
	}
	h.add(start.Add(trends.HoursKept*time.Hour), act("click", "0"))
	if after, _ := h.Sizes(); after != before/2+4 { // the hour is gone, the day is not
		t.Errorf("%d counts after %d h, had %d", after, trends.HoursKept, before)
	}
	h.add(start.Add(trends.DaysKept*24*time.Hour), act("click", "gone"))
	if after, _ := h.Sizes(); after != 2 { // the day of the click above
		t.Errorf("%d counts after %d days", after, trends.DaysKept)
	}
}

func TestQuery(t *testing.T) {
	h := newHistory("sentiment")
	for i, sentiment := range []string{"neutral", "neutral", "neutral", "negative"} {
		h.add(start, text(fmt.Sprint(i), "x", values("sentiment", sentiment)))
	}
	s, err := h.Query(trends.Query{Field: "sentiment", Now: start.Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	last := len(s.Buckets) - 1
	if last != 47 || !s.Buckets[last].Equal(start) || s.Totals[last] != 4 ||
		s.Values[0].Value != "neutral" || s.Values[0].Shares[last] != .75 ||
		s.Values[1].Counts[last] != 1 || s.Values[1].Shares[0] != 0 {
		t.Errorf("the series is %+v", s)
	}
	for want, q := range map[string]trends.Query{
		`field "sentimnt" is not counted; did you mean "sentiment"?`: {Field: "sentimnt"},
		`source "buy" is not counted: name one of items, view, click`: {
			Field: "sentiment", Source: "buy",
		},
		"from is after to: swap them": {
			Field: "sentiment", From: start, To: start.Add(-time.Hour),
		},
		"from and to enclose 1201 periods; at most 840 are kept: " +
			"ask for a shorter time, or by=day": {
			Field: "sentiment", From: start.Add(-1200 * time.Hour),
		},
		"values must be 1 to 512, and is -1": {Field: "sentiment", Values: -1},
	} {
		q.Now = start
		if _, err := h.Query(q); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// Items with many values are forgotten by the memory that they take, the oldest texts first.
func TestItemsAreBoundedInBytes(t *testing.T) {
	var fields []string
	for f := range trends.MaxFields {
		fields = append(fields, fmt.Sprint("f", f))
	}
	var values []string
	for v := range 32 {
		values = append(values, fmt.Sprint("v", v))
	}
	content := map[string]ranker.FieldValue{}
	for _, f := range fields {
		content[f] = ranker.StringsValue(values)
	}
	c := trends.New(fields, nil)
	const perItem = 120 + 3*32*trends.MaxFields
	for i := range 128<<20/perItem + 10 {
		title := fmt.Sprint("title ", i)
		c.Apply(&event.Record{Seq: uint64(i + 1), Arrival: int64(i+1) * 1000, Event: ranker.Event{
			Kind: ranker.EventItem, ItemID: fmt.Sprint(i), Title: &title, Fields: content,
		}})
	}
	if _, items := c.Sizes(); items < 35_000 || items > 128<<20/perItem {
		t.Errorf("%d items of %d bytes are remembered", items, perItem)
	}
}
