package scorer_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training/gbdt"
)

// lightgbm is the real library: what Trees must be equal to.
var lightgbm = sync.OnceValues(func() (*gbdt.Library, error) {
	return gbdt.Open("../../.cache/lightgbm/lib_lightgbm.so")
})

func library(t testing.TB) *gbdt.Library {
	t.Helper()
	lib, err := lightgbm()
	if err != nil {
		t.Fatal(err)
	}
	return lib
}

// cell draws a value of a column: plain, rounded, zero, almost zero, missing, huge.
func cell(r *rand.Rand, column int) float32 {
	x := r.NormFloat64() * float64(1+column%3)
	switch r.IntN(12) {
	case 0, 1:
		return nan
	case 2:
		return 0
	case 3:
		return float32(x * 1e-36)
	case 4:
		return float32(math.Copysign(0, -1))
	case 5:
		return float32(x * 1e20)
	case 6, 7, 8:
		return float32(math.Round(x))
	}
	return float32(x)
}

// sample draws rows to score; the categorical columns hold categories, seen and unseen, and what is none.
func sample(r *rand.Rand, n, columns, categorical int) []float32 {
	rows := make([]float32, n*columns)
	for i := range rows {
		c := i % columns
		rows[i] = cell(r, c)
		if c < categorical && r.IntN(8) > 0 {
			rows[i] = float32(r.IntN(70))
		}
	}
	return rows
}

// training draws lists of ten whose gains depend on some columns.
func training(r *rand.Rand, n, columns, categorical int) *gbdt.Dataset {
	d := &gbdt.Dataset{Rows: sample(r, n, columns, categorical), NumFeatures: columns, Labels: make([]float32, n)}
	for i := range n {
		s := r.NormFloat64()
		row := d.Rows[i*columns : (i+1)*columns]
		for c, x := range row {
			if c < categorical && !(x >= 0 && x < 70 && x == float32(int(x))) {
				row[c], x = nan, nan
			}
			switch {
			case x != x:
				s += float64(c%3) - 1
			case c < categorical:
				s += float64(int(x)*7%11)/4 - 1
			default:
				s += math.Tanh(float64(x)) * float64(c%4)
			}
		}
		if s > 0 {
			d.Labels[i] = float32(min(1+math.Floor(s), 5))
		}
	}
	for range n / 10 {
		d.Groups = append(d.Groups, 10)
	}
	return d
}

// someModel trains a small model of random shape.
func someModel(t *testing.T, r *rand.Rand) (model []byte, columns, categorical int, what string) {
	columns = 1 + r.IntN(8)
	categorical = r.IntN(min(3, columns))
	p := gbdt.DefaultParams()
	p.Objective = []string{gbdt.XENDCG, gbdt.Lambdarank, gbdt.Binary}[r.IntN(3)]
	p.NumLeaves, p.MaxRounds, p.MinDataInLeaf = 2+r.IntN(40), 1+r.IntN(20), 1+r.IntN(8)
	p.LambdaL2, p.LearningRate, p.FeatureFraction, p.Seed = 1, 0.3, 1, r.Uint64()
	for c := range categorical {
		p.CategoricalFeatures = append(p.CategoricalFeatures, c)
	}
	p.ExtraParams = [][]string{nil, {"use_missing=false"}, {"zero_as_missing=true"}, {"max_bin=5"}, {"num_leaves=300"},
		{"boosting=rf"}, {"boosting=dart"}, {"max_cat_to_onehot=1", "cat_smooth=1", "min_data_per_group=1"}, {"objective=regression"},
		{"max_bin=2000", "min_data_in_bin=1", "min_data_in_leaf=1", "num_leaves=100"}}[r.IntN(10)]
	what = fmt.Sprint(columns, " columns, ", categorical, " categorical, ", p.Objective, " ", p.ExtraParams, " leaves ", p.NumLeaves)
	res, err := library(t).Train(context.Background(), training(r, 200+10*r.IntN(60), columns, categorical), nil, p, nil)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return res.Model, columns, categorical, what
}

// On random models over random rows, scores and explanations equal LightGBM's own.
func TestTreesEqualLightGBM(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		model, columns, categorical, what := someModel(t, r)
		ours, err := scorer.ParseLightGBM(model, columns)
		if err != nil {
			t.Fatalf("seed %d, %s: %v\n%s", seed, what, err, model)
		}
		theirs, err := library(t).LoadBooster(model)
		if err != nil {
			t.Fatal(err)
		}
		m := &ranker.Matrix{N: 1 + r.IntN(200), Columns: make([]ranker.Column, columns)}
		m.Data = sample(r, m.N, columns, categorical)
		want, err := theirs.Predict(m.Data, columns)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := theirs.Contributions(m.Data, columns)
		if err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		got := make([]float64, m.N)
		if err := ours.Score(m, got); err != nil {
			t.Fatal(err)
		}
		for row := range got {
			if math.Abs(got[row]-want[row]) > 1e-6 {
				t.Fatalf("seed %d, %s: row %d %v: %g, LightGBM %g", seed, what, row, m.Row(row), got[row], want[row])
			}
			sameParts(t, ours, m, row, got[row], parts[row*(columns+1):][:columns+1], fmt.Sprint("seed ", seed, ", ", what))
		}
	}
}

// sameParts checks one row's explanation: it adds up to the score, and equals want, whose last value is
// the base.
func sameParts(t *testing.T, ours *scorer.GBDT, m *ranker.Matrix, row int, score float64, want []float64, what string) {
	t.Helper()
	got := make([]float64, len(m.Columns))
	base, err := ours.Explain(m, row, got)
	if err != nil {
		t.Fatal(err)
	}
	sum := base
	for _, x := range got {
		sum += x
	}
	if math.Abs(sum-score) > 1e-6 {
		t.Fatalf("%s: row %d: the parts add up to %g, the score is %g", what, row, sum, score)
	}
	for c, w := range want {
		if g := append(got, base)[c]; math.Abs(g-w) > 1e-6 {
			t.Fatalf("%s: row %d: column %d of %d adds %g, LightGBM says %g", what, row, c, len(m.Columns), g, w)
		}
	}
}

// Rows are scored alike whatever block and part they fall into, and nothing is allocated but the part's closure.
func TestTreesScoreOfAnyLength(t *testing.T) {
	ours, err := scorer.ParseLightGBM([]byte(golden(t)), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	all := sample(rand.New(rand.NewPCG(2, 2)), 700, 3, 1)
	score := func(rows []float32) []float64 {
		m := &ranker.Matrix{N: len(rows) / 3, Columns: make([]ranker.Column, 3), Data: rows}
		out := make([]float64, m.N)
		allocations := testing.AllocsPerRun(20, func() { err = ours.Score(m, out) })
		if err != nil || allocations > 1 { // counted on one processor
			t.Fatalf("%d rows: %v, %v allocations", m.N, err, allocations)
		}
		parts := make([]float64, m.N)
		if err := ours.Score(m, parts); err != nil || !slices.Equal(parts, out) {
			t.Fatalf("%d rows in parts: %v, or other scores", m.N, err)
		}
		return out
	}
	want := score(all)
	for _, n := range []int{0, 1, 63, 64, 65, 128, 199, 256, 699} {
		for i, s := range score(all[:3*n]) {
			if s != want[i] {
				t.Fatalf("%d rows: row %d scores %g, among all %g", n, i, s, want[i])
			}
		}
	}
}

// What a request without texts looks like: whole columns missing. Concurrent use is part of the contract.
func TestTreesWithoutColumns(t *testing.T) {
	ours, err := scorer.ParseLightGBM([]byte(golden(t)), 3)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(4, 4))
	m := &ranker.Matrix{N: 300, Columns: make([]ranker.Column, 3), Data: sample(r, 300, 3, 1)}
	for i := 2; i < len(m.Data); i += 3 {
		m.Data[i] = nan
	}
	want := make([]float64, m.N)
	if err := ours.Score(m, want); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			got, parts := make([]float64, m.N), make([]float64, 3)
			for row := range m.N {
				if err := ours.Score(m, got); err != nil {
					t.Error(err)
				}
				base, err := ours.Explain(m, row, parts)
				if sum := base + parts[0] + parts[1] + parts[2]; err != nil || math.Abs(sum-want[row]) > 1e-9 || got[row] != want[row] {
					t.Errorf("row %d: %g, explained %g, alone %g: %v", row, got[row], sum, want[row], err)
				}
			}
		})
	}
	wait.Wait()
}

func TestTreesNeedTheirMatrix(t *testing.T) {
	ours, err := scorer.ParseLightGBM([]byte(golden(t)), 3)
	if err != nil {
		t.Fatal(err)
	}
	good := &ranker.Matrix{N: 2, Columns: make([]ranker.Column, 3), Data: make([]float32, 6)}
	narrow := &ranker.Matrix{N: 3, Columns: make([]ranker.Column, 2), Data: make([]float32, 6)}
	short := &ranker.Matrix{N: 2, Columns: make([]ranker.Column, 3), Data: make([]float32, 5)}
	for name, err := range map[string]error{
		"narrow":    ours.Score(narrow, make([]float64, 3)),
		"short":     ours.Score(short, make([]float64, 2)),
		"few out":   ours.Score(good, make([]float64, 1)),
		"row":       explainError(ours, good, 2, 3),
		"few parts": explainError(ours, good, 0, 2),
		"narrow x":  explainError(ours, narrow, 0, 2),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func explainError(ours *scorer.GBDT, m *ranker.Matrix, row, parts int) error {
	_, err := ours.Explain(m, row, make([]float64, parts))
	return err
}
