package match

import "github.com/viterin/vek/vek32"

// conjugate solves A x = right by conjugate gradients (Hestenes and Stiefel 1952) in at most the given steps, from
// zero. times writes A p to out, and may use spare; A is symmetric and positive definite. right is overwritten.
func conjugate(right []float32, steps int, times func(p, out, spare []float32)) []float32 {
	n := len(right)
	if n == 0 {
		return nil
	}
	work := make([]float32, 4*n)
	x, p, ap, spare := work[:n:n], work[n:2*n], work[2*n:3*n], work[3*n:]
	copy(p, right)
	rr := vek32.Dot(right, right)
	for range steps {
		if rr < 1e-12 {
			break
		}
		times(p, ap, spare)
		curve := vek32.Dot(p, ap)
		if curve <= 0 { // rounding, or tables that no training writes
			break
		}
		step := rr / curve
		addScaled(x, p, step, spare)
		addScaled(right, ap, -step, spare)
		before := rr
		rr = vek32.Dot(right, right)
		for d := range p {
			p[d] = right[d] + rr/before*p[d]
		}
	}
	return x
}

// addScaled adds s x to y. All three are of the same length; spare is overwritten.
func addScaled(y, x []float32, s float32, spare []float32) {
	vek32.Add_Inplace(y, vek32.MulNumber_Into(spare, x, s)) // a loop in Go takes most of the time of taste and factors
}
