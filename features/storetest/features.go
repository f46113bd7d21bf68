package storetest

import (
	"math"
	"testing"

	"relish/features"
	"relish/ranker"
)

// featureValues checks the value of every kind of feature.
func featureValues(t *testing.T, b Backend) {
	s := b.Open(t, Config())
	a := item("i1", "a", t0-2*3600*1000, "x", "y")
	a.Fields = map[string]ranker.FieldValue{
		"price": ranker.NumberValue(3),
		"on":    ranker.BoolValue(true),
		"kind":  ranker.StringValue("film"),
		"made":  ranker.NumberValue(float64(t0/1000 - 3600)),
	}
	a.Text = ptr("three plain words")
	user := ranker.Event{
		Kind: ranker.EventUser, ID: "u1", Time: t0, UserID: "u",
		Fields: map[string]ranker.FieldValue{"age": ranker.NumberValue(33)},
	}
	appendEvents(t, s, a, item("i2", "b", t0, "y", "z"), user,
		impression("s1", "u", t0, "a", "b"), impression("s2", "v", t0, "a", "b"),
		interaction("c1", "u", "click", "a", t0))
	nan, kinds := math.NaN(), []string{"book", "film"}
	logOdds := func(p float64) float64 { return math.Log(p / (1 - p)) }
	// global is the click rate, one click on four shown, in steps of 1/128 of its log-odds.
	global := 1 / (1 + math.Exp(-math.Round(logOdds(0.25)*128)/128))
	smoothed := func(clicks, shown, prior float64) float64 {
		return (clicks + 10*prior) / (shown + 10)
	}
	// relative is the log-odds of the smoothed rate minus those of the prior.
	relative := func(clicks, shown, prior float64) float64 {
		return logOdds(smoothed(clicks, shown, prior)) - logOdds(prior)
	}
	// The rates of the tags over all users: x had one click of two, y one of four, z none of two.
	x, y, z := smoothed(1, 2, global), smoothed(1, 4, global), smoothed(0, 2, global)
	type feature = ranker.Feature
	for _, c := range []struct {
		f    feature
		want []float64 // for a, b and an unknown item, all columns
	}{
		{feature{Kind: ranker.KindNumber, Field: "price"}, []float64{3, nan, nan}},
		{feature{Kind: ranker.KindNumber, Field: "user.age"}, []float64{33, 33, 33}},
		{feature{Kind: ranker.KindBoolean, Field: "on"}, []float64{1, nan, nan}},
		{
			feature{Kind: ranker.KindCategory, Field: "kind", Values: kinds},
			[]float64{0, 1, nan, nan, nan, nan},
		},
		{
			feature{Kind: ranker.KindCategory, Field: "kind", Values: kinds, Encode: "index"},
			[]float64{1, nan, nan},
		},
		{feature{Kind: ranker.KindWordCount, Field: "text"}, []float64{3, 0, nan}},
		{feature{Kind: ranker.KindAge}, []float64{math.Log1p(2), 0, nan}},
		{feature{Kind: ranker.KindAge, Field: "made"}, []float64{math.Log1p(1), nan, nan}},
		{
			feature{
				Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: features.ActionImpression,
			},
			[]float64{math.Log1p(2), math.Log1p(2), 0},
		},
		{
			feature{Kind: ranker.KindRate, Scope: ranker.ScopeItem, Action: "click"},
			[]float64{relative(1, 2, global), relative(0, 2, global), 0},
		},
		{
			feature{Kind: ranker.KindRate, Scope: ranker.ScopeUser, Action: "any"},
			[]float64{relative(1, 2, global), relative(1, 2, global), relative(1, 2, global)},
		},
		{
			feature{
				Kind: ranker.KindRate, Scope: ranker.ScopeField, Action: "click", Field: "tags",
			},
			[]float64{
				(relative(1, 2, global) + relative(1, 4, global)) / 2,
				(relative(1, 4, global) + relative(0, 2, global)) / 2,
				nan,
			},
		},
		{
			feature{
				Kind: ranker.KindRate, Scope: ranker.ScopeUserField, Action: "click", Field: "tags",
			},
			[]float64{
				(relative(1, 1, x) + relative(1, 2, y)) / 2,
				(relative(1, 2, y) + relative(0, 1, z)) / 2,
				nan,
			},
		},
		{feature{Kind: ranker.KindInteracted, Field: "tags"}, []float64{1, 0.5, nan}},
		{feature{Kind: ranker.KindHistory}, []float64{math.Log1p(1), math.Log1p(1), math.Log1p(1)}},
		{feature{Kind: ranker.KindTimeOfDay}, []float64{22 + 13.0/60, 22 + 13.0/60, 22 + 13.0/60}},
		{feature{Kind: ranker.KindTable, Column: "t.c"}, []float64{nan, nan, nan}},
	} {
		c.f.Name = c.f.Kind + "/" + c.f.Scope + "/" + c.f.Field
		t.Run(c.f.Name, func(t *testing.T) {
			wantColumns(t, read(t, s, schema(t, c.f), "u", "a", "b", "new"), c.want...)
		})
	}
}

// Inline content holds for one request and replaces the stored parts.
func inline(t *testing.T, b Backend) {
	s := b.Open(t, Config())
	appendEvents(t, s, item("i", "a", t0, "x"))
	sch := schema(t, ranker.Feature{Name: "p", Kind: ranker.KindNumber, Field: "price"})
	changed := ranker.Candidate{ID: "a", Inline: &ranker.Item{
		Text: "inline", Fields: map[string]ranker.FieldValue{"price": ranker.NumberValue(7)},
	}}
	added := ranker.Candidate{ID: "new", Inline: &ranker.Item{Title: "N"}}
	q := &ranker.FeatureQuery{
		User: "u", Now: t0, Schema: sch, Candidates: []ranker.Candidate{changed, added},
	}
	st, err := s.Read(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	a, n := st.Items[0], st.Items[1]
	if st.Columns[0] != 7 || a.Title() != "Title of a" || a.Text() != "inline" {
		t.Errorf("price %v of %+v", st.Columns[0], a)
	}
	if n.Title() != "N" || n.TextKey == 0 {
		t.Errorf("the new item is %+v", n)
	}
	if it, _ := s.Item("a"); it.Text != "" {
		t.Error("the store kept an inline text")
	}
}
