package ranker_test

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"

	"relish/ranker"
)

func TestExplanationAddsUp(t *testing.T) {
	w := newWorld(t, 30)
	w.models.main.Scorer = sum{base: 0.5}
	req := w.request(30)
	req.Explain = 12
	resp := w.rank(t, req)
	for i, it := range resp.Items {
		if (it.Explain != nil) != (i < 12) {
			t.Fatalf("item %d: explained %t", i, it.Explain != nil)
		}
		if it.Explain == nil {
			continue
		}
		total := it.Explain.Base
		for k, c := range it.Explain.Contributions {
			total += c.Contribution
			if k > 0 && math.Abs(c.Contribution) > math.Abs(it.Explain.Contributions[k-1].Contribution) {
				t.Errorf("contributions of %s are not ordered by magnitude", it.ID)
			}
		}
		if math.Abs(total-it.Score) > 1e-9 {
			t.Errorf("%s: %g explained of %g", it.ID, total, it.Score)
		}
	}
	if c := resp.Items[0].Explain.Contributions[0]; c.Feature != "text" || c.Group != ranker.GroupText {
		t.Errorf("the text is the largest part of the best item, not %+v", c)
	}
}

// The claim of rank_without_text is checked by ranking without the text.
func TestRankWithoutText(t *testing.T) {
	w := newWorld(t, 30)
	// A rule removes items; the places are counted among what is left.
	w.opt.Rules[ranker.RuleFilter] = stepFunc(func(l *ranker.List) error {
		l.Entries = slices.DeleteFunc(l.Entries, func(e ranker.Entry) bool { return e.Index%3 == 0 })
		return nil
	})
	req := w.request(30)
	req.Explain = 30
	with := w.rank(t, req)
	w.opt.Vectors = nil
	places := map[string]int{}
	for _, it := range w.rank(t, w.request(30)).Items {
		places[it.ID] = it.Rank
	}
	moved := false
	for _, it := range with.Items {
		if it.Explain.RankWithoutText != places[it.ID] {
			t.Errorf("%s: %d, want %d", it.ID, it.Explain.RankWithoutText, places[it.ID])
		}
		moved = moved || it.Rank != places[it.ID]
	}
	if !moved {
		t.Error("the text moves nothing here: the test shows nothing")
	}
}

func TestMovedByIsExplained(t *testing.T) {
	w := newWorld(t, 5)
	w.opt.Rules[ranker.RuleDiversity] = stepFunc(func(l *ranker.List) error {
		slices.Reverse(l.Entries)
		l.Entries[0].MovedBy = append(l.Entries[0].MovedBy, "test step")
		return nil
	})
	req := w.request(5)
	req.Explain = 2
	resp := w.rank(t, req)
	if !slices.Equal(resp.Items[0].Explain.MovedBy, []string{"test step"}) || len(resp.Items[1].Explain.MovedBy) != 0 {
		t.Errorf("%+v", resp.Items[0].Explain)
	}
}

func TestExplanationWithoutTimeIsPartial(t *testing.T) {
	cases := map[string]func(*world){
		"no time": func(w *world) {
			w.opt.Rules[ranker.RuleFilter] = stepFunc(func(*ranker.List) error { time.Sleep(30 * time.Millisecond); return nil })
		},
		"nothing to explain": func(w *world) { w.models.main.Scorer = sum{before: func() error { return errBroken }} },
	}
	for name, breakIt := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10)
			breakIt(w)
			req := w.request(10)
			req.Explain, req.Deadline = 10, 25*time.Millisecond
			resp := w.rank(t, req)
			complete(t, req, resp)
			if !slices.Contains(resp.Degraded, ranker.ExplainPartial) {
				t.Errorf("degraded %v", resp.Degraded)
			}
		})
	}
}

func BenchmarkRank(b *testing.B) {
	w := newWorld(b, 100)
	w.opt.Models, w.opt.Recorder, w.opt.Observe = w.models, nil, nil
	p, err := ranker.New(w.opt)
	if err != nil {
		b.Fatal(err)
	}
	req := w.request(100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Rank(context.Background(), req); err != nil {
			b.Fatal(err)
		}
	}
}
