package ranker_test

import (
	"context"
	"slices"
	"testing"

	"relish/ranker"
)

// negatedVectors is a model's fine-tuned encoder. Its text scores are the negated ones of the
// pipeline's encoder.
type negatedVectors struct {
	world   *world
	fetches int
}

func (n *negatedVectors) Fetch(
	ctx context.Context, items []*ranker.ItemInfo, out [][]float32,
) {
	n.world.vectors(ctx, items, out)
	for _, v := range out {
		if v != nil {
			v[0] = -v[0]
		}
	}
	n.fetches++
}

func (*negatedVectors) Lookup(items []*ranker.ItemInfo, out [][]float32) int {
	return vectorsFunc(nil).Lookup(items, out)
}

// HasText implements ranker.Vectors.
func (*negatedVectors) HasText(it *ranker.ItemInfo) bool { return it != nil && it.TextKey != 0 }

// fineTuned returns a copy of the main model with a fine-tuned encoder.
func (w *world) fineTuned() (*ranker.Model, *negatedVectors) {
	m, vectors := *w.models.main, &negatedVectors{world: w}
	m.Version, m.Vectors = "tuned", vectors
	return &m, vectors
}

// textOrders returns the ids of the first n items by text score, descending and ascending. Text
// scores decide the order of a ranking, because they differ by 1 at least.
func (w *world) textOrders(n int) (descending, ascending []string) {
	for _, c := range w.request(n).Candidates {
		ascending = append(ascending, c.ID)
	}
	slices.SortFunc(ascending, func(a, b string) int {
		return int(w.text[w.items[a].TextKey] - w.text[w.items[b].TextKey])
	})
	descending = slices.Clone(ascending)
	slices.Reverse(descending)
	return descending, ascending
}

// A model reads the vectors that it was trained on. If it fails, its fallback reads its own
// vectors, and the two are not mixed.
func TestVectorsGoWithTheModel(t *testing.T) {
	const n = 13 // all text scores differ
	w := newWorld(t, n)
	w.models.previous = w.models.main
	tuned, _ := w.fineTuned()
	w.models.main = tuned
	descending, ascending := w.textOrders(n)
	got := w.rank(t, w.request(n))
	if !slices.Equal(ids(got), ascending) || got.Model != "tuned" {
		t.Errorf("order %v by %s, want %v by tuned", ids(got), got.Model, ascending)
	}
	if got.Coverage.Text != 1 || len(got.Degraded) > 0 {
		t.Errorf("coverage %+v, degraded %v", got.Coverage, got.Degraded)
	}

	tuned.Scorer = failing
	got = w.rank(t, w.request(n))
	if !slices.Equal(ids(got), descending) || got.Model != "main" {
		t.Errorf("fallback: order %v by %s, want %v by main", ids(got), got.Model, descending)
	}
	if !slices.Contains(got.Degraded, ranker.ScorerFallback) {
		t.Errorf("fallback: degraded %v", got.Degraded)
	}

	// The rules see the vectors that the scores come from.
	w.opt.Rules[ranker.RuleDiversity] = ruleFunc(func(l *ranker.List) error {
		for i, v := range l.Vectors {
			if v[0] < 0 {
				t.Errorf("candidate %d has a vector of the model that failed", i)
			}
		}
		return nil
	})
	w.rank(t, w.request(n))
}

// A matrix for training has the vectors of the model, even in a pipeline without an encoder.
func TestMatrixReadsTheModelsVectors(t *testing.T) {
	w := newWorld(t, 5)
	tuned, vectors := w.fineTuned()
	w.opt.Vectors = nil
	p := w.pipeline(t)
	m, in, err := p.Matrix(t.Context(), tuned, w.request(5))
	if err != nil {
		t.Fatal(err)
	}
	if vectors.fetches != 1 || in.ItemVectors[1][0] >= 0 || m.N != 5 {
		t.Errorf("%d fetches, vectors %v", vectors.fetches, in.ItemVectors)
	}
	_, in, err = p.Matrix(t.Context(), w.models.main, w.request(5))
	if err != nil || in.ItemVectors[1] != nil {
		t.Errorf("model without vectors: vectors %v, error %v", in.ItemVectors, err)
	}
}

// The two sides of an interleaving may have two encoders. Each is asked.
func TestInterleavedEncoders(t *testing.T) {
	const n = 13
	w := newWorld(t, n)
	tuned, vectors := w.fineTuned()
	w.addModel(tuned)
	w.interleave(ranker.Arm{Sets: ranker.PartModel, Model: "tuned"})
	resp := w.rank(t, w.request(n))
	descending, ascending := w.textOrders(n)
	checkDraft(t, descending, ascending, resp, w.records[0])
	if vectors.fetches != 1 {
		t.Errorf("%d fetches from the arm's encoder, want 1", vectors.fetches)
	}
}
