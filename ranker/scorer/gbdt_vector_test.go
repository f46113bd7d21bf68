package scorer

import (
	"math"
	"math/rand/v2"
	"testing"
)

// randomTree returns a tree of the given number of leaves over some columns.
func randomTree(r *rand.Rand, leaves, columns int) tree {
	t := tree{nodes: make([]split, leaves-1)}
	next := int32(0)
	var grow func(leaves int) int32
	grow = func(leaves int) int32 {
		if leaves == 1 {
			t.leaves = append(t.leaves, leaf{value: r.NormFloat64()})
			return ^int32(len(t.leaves) - 1)
		}
		at := next
		next++
		s := split{
			column: int32(r.IntN(columns)), threshold: floor32(float64(r.IntN(40)-20) / 4),
			missing: missingType(r.IntN(3)), defaultLeft: r.IntN(2) == 0,
		}
		if r.IntN(20) == 0 {
			s.categories = []uint32{r.Uint32(), r.Uint32()}
		}
		left := 1 + r.IntN(leaves-1)
		s.left = grow(left)
		s.right = grow(leaves - left)
		t.nodes[at] = s
		return at
	}
	grow(leaves)
	return t
}

// Both paths give the scores that walking the trees gives, with the same bits as each other. A
// processor without AVX-512 has one path.
func TestVectorsChangeNoBit(t *testing.T) {
	defer func() { useVectors = hasVectors }()
	special := []float32{
		float32(math.NaN()), 0, float32(math.Copysign(0, -1)), 1e-36, -1e-36, 1e-35, 0.25,
		float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32,
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		columns := 1 + r.IntN(12)
		var trees []tree
		for range 1 + r.IntN(40) {
			maxLeaves := []int{2, 8, 16, 40, 140}[r.IntN(5)]
			trees = append(trees, randomTree(r, 1+r.IntN(maxLeaves), columns))
		}
		n := 1 + r.IntN(200)
		data := make([]float32, n*columns)
		for i := range data {
			if data[i] = float32(r.IntN(48)-24) / 4; r.IntN(4) == 0 {
				data[i] = special[r.IntN(len(special))]
			}
		}
		p := compile(trees)
		score := func(vectors bool) []float64 {
			useVectors = vectors
			out := make([]float64, n)
			p.score(p.newScratch(), data, columns, out)
			return out
		}
		want, got := score(false), score(hasVectors)
		for row := range n {
			if math.Float64bits(got[row]) != math.Float64bits(want[row]) {
				t.Fatalf("seed %d: row %d of %d: %v with vectors, %v without",
					seed, row, n, got[row], want[row])
			}
			sum := 0.0
			for i := range trees {
				if len(trees[i].leaves) <= maxSliced {
					sum += trees[i].leafOf(data[row*columns : (row+1)*columns]).value
				}
			}
			if math.Abs(got[row]-sum) > 1e-9 {
				t.Fatalf("seed %d: row %d of %d: %v, want %v", seed, row, n, got[row], sum)
			}
		}
	}
}
