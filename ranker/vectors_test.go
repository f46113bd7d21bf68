package ranker_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"relish/ranker"
)

// own is a model's own encoder: its text scores are the negated ones of the pipeline's.
type own struct {
	world *world
	asked int
}

func (o *own) Fetch(ctx context.Context, items []*ranker.ItemInfo, out [][]float32) {
	o.world.vectors(ctx, items, out)
	for _, v := range out {
		if v != nil {
			v[0] = -v[0]
		}
	}
	o.asked++
}

func (o *own) Lookup(items []*ranker.ItemInfo, out [][]float32) int {
	return vectorsFunc(nil).Lookup(items, out)
}

// byText are the candidates in the order of their text scores, the highest first.
func (w *world) byText(n int) []string {
	ids := make([]string, n)
	for i, c := range w.request(n).Candidates {
		ids[i] = c.ID
	}
	slices.SortFunc(ids, func(a, b string) int { return int(w.text[w.items[b].TextKey] - w.text[w.items[a].TextKey]) })
	return ids
}

// A model ranks by the vectors that it was trained on; when it fails, its stand-in by its own, and
// those are not mixed.
func TestVectorsGoWithTheModel(t *testing.T) {
	const n = 13 // text scores are all different
	w := newWorld(t, n)
	plain := w.models.main
	o := &own{world: w}
	tuned := *plain
	tuned.Version, tuned.Vectors = "tuned", o
	w.models.main, w.models.previous = &tuned, plain
	up := w.byText(n)
	down := slices.Clone(up)
	slices.Reverse(down)
	if got := w.rank(t, w.request(n)); !slices.Equal(ids(got), down) || got.Model != "tuned" || got.Coverage.Text != 1 || len(got.Degraded) > 0 {
		t.Errorf("by its own vectors: %v, %v", ids(got), got.Degraded)
	}
	tuned.Scorer = sum{before: func() error { return errors.New("broken") }}
	got := w.rank(t, w.request(n))
	if !slices.Equal(ids(got), up) || got.Model != "main" || !slices.Contains(got.Degraded, ranker.ScorerFallback) {
		t.Errorf("after a fall: %v by %s, %v", ids(got), got.Model, got.Degraded)
	}
	// A list that diversity compares holds vectors of one encoder: those of the scores.
	w.opt.Rules[ranker.RuleDiversity] = stepFunc(func(l *ranker.List) error {
		for i, v := range l.Vectors {
			if v[0] < 0 {
				t.Errorf("candidate %d has a vector of the model that failed", i)
			}
		}
		return nil
	})
	w.rank(t, w.request(n))
}

// Without text, no model's vectors are used either, unless they were handed in with it; and a
// matrix for training is made by the model's.
func TestMatrixByTheModelsVectors(t *testing.T) {
	w := newWorld(t, 5)
	o := &own{world: w}
	tuned := *w.models.main
	tuned.Vectors = o
	w.opt.Models, w.opt.Vectors = w.models, nil
	p, err := ranker.New(w.opt)
	if err != nil {
		t.Fatal(err)
	}
	m, in, err := p.Matrix(t.Context(), &tuned, w.request(5))
	if err != nil || o.asked != 1 || in.ItemVectors[1][0] >= 0 || m.N != 5 {
		t.Errorf("asked %d times, %v", o.asked, err)
	}
	if _, in, err = p.Matrix(t.Context(), w.models.main, w.request(5)); err != nil || in.ItemVectors[1] != nil {
		t.Errorf("a model without vectors in a pipeline without: %v, %v", in.ItemVectors, err)
	}
}

// The two sides of an interleaving may have two encoders: each is asked.
func TestInterleavedEncoders(t *testing.T) {
	const n = 13
	w := newWorld(t, n)
	o := &own{world: w}
	tuned := *w.models.main
	tuned.Version, tuned.Vectors = "tuned", o
	w.models.others = map[string]*ranker.Model{"tuned": &tuned}
	w.opt.Experiments = w.mix(ranker.Arm{Sets: ranker.PartModel, Model: "tuned"})
	resp := w.rank(t, w.request(n))
	up := w.byText(n)
	down := slices.Clone(up)
	slices.Reverse(down)
	checkDraft(t, up, down, resp, w.records[0])
	if o.asked != 1 {
		t.Errorf("the arm's encoder was asked %d times", o.asked)
	}
}
