package ranker_test

import (
	"fmt"
	"strings"
	"testing"

	"relish/ranker"
)

// An impression keeps the whole scored list within its bounds, and says what it left out.
func TestScoredListIsBounded(t *testing.T) {
	many := func(n, width int) (list []ranker.Candidate) {
		for i := range n {
			list = append(list, ranker.Candidate{ID: fmt.Sprintf("c%0*d", width, i)})
		}
		return list
	}
	withText := func(list []ranker.Candidate, bytes int) []ranker.Candidate {
		for i := range list {
			list[i].Inline = &ranker.Item{Text: strings.Repeat("x", bytes)}
		}
		return list
	}
	cases := map[string]struct {
		candidates    []ranker.Candidate
		limit         int
		others        int
		inline        int
		missingOthers int
		missingInline int
		replayable    bool
	}{
		"all fits":           {many(200, 5), 10, 190, 0, 0, 0, true},
		"no limit":           {many(200, 5), 0, 100, 0, 0, 0, true},
		"long ids":           {many(1000, 199), 10, 327, 0, 663, 0, true},
		"content fits":       {withText(many(20, 2), 3000), 5, 15, 20, 0, 0, true},
		"content of others":  {withText(many(20, 2), 6000), 5, 15, 10, 0, 10, true},
		"content of an item": {withText(many(20, 2), 20_000), 5, 15, 3, 0, 17, false},
	}
	for name, c := range cases {
		w := newWorld(t, 1)
		req := w.request(0)
		req.Candidates, req.Limit = c.candidates, c.limit
		w.rank(t, req)
		imp := w.records[0]
		got := imp.Scored
		if got.Candidates != len(c.candidates) || len(got.Others) != c.others ||
			got.MissingOthers != c.missingOthers || len(got.Inline) != c.inline ||
			got.MissingInline != c.missingInline || imp.Replayable != c.replayable {
			t.Errorf("%s: %d candidates, %d others and %d missing, %d contents and %d missing, "+
				"replayable %t", name, got.Candidates, len(got.Others), got.MissingOthers,
				len(got.Inline), got.MissingInline, imp.Replayable)
		}
		missing := c.missingOthers+c.missingInline > 0
		if (got.Stats != nil) != missing {
			t.Errorf("%s: statistics %v", name, got.Stats)
		}
	}
}

// The candidates of a list that is too long are a random sample, not the first ones.
func TestScoredListSamplesCandidates(t *testing.T) {
	const n = 1000
	var candidates []ranker.Candidate
	for i := range n {
		candidates = append(candidates, ranker.Candidate{ID: fmt.Sprintf("c%0199d", i)})
	}
	w := newWorld(t, 1)
	req := w.request(0)
	req.Candidates, req.Limit = candidates, 10
	w.rank(t, req)
	others, first := w.records[0].Scored.Others, 0
	for _, id := range others {
		if id < candidates[n/2].ID {
			first++
		}
	}
	if len(others) < 300 || first < len(others)/3 || first > 2*len(others)/3 {
		t.Errorf("%d of %d recorded candidates are of the first half", first, len(others))
	}
}
