package ranker_test

import (
	"math"
	"testing"

	"relish/ranker"
)

// With a search text, the answer has the probability that no candidate fits, from the highest
// score or the highest value of a column. Below MinFit it has no items, and nothing is recorded.
func TestNoAnswer(t *testing.T) {
	const n = 20 // the highest text score is 19, in a sum with a quality of .85
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(x)) }
	for name, c := range map[string]struct {
		estimate ranker.NoAnswer
		want     float64
	}{
		"score":        {ranker.NoAnswer{Slope: 0.1, Offset: -3}, sigmoid(0.1*19.85 - 3)},
		"a column":     {ranker.NoAnswer{Column: "text", Slope: 0.1, Offset: -3}, sigmoid(1.9 - 3)},
		"no value":     {ranker.NoAnswer{Column: "retrieval", Slope: 1}, 1},
		"no such name": {ranker.NoAnswer{Column: "no such", Slope: 1}, 1},
	} {
		w := newWorld(t, n)
		w.models.main.NoAnswer = &c.estimate
		req := w.request(n)
		if resp := w.rank(t, req); resp.NoAnswer != nil {
			t.Errorf("%s: %v without a search text", name, *resp.NoAnswer)
		}
		req.Context = map[string]ranker.FieldValue{"query": ranker.StringValue("where")}
		resp := w.rank(t, req)
		if resp.NoAnswer == nil || math.Abs(*resp.NoAnswer-c.want) > 1e-6 {
			t.Fatalf("%s: no answer %v, want %v", name, resp.NoAnswer, c.want)
		}
		checkComplete(t, req, resp)
		for fit, items := range map[float64]int{1 - c.want - 1e-3: n, 1 - c.want + 1e-3: 0} {
			recorded := len(w.events)
			req.MinFit, req.Explain = fit, 3
			resp := w.rank(t, req)
			if len(resp.Items) != items || (len(w.events) > recorded) != (items > 0) {
				t.Errorf("%s: min_fit %.3f gives %d items, %d records", name, fit, len(resp.Items),
					len(w.events)-recorded)
			}
		}
	}
	w := newWorld(t, n)
	req := w.request(n)
	req.Context = map[string]ranker.FieldValue{"query": ranker.StringValue("where")}
	req.MinFit = 1
	if resp := w.rank(t, req); resp.NoAnswer != nil || len(resp.Items) != n {
		t.Errorf("a model without an estimate gives %v and %d items",
			resp.NoAnswer, len(resp.Items))
	}
}

func TestNoAnswerValidate(t *testing.T) {
	for _, c := range []struct {
		estimate ranker.NoAnswer
		valid    bool
	}{
		{ranker.NoAnswer{Slope: 2, Offset: -1, Threshold: 0.5}, true},
		{ranker.NoAnswer{Slope: math.NaN(), Threshold: 0.5}, false},
		{ranker.NoAnswer{Offset: math.Inf(1)}, false},
		{ranker.NoAnswer{Threshold: 1.5}, false},
		{ranker.NoAnswer{Threshold: math.NaN()}, false},
	} {
		if err := c.estimate.Validate(); (err == nil) != c.valid {
			t.Errorf("%+v: %v", c.estimate, err)
		}
	}
}
