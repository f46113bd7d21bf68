package ranker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"relish/ranker"
)

func TestBestFirst(t *testing.T) {
	w := newWorld(t, 50)
	req := w.request(50)
	resp := w.rank(t, req)
	checkComplete(t, req, resp)
	for i, it := range resp.Items[1:] {
		if it.Score > resp.Items[i].Score {
			t.Fatalf("item %d has score %g, the one before %g", i+1, it.Score, resp.Items[i].Score)
		}
	}
	full := ranker.Coverage{Text: 1, Features: 1, Known: 1}
	if len(resp.Degraded) != 0 || resp.Coverage != full || resp.Model != "main" {
		t.Errorf("degraded %v, coverage %+v, model %q", resp.Degraded, resp.Coverage, resp.Model)
	}
}

// Ties depend neither on the order of the request nor on the alphabet, but on the seed.
func TestTiesByHashOfIDAndSeed(t *testing.T) {
	w := newWorld(t, 40)
	w.reading(func(state *ranker.RequestState) {
		for i := range state.Columns {
			state.Columns[i] = 1
		}
	})
	w.opt.Vectors = nil
	order := func(seed uint64, shuffle bool) []string {
		req := w.request(40)
		req.Seed = seed
		if shuffle {
			rand.Shuffle(40, func(i, j int) {
				req.Candidates[i], req.Candidates[j] = req.Candidates[j], req.Candidates[i]
			})
		}
		return ids(w.rank(t, req))
	}
	first := order(1, false)
	for range 5 {
		if shuffled := order(1, true); !slices.Equal(first, shuffled) {
			t.Fatalf("order %v, of a shuffled request %v", first, shuffled)
		}
	}
	if slices.Equal(first, order(2, false)) {
		t.Error("another seed gives the same order")
	}
	if slices.IsSorted(first) {
		t.Error("ties are in alphabetical order")
	}
}

func TestLimit(t *testing.T) {
	w := newWorld(t, 10)
	all := ids(w.rank(t, w.request(10)))
	req := w.request(10)
	req.Limit = 3
	if got := ids(w.rank(t, req)); !slices.Equal(got, all[:3]) {
		t.Errorf("items %v, want the first 3 of %v", got, all)
	}
}

func TestUnknownModel(t *testing.T) {
	w := newWorld(t, 10)
	req := w.request(10)
	req.Model = "other"
	_, err := w.pipeline(t).Rank(context.Background(), req)
	if !errors.Is(err, ranker.ErrUnknownModel) {
		t.Errorf("error %v, want ErrUnknownModel", err)
	}
}

func TestFailedRuleLeavesTheListAsItWas(t *testing.T) {
	w := newWorld(t, 10)
	want := w.rank(t, w.request(10)).Items
	w.opt.Rules = ranker.RuleSet{
		ranker.RuleFilter: ruleFunc(func(l *ranker.List) error {
			slices.Reverse(l.Entries)
			l.Entries = l.Entries[:3]
			return errBroken
		}),
		ranker.RuleBoost: ruleFunc(func(l *ranker.List) error {
			l.Entries = nil
			panic("boom")
		}),
	}
	if got := w.rank(t, w.request(10)).Items; !slices.Equal(got, want) {
		t.Errorf("items %v, want %v", got, want)
	}
	if len(w.errs) != 2 || !errors.Is(w.errs[0], errBroken) ||
		!strings.HasPrefix(w.errs[1].Error(), "rule test rule: panic with a string\n") {
		t.Errorf("errors %v, want one for each rule", w.errs)
	}
}

func TestImpressionRecord(t *testing.T) {
	const now = 1_700_000_000_000
	w := newWorld(t, 150)
	w.opt.LogFeatures = 1
	w.opt.Clock = func() time.Time { return time.UnixMilli(now) }
	req := w.request(150)
	req.Session = "s"
	resp := w.rank(t, req)
	if len(w.records) != 1 {
		t.Fatalf("%d records, want 1", len(w.records))
	}
	e, imp := w.events[0], w.records[0]
	if want := ids(resp)[:ranker.MaxImpressionItems]; !slices.Equal(imp.Items, want) {
		t.Errorf("items %v, want %v", imp.Items, want)
	}
	if e.Kind != ranker.EventImpression || e.ID != req.ID || e.Time != now {
		t.Errorf("event %+v, want an impression of the request and the time", e)
	}
	if e.UserID != "u1" || e.Session != "s" {
		t.Errorf("event of user %q, session %q", e.UserID, e.Session)
	}
	if !imp.Served || imp.StateSeq != 42 || imp.Model != "main" || imp.Took <= 0 {
		t.Errorf("impression %+v", imp)
	}
	if imp.SchemaHash != w.models.main.Schema.Hash() || imp.MatrixHash == 0 ||
		len(imp.Matrix) != 100*3 {
		t.Errorf(
			"schema hash %q, matrix hash %x of %d cells",
			imp.SchemaHash,
			imp.MatrixHash,
			len(imp.Matrix),
		)
	}
}

func TestNotEveryRankingIsRecorded(t *testing.T) {
	w := newWorld(t, 5)
	for name, change := range map[string]func(*ranker.Request){
		"record is false": func(r *ranker.Request) { r.Record = false },
		"time is set":     func(r *ranker.Request) { r.Time = 1 },
	} {
		req := w.request(5)
		change(req)
		w.rank(t, req)
		if len(w.records) != 0 {
			t.Errorf("%s: %d records, want 0", name, len(w.records))
		}
	}
}

// LogFeatures is a share of requests. The request's id decides.
func TestLogFeaturesIsAShare(t *testing.T) {
	w := newWorld(t, 2)
	w.opt.LogFeatures = 0.2
	for i := range 1000 {
		req := w.request(2)
		req.ID = fmt.Sprintf("request-%d", i)
		w.rank(t, req)
	}
	logged := 0
	for _, imp := range w.records {
		if imp.Matrix != nil {
			logged++
		}
	}
	if logged < 150 || logged > 250 {
		t.Errorf("%d of 1000 matrices logged, want a share of 0.2", logged)
	}
}

func TestInvalidOptions(t *testing.T) {
	w := newWorld(t, 1)
	for want, opt := range map[string]ranker.Options{
		"ranker.New: Options.Features and Options.Models must be set": {Features: w.opt.Features},
		"ranker.New: Options.LogFeatures is 1.5; choose a share from 0 to 1": {
			Features: w.opt.Features, Models: w.models, LogFeatures: 1.5,
		},
		"ranker.New: Options.MaxAbandoned is -1; choose 1 or more, or 0 for the default 1024": {
			Features: w.opt.Features, Models: w.models, MaxAbandoned: -1,
		},
	} {
		if _, err := ranker.New(opt); err == nil || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
