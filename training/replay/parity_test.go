package replay_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"relish/features/event"
	"relish/ranker"
	"relish/training/replay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Replay reproduces the feature matrices of a server bit by bit: for random events of all kinds,
// all kinds of requests and features, and all signals, through the real log, a restart, imports
// beside, an erasure and a retention that drops most of the log.
func TestReplayReproducesServedMatrices(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			segmentBytes := int64(seed%2) * 150_000
			l := newLiveWith(t, seed, segmentBytes)
			l.erases = seed >= 6
			l.run(60)
			compared, kinds, events := 0, map[string]int{}, map[ranker.EventKind]int{}
			records := l.records()
			if dropped := records[0].Seq > 1; dropped != (segmentBytes > 0) {
				t.Errorf("the log begins at record %d", records[0].Seq)
			}
			for _, rec := range records {
				events[rec.Event.Kind]++
			}
			for seq, m := range l.replayed(records, math.MaxUint64) {
				if !m.impression.Served {
					continue
				}
				for _, kind := range kindsOf(m.impression) {
					kinds[kind]++
				}
				if !m.impression.Replayable || l.lacksErased(records, seq, m.impression.StateSeq) {
					continue
				}
				compared++
				if m.impression.SchemaHash != l.model.Schema.Hash() ||
					m.impression.StateSeq != m.stateSeq {
					t.Errorf("list %d: %+v, replayed after %d", seq, m.impression, m.stateSeq)
				}
				if m.impression.MatrixHash != m.hash {
					t.Errorf("list %d %v: the replayed matrix differs%s", seq,
						kindsOf(m.impression), differences(&m))
				}
			}
			if compared < 8 || len(events) < 5 || len(kinds) < 5 {
				t.Errorf("%d lists compared, events %v, kinds %v", compared, events, kinds)
			}
		})
	}
}

// A model that did not rank the lists gets the values that it would have had when they were ranked:
// its within-list features are those of the scored list, not of the recorded items.
func TestReplayForAnotherModel(t *testing.T) {
	for seed := range uint64(3) {
		l := newLive(t, 20+seed)
		l.run(40)
		compared, limited := 0, 0
		records := l.records()
		requests := map[uint64]string{}
		for _, rec := range records {
			requests[rec.Seq] = rec.Event.ID
		}
		for seq, m := range l.replayedBy(l.another, records, math.MaxUint64) {
			list := m.impression.Scored
			if list == nil || list.MissingOthers+list.MissingInline > 0 {
				continue
			}
			compared++
			if list.Candidates > len(m.impression.Items) {
				limited++
			}
			for i, id := range m.impression.Items {
				want, got := l.rows[requests[seq]][id], m.matrix.Row(i)
				for c := range want {
					if math.Float32bits(got[c]) != math.Float32bits(want[c]) {
						t.Errorf("list %d, item %d of %d, column %s: %g, want %g", seq, i,
							list.Candidates, m.matrix.Columns[c].Name, got[c], want[c])
					}
				}
			}
		}
		if compared < 15 || limited < 5 {
			t.Errorf("seed %d: %d lists compared, %d of them limited", seed, compared, limited)
		}
	}
}

// Later events never change the matrix of a list.
func TestLaterEventsDoNotChangeMatrices(t *testing.T) {
	l, other := newLive(t, 50), newLive(t, 51)
	l.run(40)
	other.run(40)
	for digest, c := range other.tables {
		l.tables[digest] = c
	}
	past := l.records()
	cut := len(past) * 2 / 3
	future := slices.Clone(past[:cut])
	last := past[cut-1]
	// The other future has events of the same users and items, and clicks on the past's lists.
	for i, rec := range other.records() {
		rec.Seq, rec.Arrival = last.Seq+uint64(i)+1, last.Arrival+int64(i)
		rec.Event.ID = fmt.Sprint("other", i)
		future = append(future, rec)
	}
	for name, records := range map[string][]event.Record{
		"another future": future, "no future": past[:cut],
	} {
		before, after := l.replayed(past, last.Seq), l.replayed(records, last.Seq)
		compared := 0
		for seq, m := range after {
			want, there := before[seq]
			if !there {
				continue // its user is erased in one of the futures
			}
			compared++
			for i, x := range m.matrix.Data {
				if w := len(m.matrix.Columns); math.Float32bits(
					x,
				) != math.Float32bits(
					want.matrix.Data[i],
				) {
					t.Fatalf(
						"%s: list %d, row %d, column %s: %g became %g",
						name,
						seq,
						i/w,
						m.matrix.Columns[i%w].Name,
						want.matrix.Data[i],
						x,
					)
				}
			}
		}
		if compared < 15 {
			t.Errorf("%s: %d lists compared", name, compared)
		}
	}
}

// lacksErased reports whether the server counted records of an erased user when it ranked a list,
// which neither the log nor a base has.
func (l *live) lacksErased(records []event.Record, list, stateSeq uint64) bool {
	from := records[0].Seq
	if base := l.base().At(stateSeq); base != nil {
		from = base.Seq + 1
	}
	next := from
	for _, rec := range records {
		if rec.Seq < from {
			continue
		}
		if rec.Seq > next || rec.Seq == list {
			return rec.Seq > next
		}
		next++
	}
	return false
}

// kindsOf returns what is special about a served list.
func kindsOf(imp *ranker.Impression) (kinds []string) {
	list := imp.Scored
	for kind, is := range map[string]bool{
		"limited":        list.Candidates-list.Removed > len(imp.Items),
		"rules":          list.Removed > 0,
		"others missing": list.MissingOthers > 0,
		"inline":         len(list.Inline) > 0,
		"inline missing": list.MissingInline > 0,
		"interleaved":    imp.Interleaved != nil,
		"whole":          list.Candidates == len(imp.Items),
	} {
		if is {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// differences describes where the replayed matrix differs from the recorded one, if there is one.
func differences(m *replayedList) (out string) {
	w := len(m.matrix.Columns)
	for i, want := range m.impression.Matrix {
		if got := m.matrix.Data[i]; math.Float32bits(got) != math.Float32bits(want) {
			out += fmt.Sprintf("\n%s of item %d: %g, served %g", m.matrix.Columns[i%w].Name, i/w,
				got, want)
		}
	}
	return out
}

// A list whose record lacks content of its items is not learned from.
func TestIncompleteListsAreLeftOut(t *testing.T) {
	var records []event.Record
	for i, replayable := range []bool{true, false} {
		records = append(records, event.Record{Seq: uint64(i + 1), Event: ranker.Event{
			Kind: ranker.EventImpression, ID: fmt.Sprint(i), UserID: "u",
			Impression: &ranker.Impression{
				Items: []string{"a", "b"}, Served: true, Replayable: replayable,
				Scored: &ranker.ScoredList{Candidates: 2},
			},
		}})
	}
	log, err := replay.Scan(t.Context(), source(records), replay.Options{State: counted()})
	if err != nil {
		t.Fatal(err)
	}
	if got := log.Impressions(0, math.MaxUint64); len(got) != 1 || got[0].Seq != 1 {
		t.Errorf("lists %+v, want the first one", got)
	}
}
