package signals

import "github.com/viterin/vek/vek32"

// conjugateGradient solves A x = right by conjugate gradients (Hestenes and Stiefel 1952) in at most the given steps, from
// zero. times writes A p to out; A is symmetric and positive definite. right is overwritten.
func conjugateGradient(right []float32, steps int, times func(p, out []float32)) []float32 {
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
	for len(x) >= 8 && len(y) >= 8 { // unrolled: most of the time of taste and factors is spent here
		y[0], y[1], y[2], y[3] = y[0]+s*x[0], y[1]+s*x[1], y[2]+s*x[2], y[3]+s*x[3]
		y[4], y[5], y[6], y[7] = y[4]+s*x[4], y[5]+s*x[5], y[6]+s*x[6], y[7]+s*x[7]
		x, y = x[8:], y[8:]
	}
	for i, v := range x {
		y[i] += s * v
	}
}
