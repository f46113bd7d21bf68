package vectortable_test

import (
	"math"
	"slices"
	"testing"

	"github.com/x448/float16"
	"pgregory.net/rapid"

	"relish/embeddings/vectortable"
)

// Rounding agrees with x448/float16 for every finite half.
func TestRoundIsExactOnHalves(t *testing.T) {
	for b := range 1 << 16 {
		h := float16.Frombits(uint16(b))
		if !h.IsFinite() {
			continue
		}
		v := []float32{h.Float32()}
		if vectortable.RoundToFloat16(v); math.Float32bits(v[0]) != math.Float32bits(h.Float32()) {
			t.Fatalf("half %#04x: %g, want %g", b, v[0], h.Float32())
		}
	}
}

func TestRoundingKeepsDirection(t *testing.T) {
	worst := 1.0
	rapid.Check(t, func(t *rapid.T) {
		v := unit(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(2, 1024).Draw(t, "dim"))
		w := slices.Clone(v)
		vectortable.RoundToFloat16(w)
		var dot, vv, ww float64
		for i := range v {
			dot += float64(v[i]) * float64(w[i])
			vv += float64(v[i]) * float64(v[i])
			ww += float64(w[i]) * float64(w[i])
		}
		cos := dot / math.Sqrt(vv*ww)
		if worst = min(worst, cos); cos < 0.9999 {
			t.Fatalf("cosine %g", cos)
		}
		again := slices.Clone(w)
		if vectortable.RoundToFloat16(again); !slices.Equal(again, w) {
			t.Fatal("rounding twice changes bits")
		}
	})
	t.Logf("worst cosine between a vector and its float16 form: %.9f", worst)
}
