package replay_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"relish/features/event"
	"relish/ranker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Replay reproduces the feature matrices of a server bit by bit: for random events of all kinds,
// all kinds of features and all signals, through the real journal and a restart.
func TestReplayReproducesServedMatrices(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			l := newLive(t, seed)
			l.run(60)
			compared, kinds := 0, map[ranker.EventKind]int{}
			records := l.records()
			for _, rec := range records {
				kinds[rec.Event.Kind]++
			}
			for seq, m := range l.replayed(records, math.MaxUint64) {
				if !m.impression.Served {
					continue
				}
				compared++
				if !m.impression.Replayable || m.impression.SchemaHash != l.model.Schema.Hash() ||
					m.impression.StateSeq != m.stateSeq {
					t.Errorf("list %d: %+v, replayed after %d", seq, m.impression, m.stateSeq)
				}
				if m.impression.MatrixHash != m.hash {
					t.Errorf("list %d: the replayed matrix differs", seq)
				}
			}
			if compared < 20 || len(kinds) < 6 {
				t.Errorf("%d lists compared, events %v", compared, kinds)
			}
		})
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
		rec.Seq, rec.Arrival, rec.Event.ID = last.Seq+uint64(
			i,
		)+1, last.Arrival+int64(
			i,
		), fmt.Sprint(
			"other",
			i,
		)
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
