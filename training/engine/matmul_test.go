package engine_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/gomlx/gomlx/pkg/core/graph"

	"relish/training/engine"
)

// Random products with random axes give the same results as GoMLX's own backend. They cover pending
// broadcasts and sums of products that become matrix products.
func TestProductsAgainstSimpleGo(t *testing.T) {
	ours, theirs := open(t, engine.Options{}), simpleGo(t)
	r := rand.New(rand.NewPCG(1, 1))
	for round := range 60 {
		size := func() int { return 1 + r.IntN(4) }
		full := []int{size(), size(), size(), size()}
		side := func() (dims []int) {
			for _, d := range full {
				if r.IntN(2) == 0 {
					d = 1
				}
				dims = append(dims, d)
			}
			return dims
		}
		a, b := side(), side()
		var axes []int
		for i := range full {
			if r.IntN(2) == 0 {
				axes = append(axes, i)
			}
		}
		perm := r.Perm(4)
		fn := func(in []*Node) []*Node {
			x, y := BroadcastToDims(in[0], full...), BroadcastToDims(in[1], full...)
			p := Mul(TransposeAllAxes(x, perm...), TransposeAllAxes(y, perm...))
			if axes == nil {
				return []*Node{p}
			}
			return []*Node{ReduceSum(p, axes...)}
		}
		in := []any{noise(r, a...), noise(r, b...)}
		got, want := values(t, run(t, ours, fn, in...)[0]), values(t, run(t, theirs, fn, in...)[0])
		if !almostEqual(got, want, 1e-5) {
			t.Fatalf("round %d: %v x %v in %v, transposed %v, summed over %v: got %v, want %v",
				round, a, b, full, perm, axes, got, want)
		}
	}
}

func TestDotGeneralAgainstSimpleGo(t *testing.T) {
	ours, theirs := open(t, engine.Options{}), simpleGo(t)
	r := rand.New(rand.NewPCG(2, 1))
	for _, equation := range []string{
		"ij,jk->ik", "ij,kj->ik", "ji,jk->ik", "ij,jk->ki", "bsd,de->bse", "bqhd,bkhd->bhqk",
		"bhqk,bkhd->bqhd", "bij,bjk->bik", "bji,bkj->bik", "bd,bd->b", "bi,bj->bij", "i,j->ij",
		"i,i->", "abi,abj->abij", "bsd,bs->bd", "ij,ij->",
	} {
		sizes := map[rune]int{
			'i': 3, 'j': 4, 'k': 2, 'b': 2, 's': 5, 'd': 3, 'e': 2, 'q': 3, 'h': 2, 'a': 3,
		}
		dims := func(axes string) (out []int) {
			for _, a := range axes {
				out = append(out, sizes[a])
			}
			return out
		}
		left, rest, _ := strings.Cut(equation, ",")
		right, _, _ := strings.Cut(rest, "->")
		// Compare the value and both gradients of a sum that weights each element differently.
		fn := func(in []*Node) []*Node {
			out := Einsum(equation, in[0], in[1])
			loss := ReduceAllSum(Mul(out, Sin(out)))
			return append([]*Node{out}, Gradient(loss, in[0], in[1])...)
		}
		in := []any{noise(r, dims(left)...), noise(r, dims(right)...)}
		got, want := run(t, ours, fn, in...), run(t, theirs, fn, in...)
		for i := range got {
			if !almostEqual(values(t, got[i]), values(t, want[i]), 1e-4) {
				t.Errorf("%s: output %d: got %v, want %v", equation, i, got[i], want[i])
			}
		}
	}
}
