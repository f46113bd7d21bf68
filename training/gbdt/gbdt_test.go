package gbdt_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"relish/evaluation"
	"relish/training/gbdt"
)

const path = "../../.cache/lightgbm/lib_lightgbm.so"

var opened = sync.OnceValues(func() (*gbdt.Library, error) { return gbdt.Open(path) })

func library(t testing.TB) *gbdt.Library {
	t.Helper()
	lib, err := opened()
	if err != nil {
		t.Fatal(err)
	}
	return lib
}

const columns = 5

// lists draws n lists of eight rows. The gain grows with column 0, falls with column 1, depends on
// whether column 2 is missing, and is independent of columns 3 and 4.
func lists(seed uint64, n int) *gbdt.Dataset {
	r := rand.New(rand.NewPCG(seed, 1))
	d := &gbdt.Dataset{NumFeatures: columns}
	for range n {
		d.Groups = append(d.Groups, 8)
		for range 8 {
			row := make([]float32, columns)
			for c := range row {
				row[c] = float32(r.NormFloat64())
			}
			s := float64(row[0]) - 0.7*float64(row[1]) + 0.5*r.NormFloat64()
			if r.IntN(3) == 0 {
				row[2] = float32(math.NaN())
				s++
			}
			d.Rows = append(d.Rows, row...)
			gain := float32(0)
			switch {
			case s > 2.5:
				gain = 5
			case s > 1:
				gain = 1
			}
			d.Labels = append(d.Labels, gain)
		}
	}
	return d
}

func params() gbdt.Params {
	p := gbdt.DefaultParams()
	p.NumLeaves, p.MinDataInLeaf, p.LearningRate = 7, 20, 0.2
	p.MaxRounds, p.EarlyStoppingRounds = 60, 10
	return p
}

// ndcg returns the NDCG@10 that package evaluation measures, in the mean over several random orders
// of ties.
func ndcg(t *testing.T, d *gbdt.Dataset, scores []float64) float64 {
	t.Helper()
	rng := rand.New(rand.NewPCG(8, 8))
	sum, n := 0.0, 0.0
	from := 0
	for _, g := range d.Groups {
		gains := make([]float64, g)
		for i := range gains {
			gains[i] = float64(d.Labels[from+i])
		}
		list := scores[from : from+int(g)]
		from += int(g)
		for range 50 {
			order, err := evaluation.Order(list, rng)
			if err != nil {
				t.Fatal(err)
			}
			if x := evaluation.NDCG(order, gains, 10); x == x {
				sum, n = sum+x, n+1
			}
		}
	}
	return sum / n
}

func predict(t *testing.T, model []byte, d *gbdt.Dataset) []float64 {
	t.Helper()
	b, err := library(t).LoadBooster(model)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	scores, err := b.Predict(d.Rows, d.NumFeatures)
	if err != nil {
		t.Fatal(err)
	}
	return scores
}

// Every objective learns the lists, stops early and keeps the best round. Its NDCG is that of
// package evaluation.
func TestTrain(t *testing.T) {
	train, valid, test := lists(1, 800), lists(2, 200), lists(3, 200)
	for _, objective := range []string{gbdt.XENDCG, gbdt.Lambdarank, gbdt.Binary} {
		t.Run(objective, func(t *testing.T) {
			p := params()
			p.Objective, p.MaxRounds = objective, 400
			var reported []float64
			lib := library(t)
			r, err := lib.Train(t.Context(), train, valid, p, func(round int, x float64) {
				if reported = append(reported, x); round != len(reported) {
					t.Errorf("round %d is reported as number %d", round, len(reported))
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			chance := ndcg(t, test, make([]float64, len(test.Labels)))
			if got := ndcg(t, test, predict(t, r.Model, test)); got < chance+0.2 {
				t.Errorf("NDCG@10 is %.3f, chance is %.3f", got, chance)
			}
			if len(r.ValidationNDCG) != len(reported) ||
				len(r.ValidationNDCG) != min(p.MaxRounds, r.Rounds+p.EarlyStoppingRounds) {
				t.Errorf("%d rounds, %d reported, the best is %d",
					len(r.ValidationNDCG), len(reported), r.Rounds)
			}
			for i, x := range r.ValidationNDCG {
				if x > r.ValidationNDCG[r.Rounds-1] || x != reported[i] {
					t.Errorf("round %d has NDCG %g (reported %g), the best round %g",
						i+1, x, reported[i], r.ValidationNDCG[r.Rounds-1])
				}
			}
			got, want := ndcg(t, valid, predict(t, r.Model, valid)), r.ValidationNDCG[r.Rounds-1]
			if math.Abs(got-want) > 5e-4 {
				t.Errorf("the best round measured %g, package evaluation measures %g", want, got)
			}
			want = ndcg(t, valid, make([]float64, len(valid.Labels)))
			if math.Abs(r.InitialNDCG-want) > 0.005 {
				t.Errorf("before the first round all rows tie: NDCG %g, want %g, the mean over "+
					"orders", r.InitialNDCG, want)
			}
			if n := bytes.Count(r.Model, []byte("\nTree=")); n != r.Rounds {
				t.Errorf("the model has %d trees after %d rounds", n, r.Rounds)
			}
			if im := r.GainImportance; im[0] <= im[3] || im[1] <= im[3] || im[2] <= im[4] {
				t.Errorf("importance %v: columns 3 and 4 are irrelevant", im)
			}
		})
	}
}

// Equal data and seed give the same bytes, with any number of threads. Another seed gives other
// trees. The weights differ so much that a sum of them depends on its order.
func TestTrainIsDeterministic(t *testing.T) {
	train, r := lists(1, 3000), rand.New(rand.NewPCG(4, 4))
	for range train.Labels {
		train.Weights = append(train.Weights, float32(math.Exp2(-60*r.Float64())))
	}
	for _, objective := range []string{gbdt.Lambdarank, gbdt.XENDCG, gbdt.Binary} {
		model := func(seed uint64, threads int) string {
			p := params()
			p.Objective, p.MaxRounds, p.Seed, p.Threads = objective, 15, seed, threads
			r, err := library(t).Train(context.Background(), train, nil, p, nil)
			if err != nil {
				t.Fatal(err)
			}
			return string(r.Model)
		}
		first := model(1, 1)
		for _, threads := range []int{1, 2, 3, 8} {
			if model(1, threads) != first {
				t.Errorf("%s: the model of %d threads is another one", objective, threads)
			}
		}
		if first == model(2, 1) {
			t.Errorf("%s: another seed gives the same model", objective)
		}
	}
}

func TestTrainIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	rounds := 0
	lib, train, valid := library(t), lists(1, 100), lists(2, 50)
	_, err := lib.Train(ctx, train, valid, params(), func(round int, _ float64) {
		if rounds = round; round == 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || rounds != 3 {
		t.Errorf("after %d rounds: %v", rounds, err)
	}
}

func TestMonotoneAndDrop(t *testing.T) {
	p := params()
	p.MonotoneConstraints = []int8{-1, 0, 0, 1, 0} // against what the data say of column 0
	p.IgnoredColumns = []int{1}
	r, err := library(t).Train(context.Background(), lists(1, 500), nil, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.GainImportance[1] != 0 || r.GainImportance[2] == 0 {
		t.Errorf("importance %v: column 1 is ignored", r.GainImportance)
	}
	rng := rand.New(rand.NewPCG(4, 4))
	for range 100 {
		d := &gbdt.Dataset{NumFeatures: columns, Labels: make([]float32, 20)}
		base := make([]float32, columns)
		for c := range base {
			base[c] = float32(rng.NormFloat64())
		}
		for column, sign := range p.MonotoneConstraints {
			if sign == 0 {
				continue
			}
			d.Rows = d.Rows[:0]
			for i := range 20 {
				row := slices.Clone(base)
				row[column] = float32(i)/4 - 2.5
				d.Rows = append(d.Rows, row...)
			}
			scores := predict(t, r.Model, d)
			for i := range scores[1:] {
				if float64(sign)*(scores[i+1]-scores[i]) < -1e-9 {
					t.Fatalf("column %d, sign %d: %g then %g", column, sign, scores[i], scores[i+1])
				}
			}
		}
	}
}

// Training from an initial model keeps its trees, starts at its NDCG, and never ends below it.
func TestTrainFromStart(t *testing.T) {
	valid := lists(2, 200)
	p := params()
	p.MaxRounds, p.LearningRate = 5, 0.05
	first, err := library(t).Train(context.Background(), lists(1, 400), valid, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.InitModel, p.MaxRounds = first.Model, 50
	next, err := library(t).Train(context.Background(), lists(5, 400), valid, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last := first.ValidationNDCG[first.Rounds-1]; math.Abs(next.InitialNDCG-last) > 1e-9 ||
		next.ValidationNDCG[next.Rounds-1] <= last {
		t.Errorf("NDCG of the initial model %g, at the start %g, in the end %g",
			last, next.InitialNDCG, next.ValidationNDCG[next.Rounds-1])
	}
	if n := bytes.Count(next.Model, []byte("\nTree=")); n != first.Rounds+next.Rounds {
		t.Errorf("%d trees after %d + %d rounds", n, first.Rounds, next.Rounds)
	}
	got, want := ndcg(t, valid, predict(t, next.Model, valid)), next.ValidationNDCG[next.Rounds-1]
	if math.Abs(got-want) > 5e-4 {
		t.Errorf("measured %g, package evaluation measures %g", want, got)
	}
	old := bytes.Index(first.Model, []byte("Tree=0"))
	if tree := first.Model[old : old+200]; !bytes.Contains(next.Model, tree) {
		t.Error("the first tree is not kept")
	}
}

// Weights and offsets are used: rows of almost no weight teach nothing, and a click that its
// position explains is not attributed to the column that copies the position.
func TestWeightsAndOffsets(t *testing.T) {
	d := lists(1, 600)
	turned := lists(1, 600)
	for i := range turned.Labels { // the second half says the opposite, quietly
		turned.Rows[i*columns] *= -1
		turned.Rows[i*columns+1] *= -1
	}
	both := &gbdt.Dataset{Rows: slices.Concat(d.Rows, turned.Rows), NumFeatures: columns,
		Labels: slices.Concat(d.Labels, turned.Labels), Groups: slices.Concat(d.Groups, d.Groups)}
	for i := range both.Labels {
		w := float32(1)
		if i >= len(d.Labels) {
			w = 1e-3
		}
		both.Weights = append(both.Weights, w)
	}
	p := params()
	p.Objective, p.MaxRounds = gbdt.Lambdarank, 30
	r, err := library(t).Train(context.Background(), both, nil, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	test := lists(3, 200)
	got := ndcg(t, test, predict(t, r.Model, test))
	if chance := ndcg(t, test, make([]float64, len(test.Labels))); got < chance+0.2 {
		t.Errorf("NDCG@10 is %.3f, chance is %.3f: the weights were not used", got, chance)
	}

	biased := lists(7, 1500)
	rng := rand.New(rand.NewPCG(9, 9))
	for i := range biased.Labels {
		position := i % 8
		biased.Offsets = append(biased.Offsets, -math.Log(float64(1+position)))
		biased.Rows[i*columns+3] = float32(position) // the column that copies the position
		if biased.Labels[i] = 0; rng.Float64() < 0.6/float64(1+position) {
			biased.Labels[i] = 1
		}
	}
	importance := func() float64 {
		r, err := library(t).Train(context.Background(), biased, nil, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.GainImportance[3]
	}
	with := importance()
	biased.Offsets = nil
	if without := importance(); with > 0.1*without {
		t.Errorf("the column that copies the position gains %g with offsets, %g without",
			with, without)
	}
}

func TestContributionsAddUp(t *testing.T) {
	d := lists(1, 200)
	p := params()
	p.MaxRounds = 10
	r, err := library(t).Train(context.Background(), d, nil, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := library(t).LoadBooster(r.Model)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	parts, err := b.Contributions(d.Rows, columns)
	if err != nil {
		t.Fatal(err)
	}
	scores := predict(t, r.Model, d)
	rows := make([]float64, len(scores))
	if err := b.PredictSingleRows(d.Rows, columns, rows); err != nil {
		t.Fatal(err)
	}
	for i, s := range scores {
		sum := 0.0
		for _, x := range parts[i*(columns+1) : (i+1)*(columns+1)] {
			sum += x
		}
		if math.Abs(sum-s) > 1e-9 || rows[i] != s {
			t.Fatalf("row %d: score %g, sum of contributions %g, scored alone %g",
				i, s, sum, rows[i])
		}
	}
	if _, err := b.Predict(d.Rows[:7], columns); err == nil {
		t.Error("half a row was accepted")
	}
	if err := b.PredictSingleRows(d.Rows, columns, rows[:3]); err == nil {
		t.Error("a short out was accepted")
	}
}

func TestTrainRefuses(t *testing.T) {
	type (
		data     = gbdt.Dataset
		settings = gbdt.Params
	)
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		change func(train, valid *data, p *settings)
		want   string
	}{
		"no rows": {func(d, _ *data, _ *settings) { *d = data{NumFeatures: 2} },
			"train.Rows has 0 cells"},
		"half a row": {func(d, _ *data, _ *settings) { d.Rows = d.Rows[1:] }, "train.Rows"},
		"lists too short": {func(d, _ *data, _ *settings) { d.Groups = d.Groups[1:] },
			"train.Groups sum to"},
		"an empty list": {func(d, _ *data, _ *settings) { d.Groups[1] = 0 }, "list 1 has 0 rows"},
		"a huge list": {func(d, _ *data, _ *settings) { d.Groups[1] = 20_000 },
			"list 1 has 20000 rows"},
		"a negative gain": {func(_, d *data, _ *settings) { d.Labels[3] = -1 },
			"valid.Labels: row 3"},
		"a gain that is NaN": {func(d, _ *data, _ *settings) { d.Labels[3] = nan },
			"train.Labels: row 3"},
		"a weight of 0": {func(d, _ *data, _ *settings) {
			d.Weights = make([]float32, len(d.Labels))
		}, "train.Weights: row 0"},
		"few weights": {func(d, _ *data, _ *settings) { d.Weights = []float32{1} }, "1 weights"},
		"few offsets": {func(d, _ *data, _ *settings) { d.Offsets = []float64{1} },
			"1 offsets"},
		"an offset that is NaN": {func(d, _ *data, _ *settings) {
			d.Offsets = make([]float64, len(d.Labels))
			d.Offsets[2] = math.NaN()
		}, "train.Offsets: row 2"},
		"nothing chosen": {func(_, d *data, _ *settings) { clear(d.Labels) },
			"nothing to validate on"},
		"other columns": {func(_, d *data, _ *settings) {
			d.NumFeatures, d.Labels, d.Groups = 40, d.Labels[:500], []int32{500}
		}, "valid has 40 features"},
		"an objective": {func(_, _ *data, p *settings) { p.Objective = "rank" },
			"Objective is rank"},
		"leaves": {func(_, _ *data, p *settings) { p.NumLeaves = 1000 }, "Leaves is 1000"},
		"rounds": {func(_, _ *data, p *settings) { p.MaxRounds = 0 }, "MaxRounds is 0"},
		"a learning rate": {func(_, _ *data, p *settings) { p.LearningRate = math.NaN() },
			"LearningRate is NaN"},
		"all at once": {func(_, _ *data, p *settings) {
			p.MinDataInLeaf, p.EarlyStoppingRounds = 0, 0
		}, "MinDataInLeaf is 0; it is 1 or more\ngbdt: EarlyStoppingRounds is 0"},
		"few signs": {func(_, _ *data, p *settings) { p.MonotoneConstraints = []int8{1} },
			"the number of MonotoneConstraints is 1; it is 5, one per column"},
		"a sign": {func(_, _ *data, p *settings) { p.MonotoneConstraints = []int8{1, 0, 0, 0, 2} },
			"MonotoneConstraints is 2; it is -1, 0 or 1"},
		"an ignored column": {func(_, _ *data, p *settings) { p.IgnoredColumns = []int{5} },
			"IgnoredColumns is 5"},
		"a category": {func(_, _ *data, p *settings) { p.CategoricalFeatures = []int{0} },
			"a category is an integer"},
		"a damaged init model": {func(_, _ *data, p *settings) { p.InitModel = []byte("tree\n") },
			"reading a model: LightGBM"},
		"a LightGBM parameter": {func(_, _ *data, p *settings) {
			p.ExtraParams = []string{"num_leaves=none"}
		}, "LightGBM: "},
		"nothing to split on": {func(_, _ *data, p *settings) { p.MinDataInLeaf = 100_000 },
			"no split improves the model"},
	} {
		t.Run(name, func(t *testing.T) {
			train, valid, p := lists(1, 500), lists(2, 500), params()
			c.change(train, valid, &p)
			_, err := library(t).Train(context.Background(), train, valid, p, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := gbdt.Open(filepath.Join(t.TempDir(), "none.so")); err == nil ||
		!strings.Contains(err.Error(), "make build") {
		t.Errorf("no file: %v", err)
	}
	text := filepath.Join(t.TempDir(), "text.so")
	if err := os.WriteFile(text, []byte("not a library"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := gbdt.Open(text); err == nil || !strings.Contains(err.Error(), "text.so") {
		t.Errorf("a text file: %v", err)
	}
	if _, err := gbdt.Open("../../.cache/onnxruntime/libonnxruntime.so"); err == nil ||
		!strings.Contains(err.Error(), "not a LightGBM 4 library") {
		t.Errorf("another library: %v", err)
	}
}
