package ranker_test

import (
	"context"
	"math"
	"slices"
	"testing"
	"testing/synctest"
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
			t.Fatalf("item %d is explained: %t; only the first 12 should be", i, it.Explain != nil)
		}
		if it.Explain == nil {
			continue
		}
		total, last := it.Explain.Base, math.Inf(1)
		for _, c := range it.Explain.Contributions {
			total += c.Contribution
			if math.Abs(c.Contribution) > last {
				t.Errorf("contributions of %s are not ordered by magnitude", it.ID)
			}
			last = math.Abs(c.Contribution)
		}
		if math.Abs(total-it.Score) > 1e-9 {
			t.Errorf("%s: contributions add up to %g, want the score %g", it.ID, total, it.Score)
		}
	}
	first := resp.Items[0].Explain.Contributions[0]
	if first.Feature != "text" || first.Group != ranker.GroupText {
		t.Errorf("largest contribution %+v, want that of text", first)
	}
}

// RankWithoutText is the rank in a ranking without text.
func TestRankWithoutText(t *testing.T) {
	w := newWorld(t, 30)
	// A rule removes items; ranks count the items that are left.
	w.opt.Rules[ranker.RuleFilter] = keepIndex(func(i int) bool { return i%3 != 0 })
	req := w.request(30)
	req.Explain = 30
	withText := w.rank(t, req)
	w.opt.Vectors = nil
	ranks := map[string]int{}
	for _, it := range w.rank(t, w.request(30)).Items {
		ranks[it.ID] = it.Rank
	}
	moved := false
	for _, it := range withText.Items {
		if it.Explain.RankWithoutText != ranks[it.ID] {
			t.Errorf(
				"%s: rank without text %d, want %d",
				it.ID,
				it.Explain.RankWithoutText,
				ranks[it.ID],
			)
		}
		moved = moved || it.Rank != ranks[it.ID]
	}
	if !moved {
		t.Error("the text changes no rank: this test checks nothing")
	}
}

func TestMovedByIsExplained(t *testing.T) {
	w := newWorld(t, 5)
	w.opt.Rules[ranker.RuleDiversity] = ruleFunc(func(l *ranker.List) error {
		slices.Reverse(l.Entries)
		l.Entries[0].MovedBy = append(l.Entries[0].MovedBy, "test rule")
		return nil
	})
	req := w.request(5)
	req.Explain = 2
	items := w.rank(t, req).Items
	if got := items[0].Explain.MovedBy; !slices.Equal(got, []string{"test rule"}) {
		t.Errorf("first item moved by %v, want the test rule", got)
	}
	if got := items[1].Explain.MovedBy; len(got) != 0 {
		t.Errorf("second item moved by %v, want no rule", got)
	}
}

func TestExplanationsCanBePartial(t *testing.T) {
	cases := map[string]func(*world){
		"no time is left": func(w *world) {
			w.opt.Rules[ranker.RuleFilter] = ruleFunc(func(*ranker.List) error {
				time.Sleep(30 * time.Millisecond)
				return nil
			})
		},
		"no model scored": func(w *world) { w.models.main.Scorer = failing },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 10)
				change(w)
				req := w.request(10)
				req.Explain, req.Deadline = 10, 25*time.Millisecond
				resp := w.rank(t, req)
				checkComplete(t, req, resp)
				if !slices.Contains(resp.Degraded, ranker.ExplainPartial) {
					t.Errorf("degraded %v, want %s in it", resp.Degraded, ranker.ExplainPartial)
				}
			})
		})
	}
}

func BenchmarkRank(b *testing.B) {
	w := newWorld(b, 100)
	w.opt.Recorder, w.opt.OnRanked = nil, nil
	p, req := w.pipeline(b), w.request(100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Rank(context.Background(), req); err != nil {
			b.Fatal(err)
		}
	}
}
