package signals

import (
	"math"

	"github.com/viterin/vek/vek32"
)

// conjugateGradient solves A x = b by conjugate gradients (Hestenes and Stiefel 1952) in at most
// the given number of steps, starting from zero. multiply writes A p to out. A must be symmetric
// and positive definite. b is overwritten.
func conjugateGradient(b []float32, steps int, multiply func(p, out []float32)) []float32 {
	n := len(b)
	if n == 0 {
		return nil
	}
	memory := make([]float32, 3*n)
	x, p, ap := memory[:n:n], memory[n:2*n], memory[2*n:]
	residual := b
	copy(p, residual)
	rr := vek32.Dot(residual, residual)
	for range steps {
		if rr < 1e-12 {
			break
		}
		multiply(p, ap)
		curvature := vek32.Dot(p, ap)
		if curvature <= 0 { // rounding, or a file that training did not write
			break
		}
		step := rr / curvature
		addScaled(x, p, step)
		addScaled(residual, ap, -step)
		before := rr
		rr = vek32.Dot(residual, residual)
		for d := range p {
			p[d] = residual[d] + rr/before*p[d]
		}
	}
	return x
}

// transpose returns the transpose of an in x out matrix.
func transpose(m []float32, in, out int) []float32 {
	t := make([]float32, len(m))
	for i := range in {
		for j := range out {
			t[j*in+i] = m[i*out+j]
		}
	}
	return t
}

// normalize scales v to unit length. It sets v to zero and returns false if v is almost zero.
func normalize(v []float32) bool {
	norm := vek32.Norm(v)
	if norm < 1e-6 {
		clear(v)
		return false
	}
	vek32.DivNumber_Inplace(v, norm)
	return true
}

// softmax replaces x by its softmax.
func softmax(x []float32) {
	largest, sum := vek32.Max(x), float32(0)
	for i, v := range x {
		x[i] = float32(math.Exp(float64(v - largest)))
		sum += x[i]
	}
	vek32.DivNumber_Inplace(x, sum)
}

func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }
