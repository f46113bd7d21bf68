package replay_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"relish/ranker"
)

// rank ranks a random list and waits until it is recorded.
func (l *live) rank() {
	l.Helper()
	req := l.randomRequest()
	l.rows[req.ID] = l.rowsOf(l.another, req)
	before := l.store.LastSeq()
	resp, err := l.p.Rank(l.Context(), req)
	if err != nil || len(resp.Degraded) > 0 {
		l.Fatalf("ranked %v, %v", resp, err)
	}
	if len(resp.Items) == 0 {
		return // a rule removed all candidates: nothing was shown
	}
	l.ranked = append(l.ranked, req.ID)
	end := time.Now().Add(time.Minute)
	for ; l.store.Stats().Seq == before; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			l.Fatal("the impression was not recorded")
		}
	}
}

// rowsOf returns the rows of the model's matrix by candidate.
func (l *live) rowsOf(model *ranker.Model, req *ranker.Request) map[string][]float32 {
	l.Helper()
	m, _, err := l.p.Matrix(l.Context(), model, req)
	if err != nil {
		l.Fatal(err)
	}
	rows := map[string][]float32{}
	for i, c := range req.Candidates {
		rows[c.ID] = m.Row(i)
	}
	return rows
}

// randomRequest returns a request with random candidates, retrieval scores, context, limit and
// inline content. A few have more candidates or more content than an impression keeps.
func (l *live) randomRequest() *ranker.Request {
	req := &ranker.Request{
		ID:       fmt.Sprint("r", l.events, "-", len(l.ranked)),
		User:     userID(l.r),
		Record:   true,
		Deadline: time.Minute,
		Context:  map[string]ranker.FieldValue{},
	}
	for _, i := range l.r.Perm(liveItems + 3)[:1+l.r.IntN(20)] {
		req.Candidates = append(req.Candidates, ranker.Candidate{ID: fmt.Sprint("i", i)})
	}
	if l.r.IntN(8) == 0 {
		width := 1 + l.r.IntN(2)*240
		for i := range 110 + l.r.IntN(240) {
			id := fmt.Sprintf("x%0*d", width, i)
			req.Candidates = append(req.Candidates, ranker.Candidate{ID: id})
		}
	}
	if l.r.IntN(2) == 0 {
		req.Limit = 1 + l.r.IntN(12)
	}
	for i := range req.Candidates {
		c := &req.Candidates[i]
		if c.HasScore = l.r.IntN(3) > 0; c.HasScore && l.r.IntN(4) > 0 {
			c.Score = float32(l.r.NormFloat64())
		}
	}
	if l.r.IntN(3) == 0 {
		l.addInline(req)
	}
	if l.r.IntN(2) == 0 {
		req.Context["hour"] = ranker.NumberValue(l.r.Float64() * 24)
		device := []string{"phone", "tv", "fridge"}[l.r.IntN(3)]
		req.Context["device"] = ranker.StringValue(device)
		req.Context["query"] = ranker.StringValue("sea cat bread")
	}
	return req
}

// addInline gives a third of the candidates content of their own.
func (l *live) addInline(req *ranker.Request) {
	huge := l.r.IntN(3) == 0
	for i := range req.Candidates {
		if l.r.IntN(3) > 0 {
			continue
		}
		e := described(l.r, req.Candidates[i].ID)
		item := &ranker.Item{Tags: e.Tags, Fields: e.Fields}
		if e.Title != nil {
			item.Title = *e.Title
		}
		if e.Text != nil {
			item.Text = *e.Text
		}
		if huge {
			item.Text = strings.Repeat("sea bread ", 1000)
		}
		req.Candidates[i].Inline = item
	}
}

// arms is an experiment whose arms change rules, text and interleaving. The request's id decides.
type arms struct{ model string }

// ReadsUser implements ranker.Experiments.
func (arms) ReadsUser() bool { return false }

// Assign implements ranker.Experiments.
func (a arms) Assign(
	req *ranker.Request, _ map[string]ranker.FieldValue, _ int64,
) ([]ranker.Assignment, string) {
	parts := ranker.PartFilter | ranker.PartText
	control := &ranker.Arm{Name: "control", Sets: parts, Text: true}
	arm := &ranker.Arm{Name: "filtered", Sets: parts, Text: true}
	arm.Rules[ranker.RuleFilter] = dropThird{}
	out := ranker.Assignment{Experiment: "e", Parts: parts, Control: control, Arm: arm}
	switch xxhash.Sum64String(req.ID) % 4 {
	case 0:
		out.Arm = control
	case 1:
		out.Arm = &ranker.Arm{Name: "no-text", Sets: parts}
	case 2:
		out.Interleave = true
	}
	return []ranker.Assignment{out}, "v1"
}

// dropThird removes every third item.
type dropThird struct{}

// Name implements ranker.Rule.
func (dropThird) Name() string { return "drop-third" }

// Apply implements ranker.Rule.
func (dropThird) Apply(_ context.Context, l *ranker.List) error {
	kept := l.Entries[:0]
	for _, e := range l.Entries {
		if xxhash.Sum64String(l.Request.Candidates[e.Index].ID)%3 > 0 {
			kept = append(kept, e)
		}
	}
	l.Entries = kept
	return nil
}
