package engine_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/simplego"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"

	"relish/internal/onnxtest"
	"relish/training/engine"
)

func open(t testing.TB, opt engine.Options) *engine.Backend {
	t.Helper()
	b, err := engine.New(onnxtest.Start(t), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Finalize)
	return b
}

func simpleGo(t testing.TB) backends.Backend {
	t.Helper()
	b, err := simplego.New("")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run executes a graph function once and returns its outputs.
func run(
	t testing.TB, b backends.Backend, fn func(in []*Node) []*Node, in ...any,
) []*tensors.Tensor {
	t.Helper()
	out, err := try(b, fn, in...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func try(b backends.Backend, fn func(in []*Node) []*Node, in ...any) ([]*tensors.Tensor, error) {
	in = slices.Clone(in)
	e, err := NewExec(b, fn)
	if err != nil {
		return nil, err
	}
	defer e.Finalize()
	for i, v := range in { // a tensor stays on the backend that uses it first
		if x, ok := v.(*tensors.Tensor); ok {
			if in[i], err = x.LocalClone(); err != nil {
				return nil, err
			}
		}
	}
	return e.Exec(in...)
}

// values returns the elements of a tensor as numbers; false is 0 and true is 1.
func values(t testing.TB, x *tensors.Tensor) (out []float64) {
	t.Helper()
	err := x.ConstFlatData(func(flat any) {
		v := reflect.ValueOf(flat)
		for i := range v.Len() {
			switch e := v.Index(i); {
			case e.Kind() == reflect.Bool && e.Bool():
				out = append(out, 1)
			case e.Kind() == reflect.Bool:
				out = append(out, 0)
			default:
				out = append(out, e.Convert(reflect.TypeFor[float64]()).Float())
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// almostEqual reports whether two lists of numbers agree within an absolute plus relative
// tolerance.
func almostEqual(got, want []float64, tolerance float64) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if math.IsNaN(got[i]) != math.IsNaN(want[i]) {
			return false
		}
		if got[i] != want[i] && !math.IsNaN(got[i]) &&
			math.Abs(got[i]-want[i]) > tolerance*(1+math.Abs(want[i])) {
			return false
		}
	}
	return true
}

// noise returns a tensor of normal random numbers.
func noise(r *rand.Rand, dims ...int) *tensors.Tensor {
	n := 1
	for _, d := range dims {
		n *= d
	}
	flat := make([]float32, n)
	for i := range flat {
		flat[i] = float32(r.NormFloat64())
	}
	return tensors.FromFlatDataAndDimensions(flat, dims...)
}
