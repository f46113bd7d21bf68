package event_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"relish/features/event"
	"relish/ranker"
)

const arrival = int64(1_700_000_000_000)

func interactionWith(id string) ranker.Event {
	return ranker.Event{
		Kind: ranker.EventInteraction, ID: id, UserID: "u", ItemID: "i", Action: "click",
	}
}

// changed returns an event with a change.
func changed(e ranker.Event, change func(*ranker.Event)) ranker.Event {
	change(&e)
	return e
}

func TestIdentity(t *testing.T) {
	list := ranker.Event{
		Kind: ranker.EventImpression, ID: "1", UserID: "u",
		Impression: &ranker.Impression{Items: []string{"a", "b"}},
	}
	one := interactionWith("1")
	toOtherUser := func(e *ranker.Event) { e.UserID = "v" }
	at := func(ms int64) func(*ranker.Event) { return func(e *ranker.Event) { e.Time = ms } }
	from := func(source string) func(*ranker.Event) {
		return func(e *ranker.Event) { e.Source = source }
	}
	early, late := changed(one, at(arrival-9)), changed(one, at(arrival-5))
	for name, c := range map[string]struct {
		a, b            ranker.Event
		sameID, repeats bool
	}{
		"the same":                     {one, one, true, true},
		"another id":                   {one, interactionWith("2"), false, true},
		"another source":               {one, changed(one, from("key:web")), false, true},
		"another user":                 {one, changed(one, toOtherUser), true, false},
		"without a time":               {one, late, true, true},
		"another time":                 {early, late, true, false},
		"time of arrival":              {changed(one, at(arrival)), late, true, true},
		"impression of another source": {list, changed(list, from("key:web")), true, true},
		"impression with other items": {list, changed(list, func(e *ranker.Event) {
			e.Impression = &ranker.Impression{Items: []string{"b", "a"}}
		}), true, false},
		"impression with other propensities": {list, changed(list, func(e *ranker.Event) {
			e.Impression = &ranker.Impression{
				Items: []string{"a", "b"}, Propensity: []float64{1, .5},
			}
		}), true, false},
	} {
		a, b := event.IdentityOf(&c.a, arrival), event.IdentityOf(&c.b, arrival)
		if (a.ID == b.ID) != c.sameID || a.Repeats(b) != c.repeats || b.Repeats(a) != c.repeats {
			t.Errorf("%s: the same id %t, repeats %t", name, a.ID == b.ID, a.Repeats(b))
		}
		if !a.Repeats(event.Identity{ID: a.ID}) {
			t.Errorf("%s: does not repeat an event of unknown content", name)
		}
	}
}

// An event that comes back from the log has the identity that it had on arrival.
func TestIdentitySurvivesTheLog(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	text := func() string { return fmt.Sprint("ä€\"<", rng.IntN(5)) }
	for range 500 {
		e := interactionWith(text())
		e.Source, e.Time = "key:"+text(), arrival-int64(rng.IntN(2))
		switch rng.IntN(3) {
		case 0:
			value := rng.NormFloat64() * 1e30
			e.Value, e.ImpressionID, e.Imported = &value, text(), rng.IntN(2) == 0
		case 1:
			title := text()
			e = ranker.Event{
				Kind: ranker.EventItem, ID: text(), ItemID: "i", Title: &title,
				Tags: []string{text()}, Fields: map[string]ranker.FieldValue{
					text(): ranker.NumberValue(rng.NormFloat64()), "b": ranker.BoolValue(true),
					"l": ranker.StringsValue([]string{}), "s": ranker.StringValue(text()),
				},
			}
		case 2:
			e.Kind, e.ItemID, e.Action = ranker.EventImpression, "", ""
			e.Impression = &ranker.Impression{
				Items: []string{"a", text()}, Propensity: []float64{1, rng.Float64()},
				Scores:  []float64{rng.NormFloat64(), 0},
				Context: map[string]ranker.FieldValue{"c": ranker.StringValue(text())},
				Model:   "m", Experiments: map[string]string{"x": text(), "y": text()},
			}
		}
		data, err := event.AppendLog(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := event.DecodeLog(data)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := event.IdentityOf(&e, arrival), event.IdentityOf(&back, arrival); a != b {
			t.Fatalf("%s: %v became %v", data, a, b)
		}
	}
}
