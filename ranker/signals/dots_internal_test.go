package signals

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/viterin/vek/vek32"
)

func randomVectors(r *rand.Rand, n, length int) [][]float32 {
	out := make([][]float32, n)
	for i := range out {
		out[i] = make([]float32, length)
		for k := range out[i] {
			out[i][k] = float32(r.NormFloat64() * math.Exp(4*r.NormFloat64()))
		}
	}
	return out
}

// The products of many rows at a time have the bits of vek32.Dot.
func TestDotsHaveTheBitsOfSingleDots(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	lengths := []int{1, 2, 7, 8, 16, 31, 32, 33, 63, 64, 65, 96, 98, 127, 128, 384, 401}
	for _, length := range lengths {
		for n := range 26 {
			rows, x := randomVectors(r, n, length), randomVectors(r, 1, length)[0]
			set := newRowSet(length)
			flat := []float32{}
			for _, row := range rows {
				set.add(row)
				flat = append(append(flat, row...), 1, 2, 3)
			}
			got, multiplied := set.dots(x), make([]float32, n)
			multiplyRows(flat, length+3, x, multiplied)
			for i, row := range rows {
				want := math.Float32bits(vek32.Dot(row, x))
				if math.Float32bits(got[i]) != want || math.Float32bits(multiplied[i]) != want {
					t.Fatalf("length %d, row %d of %d: %v and %v, want %v",
						length, i, n, got[i], multiplied[i], vek32.Dot(row, x))
				}
			}
			set.free()
		}
	}
}

// A row of another length is refused, and not read beyond its end.
func TestDotsRefuseOtherLengths(t *testing.T) {
	set := newRowSet(3)
	set.add([]float32{1, 2, 3})
	for name, f := range map[string]func(){
		"row":     func() { set.add([]float32{1, 2}) },
		"vector":  func() { set.dots([]float32{1, 2}) },
		"sum":     func() { set.addTo([]float32{1, 2}, []float32{1}) },
		"factors": func() { set.addTo([]float32{1, 2, 3}, nil) },
		"matrix":  func() { multiply(make([]float32, 31), make([]float32, 4), make([]float32, 8)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a %s of another length is accepted", name)
				}
			}()
			f()
		}()
	}
}

// Sums of scaled vectors round each product before they add it, as a plain loop does, whatever the
// length and the number of vectors.
func TestScaledSumsHaveTheBitsOfALoop(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for length := range 150 {
		for n := range 5 {
			v := randomVectors(r, n+1, length+1) // one more number, which must stay
			y, rows := v[n], v[:n]
			want, single := append([]float32{}, y...), append([]float32{}, y...)
			set, factors := newRowSet(length), []float32{}
			for _, row := range rows {
				s := float32(r.NormFloat64())
				factors = append(factors, s)
				for k, x := range row[:length] {
					want[k] += s * x
				}
				addScaled(single[:length], row[:length], s)
				if length > 0 {
					set.add(row[:length])
				}
			}
			set.addTo(y[:length], factors)
			for k := range y {
				bits := math.Float32bits(want[k])
				if math.Float32bits(y[k]) != bits || math.Float32bits(single[k]) != bits {
					t.Fatalf("length %d, %d rows, number %d: %v and %v, want %v",
						length, n, k, y[k], single[k], want[k])
				}
			}
			set.free()
		}
	}
}

func BenchmarkDots(b *testing.B) {
	rows := randomVectors(rand.New(rand.NewPCG(4, 4)), 16, 384)
	b.Run("one by one", func(b *testing.B) {
		for b.Loop() {
			for _, row := range rows {
				vek32.Dot(rows[0], row)
			}
		}
	})
	b.Run("eight at a time", func(b *testing.B) {
		set := newRowSet(384)
		for _, row := range rows {
			set.add(row)
		}
		for b.Loop() {
			set.dots(rows[0])
		}
	})
}
