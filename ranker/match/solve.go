package match

import "github.com/viterin/vek/vek32"

// conjugate solves A x = right by conjugate gradients (Hestenes and Stiefel 1952) in at most the given steps, from
// zero. times writes A p to out; A is symmetric and positive definite. right is overwritten.
func conjugate(right []float32, steps int, times func(p, out []float32)) []float32 {
	n := len(right)
	if n == 0 {
		return nil
	}
	work := make([]float32, 3*n)
	x, p, ap := work[:n:n], work[n:2*n], work[2*n:]
	copy(p, right)
	rr := vek32.Dot(right, right)
	for range steps {
		if rr < 1e-12 {
			break
		}
		times(p, ap)
		curve := vek32.Dot(p, ap)
		if curve <= 0 { // rounding, or tables that no training writes
			break
		}
		step := rr / curve
		addScaled(x, p, step)
		addScaled(right, ap, -step)
		before := rr
		rr = vek32.Dot(right, right)
		for d := range p {
			p[d] = right[d] + rr/before*p[d]
		}
	}
	return x
}

// addScaled adds s x to y, of the same length.
func addScaled(y, x []float32, s float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += s * v
	}
}
