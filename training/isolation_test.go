package training_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training"
	"relish/training/replay"
)

// No list meets its own labels, or its user's others, in a matcher: whatever one user clicked in his last list, the
// columns of all his lists stay as they are to the last bit, while others' move.
func TestNoListMeetsItsOwnLabels(t *testing.T) {
	records := demoLog()[:2400]
	user, last := "", ranker.Event{}
	for i := len(records) - 300; user == ""; i-- { // somebody's last list, with a click
		if e := records[i].Event; e.Kind == ranker.EventInteraction && e.ImpressionID != "" && !slices.ContainsFunc(records[i:], func(r event.Record) bool {
			return r.Event.UserID == e.UserID && r.Event.Kind == ranker.EventImpression
		}) {
			user, last = e.UserID, e
		}
	}
	changed := slices.Clone(records)
	var shown []string
	for i, r := range changed {
		if r.Event.ID == last.ImpressionID {
			shown = r.Event.Impression.Items
		}
		if r.Event.Kind == ranker.EventInteraction && r.Event.ImpressionID == last.ImpressionID {
			changed[i].Event.ItemID = shown[(slices.Index(shown, r.Event.ItemID)+7)%len(shown)]
		}
	}
	cells := func(records []event.Record) (mine, others map[uint64][]float32, gains map[uint64][]float32) {
		in := inputs(t, records)
		in.Config.Scorer.Rounds = 2
		out, rows := train(t, in), dataset(t, in)
		mine, others, gains = map[uint64][]float32{}, map[uint64][]float32{}, map[uint64][]float32{}
		at := 0
		for i, seq := range rows.ListSeqs {
			n := int(rows.ListSizes[i])
			to := others
			if records[seq-1].Event.UserID == user {
				to = mine
			}
			to[seq], gains[seq] = rows.Cells[at*rows.Width:(at+n)*rows.Width], rows.Gains[at:at+n]
			at += n
		}
		if rows.Width != len(out.Model.Schema.Columns()) {
			t.Fatal("the dataset has other columns than the schema")
		}
		return mine, others, gains
	}
	mine, others, gains := cells(records)
	mineAfter, othersAfter, gainsAfter := cells(changed)
	relabelled, moved := 0, 0
	for seq, row := range mine {
		if !slices.Equal(gains[seq], gainsAfter[seq]) {
			relabelled++
		}
		if !sameBits(row, mineAfter[seq]) {
			t.Errorf("the list at %d of the user himself moved", seq)
		}
	}
	for seq, row := range others {
		if !sameBits(row, othersAfter[seq]) {
			moved++
		}
	}
	if relabelled != 1 || moved == 0 {
		t.Errorf("%d lists have other labels, %d of other users have other columns: the test sees nothing", relabelled, moved)
	}
}

// The rows of a list are in random order, each with its own gain and place.
func TestShuffleKeepsGainsWithItems(t *testing.T) {
	records := demoLog()[:2000]
	in := inputs(t, records)
	in.Config.Signals = quick
	in.Config.Scorer.Rounds = 2
	low := 0.0
	in.Config.Features = []ranker.Feature{{Name: "price", Kind: ranker.KindNumber, Field: "price", Default: &low}, {Name: "count", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "click"}}
	train(t, in)
	log, err := replay.Scan(t.Context(), source(records), replay.Options{State: state(), Gains: in.Config.Gains})
	if err != nil {
		t.Fatal(err)
	}
	rows := dataset(t, in)
	at, inOrder := 0, 0
	for i, seq := range rows.ListSeqs {
		k := slices.IndexFunc(log.Lists, func(l replay.LoggedList) bool { return l.Seq == seq })
		n := int(rows.ListSizes[i])
		if n != len(log.Lists[k].Items) {
			t.Fatalf("list %d has %d rows", seq, n)
		}
		seen := make([]bool, n)
		for r := range n {
			place := rows.Positions[at+r]
			item := log.Items.IDs()[log.Lists[k].Items[place]]
			want := 0.0
			if info := log.Catalogue.Item(item); info != nil {
				want = info.Fields["price"].Num
			}
			if seen[place] || rows.Gains[at+r] != log.Lists[k].Gains[place] || math.Abs(float64(rows.Cells[(at+r)*2])-want) > 1e-3 {
				t.Fatalf("list %d, row %d: place %d, gain %g, price %g; want gain %g, price %g", seq, r, place, rows.Gains[at+r], rows.Cells[(at+r)*2], log.Lists[k].Gains[place], want)
			}
			if seen[place] = true; int(place) == r {
				inOrder++
			}
		}
		at += n
	}
	if share := float64(inOrder) / float64(at); share > 0.1 {
		t.Errorf("%.2f of the rows stand where they were shown", share)
	}
}

// A known item that is ranked as new has the row of an item of the same content that nobody has met; only what content
// says of it comes from the others alone.
func TestNewLooksNew(t *testing.T) {
	in := inputs(t, demoLog())
	in.Config.Scorer.Rounds = 2
	out := train(t, in)
	st := features.New(state())
	for _, rec := range demoLog() {
		st.Apply(&rec)
	}
	now := demoLog()[len(demoLog())-1].Arrival + 1000
	const known = 40
	var req ranker.Request
	for i, it := range st.Items()[:known] {
		e := ranker.Event{Kind: ranker.EventItem, ID: fmt.Sprint("twin", i), Time: now, ItemID: "twin of " + it.ID, Title: &it.Title, Text: &it.Text, Tags: it.Tags, Fields: it.Fields}
		st.Apply(&event.Record{Seq: st.Seq() + 1, Arrival: now, Event: e})
		req.Candidates = append(req.Candidates, ranker.Candidate{ID: it.ID, ColdStart: true})
	}
	for i := range known {
		req.Candidates = append(req.Candidates, ranker.Candidate{ID: "twin of " + req.Candidates[i].ID}, ranker.Candidate{ID: req.Candidates[i].ID + " is nowhere"})
	}
	req.User, req.Time, req.Deadline = demoLog()[len(demoLog())-1].Event.UserID, now, replay.OfflineDeadline
	p, err := ranker.New(ranker.Options{Features: training.ReplayedState{State: st}, Models: scorer.SingleModel(out.Model)})
	if err != nil {
		t.Fatal(err)
	}
	m, in0, err := p.Matrix(t.Context(), out.Model, &req)
	if err != nil || len(in0.State.Recent) == 0 {
		t.Fatalf("%v, or the user has no history", err)
	}
	behaviour := 0
	for i := range known {
		for k, col := range m.Columns {
			a, b := m.Row(i)[k], m.Row(known + 2*i)[k]
			if col.Name != "content_prior.strength" && math.Float32bits(a) != math.Float32bits(b) {
				t.Errorf("item %d: %s is %g, of its twin %g", i, col.Name, a, b)
			}
			if col.Group == "behaviour" && strings.HasPrefix(col.Name, "item.count") && a == 0 {
				behaviour++
			}
		}
	}
	if behaviour == 0 {
		t.Error("no counter was hidden")
	}
}
