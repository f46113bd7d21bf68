package signals

import (
	"math/rand/v2"

	"github.com/viterin/vek/vek32"

	"relish/internal/parallel"
	served "relish/ranker/signals"
)

// FactorizationOptions of TrainMatrixFactorization. Zero values mean the defaults in brackets.
type FactorizationOptions struct {
	Dim    int     // length of a vector [64]
	Rounds int     // alternations between users and items [10]
	Alpha  float64 // confidence of an interaction in addition to that of none, which is 1 [10]
	Lambda float64 // L2 regularisation for each interaction [1]
	Seed   uint64
}

func (o *FactorizationOptions) setDefaults() {
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

// TrainMatrixFactorization factorizes the user-item interaction matrix by alternating least squares
// (Hu, Koren and Volinsky, ICDM 2008). Each vector is solved for as serving solves for a user's.
func TrainMatrixFactorization(c *Corpus, opt FactorizationOptions) *served.MatrixFactorization {
	opt.setDefaults()
	rng := rand.New(rand.NewPCG(opt.Seed, 0xfac))
	users := &served.MatrixFactorization{
		Dim: opt.Dim, Alpha: opt.Alpha, Lambda: opt.Lambda,
		Vectors: make([]float32, len(c.Users)*opt.Dim),
	}
	items := &served.MatrixFactorization{
		Items: c.Items, Dim: opt.Dim, Alpha: opt.Alpha, Lambda: opt.Lambda,
		Vectors: make([]float32, c.Items.Len()*opt.Dim),
	}
	for i := range items.Vectors {
		items.Vectors[i] = float32(rng.NormFloat64() * 0.1)
	}
	itemsOf, usersOf := make([][]int32, len(c.Users)), make([][]int32, c.Items.Len())
	for u := range c.Users {
		itemsOf[u] = distinctItems(c.Users[u].Interactions)
		for _, item := range itemsOf[u] {
			usersOf[item] = append(usersOf[item], int32(u))
		}
	}
	for range opt.Rounds {
		solveSide(users, items, itemsOf)
		solveSide(items, users, usersOf)
	}
	items.Gram = gram(items)
	return items
}

// distinctItems returns the items of a history without repeats, in the order of first interaction.
func distinctItems(history []Interaction) []int32 {
	seen := make(map[int32]struct{}, len(history))
	out := make([]int32, 0, len(history))
	for _, x := range history {
		if _, again := seen[x.Item]; !again {
			seen[x.Item] = struct{}{}
			out = append(out, x.Item)
		}
	}
	return out
}

// solveSide solves for all vectors of one side, given those of the other. links[i] are the vectors
// of the other side that i interacted with.
func solveSide(side, other *served.MatrixFactorization, links [][]int32) {
	other.Gram = gram(other)
	parallel.Each(len(links), func(i int) {
		if x := other.FoldIn(links[i]); x != nil {
			copy(side.Vector(int32(i)), x)
		} else {
			clear(side.Vector(int32(i)))
		}
	})
}

// gram returns the sum of v vᵀ over all vectors v, Dim x Dim.
func gram(f *served.MatrixFactorization) []float32 {
	d := f.Dim
	out := make([]float32, d*d)
	n := len(f.Vectors) / d
	if n == 0 {
		return out
	}
	columns := make([][]float32, d)
	for k := range columns {
		columns[k] = make([]float32, n)
		for i := range n {
			columns[k][i] = f.Vectors[i*d+k]
		}
	}
	parallel.Each(d, func(a int) {
		for b := range a + 1 {
			x := vek32.Dot(columns[a], columns[b])
			out[a*d+b], out[b*d+a] = x, x
		}
	})
	return out
}
