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

// lightgbm is the library whose scores and explanations GBDT must reproduce.
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

// cell draws a value of a column: any, rounded, zero, next to zero, missing, or huge.
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

// sample draws rows to score. The first columns are categorical; they hold seen and unseen
// categories and values that are no category.
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

// training draws lists of ten rows whose labels depend on some columns.
func training(r *rand.Rand, n, columns, categorical int) *gbdt.Dataset {
	d := &gbdt.Dataset{
		Rows:        sample(r, n, columns, categorical),
		NumFeatures: columns,
		Labels:      make([]float32, n),
	}
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

// randomModel trains a small model with random parameters; what describes it.
func randomModel(t *testing.T, r *rand.Rand) (model []byte, columns, categorical int, what string) {
	columns = 1 + r.IntN(8)
	categorical = r.IntN(min(3, columns))
	p := gbdt.DefaultParams()
	p.Objective = []string{gbdt.XENDCG, gbdt.Lambdarank, gbdt.Binary}[r.IntN(3)]
	p.NumLeaves, p.MaxRounds, p.MinDataInLeaf = 2+r.IntN(40), 1+r.IntN(20), 1+r.IntN(8)
	p.LambdaL2, p.LearningRate, p.FeatureFraction, p.Seed = 1, 0.3, 1, r.Uint64()
	for c := range categorical {
		p.CategoricalFeatures = append(p.CategoricalFeatures, c)
	}
	p.ExtraParams = [][]string{
		nil,
		{"use_missing=false"},
		{"zero_as_missing=true"},
		{"max_bin=5"},
		{"num_leaves=300"},
		{"boosting=rf"},
		{"boosting=dart"},
		{"max_cat_to_onehot=1", "cat_smooth=1", "min_data_per_group=1"},
		{"objective=regression"},
		{"max_bin=2000", "min_data_in_bin=1", "min_data_in_leaf=1", "num_leaves=100"},
	}[r.IntN(10)]
	what = fmt.Sprintf("%d columns, %d categorical, %s %v, %d leaves",
		columns, categorical, p.Objective, p.ExtraParams, p.NumLeaves)
	data := training(r, 200+10*r.IntN(60), columns, categorical)
	res, err := library(t).Train(context.Background(), data, nil, p, nil)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return res.Model, columns, categorical, what
}

// Scores and explanations of random models over random rows equal LightGBM's.
func TestGBDTEqualsLightGBM(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		model, columns, categorical, what := randomModel(t, r)
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
				t.Fatalf("seed %d, %s: row %d %v: score %g, want LightGBM's %g",
					seed, what, row, m.Row(row), got[row], want[row])
			}
			wantParts := parts[row*(columns+1):][:columns+1]
			checkParts(t, ours, m, row, got[row], wantParts, fmt.Sprintf("seed %d, %s", seed, what))
		}
	}
}

// checkParts checks that one row's explanation adds up to the score and equals want, whose last
// value is the base.
func checkParts(
	t *testing.T,
	ours *scorer.GBDT,
	m *ranker.Matrix,
	row int,
	score float64,
	want []float64,
	what string,
) {
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
		t.Fatalf("%s: row %d: contributions add up to %g, want the score %g", what, row, sum, score)
	}
	for c, w := range want {
		if g := append(got, base)[c]; math.Abs(g-w) > 1e-6 {
			t.Fatalf("%s: row %d: column %d of %d contributes %g, want LightGBM's %g",
				what, row, c, len(m.Columns), g, w)
		}
	}
}

// A row's score does not depend on the block and the processor that it falls to.
func TestScoreOfAnyLength(t *testing.T) {
	ours, err := scorer.ParseLightGBM([]byte(golden(t)), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	all := sample(rand.New(rand.NewPCG(2, 2)), 700, 3, 1)
	score := func(rows []float32) []float64 {
		m := &ranker.Matrix{N: len(rows) / 3, Columns: make([]ranker.Column, 3), Data: rows}
		out := make([]float64, m.N)
		runtime.GOMAXPROCS(1)
		if err := ours.Score(m, out); err != nil {
			t.Fatalf("%d rows: %v", m.N, err)
		}
		runtime.GOMAXPROCS(4)
		parallel := make([]float64, m.N)
		if err := ours.Score(m, parallel); err != nil || !slices.Equal(parallel, out) {
			t.Fatalf("%d rows on several processors: error %v, or other scores", m.N, err)
		}
		return out
	}
	want := score(all)
	for _, n := range []int{0, 1, 63, 64, 65, 128, 199, 256, 699} {
		for i, s := range score(all[:3*n]) {
			if s != want[i] {
				t.Fatalf(
					"%d rows: row %d has score %g, want %g as among all rows",
					n,
					i,
					s,
					want[i],
				)
			}
		}
	}
}

// Score allocates nothing but the closure for the processors.
func TestScoreAllocations(t *testing.T) {
	ours, err := scorer.ParseLightGBM([]byte(golden(t)), 3)
	if err != nil {
		t.Fatal(err)
	}
	m := &ranker.Matrix{
		N: 256, Columns: make([]ranker.Column, 3),
		Data: sample(rand.New(rand.NewPCG(2, 2)), 256, 3, 1),
	}
	out := make([]float64, m.N)
	if n := testing.AllocsPerRun(20, func() { err = ours.Score(m, out) }); err != nil || n > 1 {
		t.Errorf("error %v, %v allocations", err, n)
	}
}

// A request without texts has whole columns missing. Scoring and explaining are safe for concurrent
// use.
func TestMissingColumnsAndConcurrentUse(t *testing.T) {
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
				sum := base + parts[0] + parts[1] + parts[2]
				if err != nil || math.Abs(sum-want[row]) > 1e-9 || got[row] != want[row] {
					t.Errorf(
						"row %d: score %g, explained %g, want %g (error %v)",
						row,
						got[row],
						sum,
						want[row],
						err,
					)
				}
			}
		})
	}
	wait.Wait()
}

func TestShapeErrors(t *testing.T) {
	ours, err := scorer.ParseLightGBM([]byte(golden(t)), 3)
	if err != nil {
		t.Fatal(err)
	}
	good := &ranker.Matrix{N: 2, Columns: make([]ranker.Column, 3), Data: make([]float32, 6)}
	narrow := &ranker.Matrix{N: 3, Columns: make([]ranker.Column, 2), Data: make([]float32, 6)}
	short := &ranker.Matrix{N: 2, Columns: make([]ranker.Column, 3), Data: make([]float32, 5)}
	const reads = "but the model reads 3 columns"
	for _, c := range []struct {
		err  error
		want string
	}{
		{
			ours.Score(narrow, make([]float64, 3)),
			"gbdt: the matrix is 3 x 2 with 6 cells, " + reads,
		},
		{ours.Score(short, make([]float64, 2)), "gbdt: the matrix is 2 x 3 with 5 cells, " + reads},
		{ours.Score(good, make([]float64, 1)), "gbdt: out has length 1, but the matrix has 2 rows"},
		{
			explainError(ours, good, 2, 3),
			"gbdt: cannot explain row 2 of 2 into 3 values; the model reads 3 columns",
		},
		{
			explainError(ours, good, 0, 2),
			"gbdt: cannot explain row 0 of 2 into 2 values; the model reads 3 columns",
		},
	} {
		if c.err == nil || c.err.Error() != c.want {
			t.Errorf("error %v, want %q", c.err, c.want)
		}
	}
	if err := explainError(ours, narrow, 0, 2); err == nil {
		t.Error("a matrix of 2 columns was explained by a model of 3")
	}
}

func explainError(ours *scorer.GBDT, m *ranker.Matrix, row, parts int) error {
	_, err := ours.Explain(m, row, make([]float64, parts))
	return err
}
