package training_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"relish/features/event"
	"relish/ranker"
	"relish/ranker/signals"
	"relish/training"
)

// Nothing that a training with a holdout makes depends on what happens from the holdout on. The
// test replaces every later record at random: users, items, clicks (also on earlier lists), context
// and times. It adds texts, fields and deletions of items. The schema with its reasons, the files
// of the signals, the lists, their matrices, gains and positions, the trees, and the interactions
// and texts for the text encoder stay equal bit for bit.
//
// Not covered: columns of external tables, which are chosen before; a training on all lists that
// follows, whose labels the encoder must not learn; and erasures, which a training has to follow.
func TestTrainingDoesNotKnowTheFuture(t *testing.T) {
	for name, records := range map[string][]event.Record{
		"shown lists": demoLog(), "sampled lists": purchaseLog(300, 12, 80),
	} {
		t.Run(name, func(t *testing.T) {
			want, start := trainUntil(t, records)
			changed := otherFuture(records, start)
			got, again := trainUntil(t, changed)
			if again != start {
				t.Fatalf("the holdout begins at %d, with another future at %d", start, again)
			}
			for part, before := range want {
				if len(before) == 0 {
					t.Errorf("%s is empty: the test checks nothing", part)
				}
				if !bytes.Equal(before, got[part]) {
					t.Errorf("%s changes with what happens after the holdout begins", part)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d parts, with another future %d", len(want), len(got))
			}
		})
	}
}

// trainUntil trains without the newest fifth and returns what the training made, by name, and where
// the holdout begins.
func trainUntil(t *testing.T, records []event.Record) (parts map[string][]byte, start uint64) {
	t.Helper()
	in := inputs(t, records)
	in.Holdout, in.Config.Scorer.Rounds = 0.2, 5
	in.Vectors = textVectors{}
	out := train(t, in)
	rows := dataset(t, in)
	known, err := in.ScanBefore(t.Context(), out.HoldoutStart)
	if err != nil {
		t.Fatal(err)
	}
	split := training.EncoderSplit(known, nil, &in.Config)
	parts = map[string][]byte{"trees": out.Trees.Model}
	for name, v := range map[string]any{
		"encoder: items": known.Items.IDs(), "encoder: users": split.Users,
		"encoder: texts": split.ItemInfos,
		"schema":         out.Model.Schema.Features(), "reasons": out.Reasons,
		"lists": rows.ListSeqs, "sizes": rows.ListSizes, "gains": rows.Gains,
		"positions":  rows.Positions,
		"validation": []any{out.Leaves, out.ValidationScore},
	} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		parts[name] = data
	}
	for k, column := range out.Model.Schema.Columns() {
		var cells []float32
		for i := k; i < len(rows.Cells); i += rows.Width {
			cells = append(cells, rows.Cells[i])
		}
		parts["column "+column.Name] = fmt.Append(nil, cells)
	}
	for _, s := range out.Signals {
		if trained, ok := s.Signal.(signals.TrainedSignal); ok {
			parts["signal "+trained.Columns()[0]] = trained.Encode()
		}
	}
	return parts, out.HoldoutStart
}

// otherFuture returns the records before a sequence, then random ones of the same kinds, then
// changes of the catalogue.
func otherFuture(records []event.Record, start uint64) []event.Record {
	r := rand.New(rand.NewPCG(9, 9))
	const delay = 90 * 24 * 60 * 60 * 1000 // ms; half-lives and ages must not come to see it
	out := slices.Clone(records)
	var items, shown []string
	for i := range out {
		e := &out[i].Event
		if e.Kind == ranker.EventItem {
			items = append(items, e.ItemID)
		}
		if e.Kind == ranker.EventImpression {
			shown = append(shown, e.ID)
		}
		if out[i].Seq < start {
			continue
		}
		out[i].Arrival, e.Time = out[i].Arrival+delay, e.Time+delay
		if e.UserID != "" {
			e.UserID = fmt.Sprint("user", r.IntN(500))
		}
		switch e.Kind {
		case ranker.EventInteraction:
			e.ItemID = items[r.IntN(len(items))]
			e.Action = []string{"click", "purchase", "view"}[r.IntN(3)]
			if e.ImpressionID != "" {
				e.ImpressionID = shown[max(0, len(shown)-1-r.IntN(100))]
			}
		case ranker.EventImpression:
			impression := *e.Impression
			impression.Items = slices.Clone(impression.Items)
			r.Shuffle(len(impression.Items), func(i, j int) {
				impression.Items[i], impression.Items[j] = impression.Items[j], impression.Items[i]
			})
			later := ranker.NumberValue(r.Float64())
			impression.Context = map[string]ranker.FieldValue{"later": later}
			e.Impression = &impression
		}
	}
	last := out[len(out)-1]
	add := func(e ranker.Event) {
		last.Seq, last.Arrival = last.Seq+1, last.Arrival+1000
		e.ID, e.Time = fmt.Sprint("later", last.Seq), last.Arrival
		out = append(out, event.Record{Seq: last.Seq, Arrival: last.Arrival, Event: e})
	}
	for i, id := range items {
		title := fmt.Sprint("another title ", r.IntN(1000))
		add(ranker.Event{Kind: ranker.EventItem, ItemID: id, Title: &title, Tags: []string{"later"},
			Fields: map[string]ranker.FieldValue{"later": ranker.NumberValue(float64(i))}})
		if i%7 == 0 {
			add(ranker.Event{Kind: ranker.EventDelete, ItemID: id})
		}
	}
	return out
}

// textVectors gives each text its own random direction.
type textVectors struct{}

// Fetch implements ranker.Vectors.
func (v textVectors) Fetch(_ context.Context, items []*ranker.ItemInfo, out [][]float32) {
	v.Lookup(items, out)
}

// HasText implements ranker.Vectors.
func (textVectors) HasText(it *ranker.ItemInfo) bool { return it != nil && it.TextKey != 0 }

// Lookup implements ranker.Vectors.
func (textVectors) Lookup(items []*ranker.ItemInfo, out [][]float32) (missing int) {
	for i, it := range items {
		if out[i] = nil; it != nil && it.TextKey != 0 {
			r := rand.New(rand.NewPCG(it.TextKey, 1))
			v := make([]float32, 8)
			for k := range v {
				v[k] = float32(r.NormFloat64())
			}
			out[i] = v
		}
	}
	return 0
}
