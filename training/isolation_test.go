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

// No list meets its own labels, or its user's other labels, in a signal. If the clicks of one
// user's last list change, the columns of all this user's lists stay bit-identical, while those of
// others change.
func TestNoListMeetsItsOwnLabels(t *testing.T) {
	records := demoLog()[:2400]
	user, last := "", ranker.Event{}
	for i := len(records) - 300; user == ""; i-- { // find a user's last list that has a click
		if e := records[i].Event; e.Kind == ranker.EventInteraction && e.ImpressionID != "" &&
			!slices.ContainsFunc(records[i:], func(r event.Record) bool {
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
	cells := func(records []event.Record) (own, others, gains map[uint64][]float32) {
		in := inputs(t, records)
		in.Config.Scorer.Rounds = 2
		// The examination curve has a few numbers from all lists: one click more moves their last
		// digits, and with them what all lists are weighed by.
		in.Config.PositionBias = training.PositionBiasOff
		out, rows := train(t, in), dataset(t, in)
		own, others, gains = map[uint64][]float32{}, map[uint64][]float32{}, map[uint64][]float32{}
		at := 0
		for i, seq := range rows.ListSeqs {
			n := int(rows.ListSizes[i])
			to := others
			if records[seq-1].Event.UserID == user {
				to = own
			}
			to[seq], gains[seq] = rows.Cells[at*rows.Width:(at+n)*rows.Width], rows.Gains[at:at+n]
			at += n
		}
		if rows.Width != len(out.Model.Schema.Columns()) {
			t.Fatal("the dataset and the schema differ in their columns")
		}
		return own, others, gains
	}
	own, others, gains := cells(records)
	ownAfter, othersAfter, gainsAfter := cells(changed)
	relabelled, changedLists := 0, 0
	for seq, row := range own {
		if !slices.Equal(gains[seq], gainsAfter[seq]) {
			relabelled++
		}
		if !sameBits(row, ownAfter[seq]) {
			t.Errorf("the columns of the user's own list at %d changed", seq)
		}
	}
	for seq, row := range others {
		if !sameBits(row, othersAfter[seq]) {
			changedLists++
		}
	}
	if relabelled != 1 || changedLists == 0 {
		t.Errorf(
			"%d lists have other labels, %d lists of other users have other columns: the test "+
				"checks nothing",
			relabelled,
			changedLists,
		)
	}
}

// The rows of a list are in random order. Each keeps its gain and its position.
func TestShuffleKeepsGainsWithItems(t *testing.T) {
	records := demoLog()[:3000] // fewer give two features and two trees no better order than chance
	in := inputs(t, records)
	in.Config.Signals = quick
	in.Config.Scorer.Rounds = 2
	low := 0.0
	in.Config.Features = []ranker.Feature{
		{Name: "price", Kind: ranker.KindNumber, Field: "price", Default: &low},
		{Name: "count", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "click"},
	}
	train(t, in)
	log, err := replay.Scan(
		t.Context(),
		source(records),
		replay.Options{State: state(), Gains: in.Config.Gains},
	)
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
			position := rows.Positions[at+r]
			item := log.Items.IDs()[log.Lists[k].Items[position]]
			want := 0.0
			if info := log.Catalogue.Item(item); info != nil {
				price, _ := info.Field("price")
				want = price.Num
			}
			if seen[position] || rows.Gains[at+r] != log.Lists[k].Gains[position] ||
				math.Abs(float64(rows.Cells[(at+r)*2])-want) > 1e-3 {
				t.Fatalf(
					"list %d, row %d: position %d, gain %g, price %g; want gain %g, price %g",
					seq,
					r,
					position,
					rows.Gains[at+r],
					rows.Cells[(at+r)*2],
					log.Lists[k].Gains[position],
					want,
				)
			}
			if seen[position] = true; int(position) == r {
				inOrder++
			}
		}
		at += n
	}
	if share := float64(inOrder) / float64(at); share > 0.1 {
		t.Errorf("%.2f of the rows are at the position where they were shown", share)
	}
}

// A known item that is ranked with ColdStart has the same row as an unknown item with the same
// content. Only the columns of its content prior differ, which the training computed without the
// item.
func TestColdStartLooksUnknown(t *testing.T) {
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
	for i, info := range st.Items()[:known] {
		it := info.Item()
		e := ranker.Event{
			Kind:   ranker.EventItem,
			ID:     fmt.Sprint("twin", i),
			Time:   now,
			ItemID: "twin of " + it.ID,
			Title:  &it.Title,
			Text:   &it.Text,
			Tags:   it.Tags,
			Fields: it.Fields,
		}
		st.Apply(&event.Record{Seq: st.Seq() + 1, Arrival: now, Event: e})
		req.Candidates = append(req.Candidates, ranker.Candidate{ID: it.ID, ColdStart: true})
	}
	for i := range known {
		req.Candidates = append(
			req.Candidates,
			ranker.Candidate{ID: "twin of " + req.Candidates[i].ID},
			ranker.Candidate{ID: req.Candidates[i].ID + " is unknown"},
		)
	}
	req.User = demoLog()[len(demoLog())-1].Event.UserID
	req.Time, req.Deadline = now, replay.OfflineDeadline
	p, err := ranker.New(
		ranker.Options{
			Features: training.ReplayedState{State: st},
			Models:   scorer.SingleModel(out.Model),
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	m, in0, err := p.Matrix(t.Context(), out.Model, &req)
	if err != nil || len(in0.State.Recent) == 0 {
		t.Fatalf("error %v, or the user has no history", err)
	}
	behaviour := 0
	for i := range known {
		for k, col := range m.Columns {
			a, b := m.Row(i)[k], m.Row(known + 2*i)[k]
			hasPrior := strings.HasPrefix(col.Name, "content_prior.") ||
				col.Name == "residual.score"
			if !hasPrior && math.Float32bits(a) != math.Float32bits(b) {
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
