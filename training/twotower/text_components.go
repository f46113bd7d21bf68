package twotower

import (
	"errors"
	"math"

	"github.com/viterin/vek/vek32"
	"gonum.org/v1/gonum/mat"
)

// textComponents holds the item texts in the form that the model reads: the largest principal
// components of the centred text vectors, partially whitened.
type textComponents struct {
	n       int       // number of components; 0 if there is no text
	dim     int       // length of a text vector
	mean    []float32 // dim: mean text vector
	project []float32 // n x dim: component k of text vector x is project[k] · (x - mean)
	rows    []float32 // items x n: components of each item's text; zero for an item without text
}

// maxPCASample limits the number of texts that the components are computed from.
const maxPCASample = 20_000

// principalComponents computes the components of the texts. text has nil for an item without text,
// and want limits the number of components.
//
// Each component is divided by the fourth root of its variance (half whitening). Without whitening,
// the few directions that all texts of a shop share would dominate. Full whitening would amplify
// noise. The components are scaled so that their mean square is 1.
func principalComponents(text [][]float32, want int) (*textComponents, error) {
	c := &textComponents{}
	var sample [][]float32
	for _, v := range text {
		if v != nil {
			c.dim = len(v)
			sample = append(sample, v)
		}
	}
	if step := (len(sample) + maxPCASample - 1) / maxPCASample; step > 1 {
		for i := range (len(sample) + step - 1) / step {
			sample[i] = sample[i*step]
		}
		sample = sample[:(len(sample)+step-1)/step]
	}
	c.n = min(want, c.dim, len(sample)-1)
	if c.n < 1 {
		c.n = 0
		return c, nil
	}
	mean, cov := moments(sample, c.dim)
	var eigen mat.EigenSym
	if !eigen.Factorize(cov, true) {
		return nil, errors.New(
			"twotower: computing the principal components of the text vectors failed")
	}
	values := eigen.Values(nil) // in ascending order
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	for c.n > 0 && values[c.dim-c.n] <= max(1e-12, 1e-9*values[c.dim-1]) {
		c.n-- // the texts do not differ in this direction
	}
	total := 0.0
	for k := range c.n {
		total += math.Sqrt(values[c.dim-1-k])
	}
	scale := math.Sqrt(float64(c.n) / total)
	c.project = make([]float32, c.n*c.dim)
	for k := range c.n {
		column := c.dim - 1 - k
		f := scale / math.Sqrt(math.Sqrt(values[column]))
		for i := range c.dim {
			c.project[k*c.dim+i] = float32(f * vectors.At(i, column))
		}
	}
	c.mean = make([]float32, c.dim)
	for i := range mean {
		c.mean[i] = float32(mean[i])
	}
	c.rows = make([]float32, len(text)*c.n)
	centred := make([]float32, c.dim)
	for i, v := range text {
		if v != nil {
			c.projectText(v, centred, c.rows[i*c.n:(i+1)*c.n])
		}
	}
	return c, nil
}

// projectText writes the components of the text vector v into out. It uses centred as scratch
// memory.
func (c *textComponents) projectText(v, centred, out []float32) {
	for i := range v {
		centred[i] = v[i] - c.mean[i]
	}
	for k := range out {
		out[k] = vek32.Dot(c.project[k*c.dim:(k+1)*c.dim], centred)
	}
}

// moments returns the mean and the covariance of the vectors.
func moments(text [][]float32, dim int) ([]float64, *mat.SymDense) {
	weight := 1 / float64(len(text))
	mean := make([]float64, dim)
	for _, v := range text {
		for i, x := range v {
			mean[i] += weight * float64(x)
		}
	}
	cov, row := mat.NewSymDense(dim, nil), mat.NewVecDense(dim, nil)
	for _, v := range text {
		for i, x := range v {
			row.SetVec(i, float64(x)-mean[i])
		}
		cov.SymRankOne(cov, weight, row)
	}
	return mean, cov
}
