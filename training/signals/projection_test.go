package signals_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"relish/ranker"
	"relish/training/signals"
)

// The directions of a projection are orthonormal up to their scaling. Texts have unit length.
func TestProjection(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	c := newCorpus(300)
	for i := range c.ItemInfos {
		c.Vectors[i] = normals(r, 20)
		for d := range c.Vectors[i] {
			c.Vectors[i][d] = c.Vectors[i][d]*float32(1+d) + 3
		}
		var genres []string
		for range 1 + r.IntN(3) {
			genres = append(genres, fmt.Sprint("g", r.IntN(12)))
		}
		describe(
			c,
			i,
			"",
			map[string]ranker.FieldValue{
				"genre":      ranker.StringsValue(genres),
				"everywhere": ranker.StringValue("x"),
				"once":       ranker.StringValue(fmt.Sprint(i)),
			},
		)
	}
	s, err := signals.TrainProjection(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	if s.TextDim != 20 || s.FieldDim != 12 || len(s.FieldValues) != 12 {
		t.Fatalf(
			"%d directions of text, %d of %d field values",
			s.TextDim,
			s.FieldDim,
			len(s.FieldValues),
		)
	}
	for a := range s.TextDim {
		for b := range a {
			x, y := s.TextProjection[a*20:a*20+20], s.TextProjection[b*20:b*20+20]
			if cos := product(x, y) / math.Sqrt(product(x, x)*product(y, y)); math.Abs(cos) > 1e-4 {
				t.Errorf("directions %d and %d of text have a cosine of %g", a, b, cos)
			}
		}
	}
	// Half whitened: the variance along a direction is the square root of the original variance, so
	// the square of the scale is its inverse.
	for a := range s.TextDim {
		x := s.TextProjection[a*20 : a*20+20]
		mean, square := 0.0, 0.0
		for i := range c.Vectors {
			p := product(x, c.Vectors[i]) - float64(s.TextOffset[a])
			mean, square = mean+p/300, square+p*p/300
		}
		if scale := product(x, x); math.Abs(mean) > 1e-3 || math.Abs(square*scale-1) > 1e-2 {
			t.Errorf(
				"direction %d: mean %g, variance %g with a squared scale of %g",
				a,
				mean,
				square,
				scale,
			)
		}
	}
	out := make([]float32, s.TextDim)
	for i := range c.ItemInfos {
		if !s.Project(c.Vectors[i], out) {
			t.Fatal("a text has no place")
		}
		if n := product(out, out); math.Abs(n-1) > 1e-4 {
			t.Fatalf("item %d: the text has length %g", i, math.Sqrt(n))
		}
	}
	for name, vector := range map[string][]float32{
		"no vector": nil, "a vector of another encoder": make([]float32, 7),
	} {
		if s.Project(vector, out) || product(out, out) != 0 {
			t.Errorf("%s: an item without a text has one", name)
		}
	}
}
