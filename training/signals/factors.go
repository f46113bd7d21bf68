package signals

import (
	"math/rand/v2"

	"github.com/viterin/vek/vek32"

	"relish/ranker/signals"
)

// FactorizationOptions of TrainFactors; zero values mean the defaults in brackets.
type FactorizationOptions struct {
	Dim    int     // [64]
	Rounds int     // alternations [10]
	Alpha  float64 // how much more an interaction weighs than none [10]
	Lambda float64 // regularisation per interaction [1]
	Seed   uint64
}

func (o *FactorizationOptions) defaults() {
	if o.Dim == 0 {
		o.Dim = 64
	}
	if o.Rounds == 0 {
		o.Rounds = 10
	}
	if o.Alpha == 0 {
		o.Alpha = 10
	}
	if o.Lambda == 0 {
		o.Lambda = 1
	}
}

// TrainMatrixFactorization factorises who took what by alternating least squares (Hu, Koren and Volinsky, ICDM 2008), each side
// solved as serving solves for a user.
func TrainMatrixFactorization(c *Corpus, opt FactorizationOptions) *signals.MatrixFactorization {
	opt.defaults()
	rng := rand.New(rand.NewPCG(opt.Seed, 0xfac))
	users := &signals.MatrixFactorization{Dim: opt.Dim, Alpha: opt.Alpha, Lambda: opt.Lambda, Vectors: make([]float32, len(c.Users)*opt.Dim)}
	items := &signals.MatrixFactorization{Items: c.Items, Dim: opt.Dim, Alpha: opt.Alpha, Lambda: opt.Lambda, Vectors: make([]float32, c.Items.Len()*opt.Dim)}
	for i := range items.Vectors {
		items.Vectors[i] = float32(rng.NormFloat64() * 0.1)
	}
	ofUser, ofItem := make([][]int32, len(c.Users)), make([][]int32, c.Items.Len())
	for u := range c.Users {
		ofUser[u] = distinctItems(c.Users[u].Interactions)
		for _, item := range ofUser[u] {
			ofItem[item] = append(ofItem[item], int32(u))
		}
	}
	for range opt.Rounds {
		solveSide(users, items, ofUser)
		solveSide(items, users, ofItem)
	}
	items.Gram = gram(items)
	return items
}

func distinctItems(steps []Interaction) []int32 {
	seen := make(map[int32]struct{}, len(steps))
	out := make([]int32, 0, len(steps))
	for _, s := range steps {
		if _, again := seen[s.Item]; !again {
			seen[s.Item] = struct{}{}
			out = append(out, s.Item)
		}
	}
	return out
}

// solveSide sets all vectors of one side from those of the other.
func solveSide(side, other *signals.MatrixFactorization, links [][]int32) {
	other.Gram = gram(other)
	parallel(len(links), func(_, i int) {
		if x := other.FoldIn(links[i]); x != nil {
			copy(side.Vector(int32(i)), x)
		} else {
			clear(side.Vector(int32(i)))
		}
	})
}

// gram is the sum of v v^T over all vectors.
func gram(f *signals.MatrixFactorization) []float32 {
	d := f.Dim
	out := make([]float32, d*d)
	n := len(f.Vectors) / d
	if n == 0 {
		return out
	}
	column := make([][]float32, d)
	for k := range column {
		column[k] = make([]float32, n)
		for i := range n {
			column[k][i] = f.Vectors[i*d+k]
		}
	}
	parallel(d, func(_, a int) {
		for b := range a + 1 {
			x := vek32.Dot(column[a], column[b])
			out[a*d+b], out[b*d+a] = x, x
		}
	})
	return out
}
