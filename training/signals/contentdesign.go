package signals

import (
	"math"

	"gonum.org/v1/gonum/mat"

	served "relish/ranker/signals"
)

const (
	// knotDistance is the distance of quantiles at which the effects of a numeric field have little
	// to do with each other.
	knotDistance = 0.25
	// minKnotVariance drops directions of the effects at the knots that have hardly any variance.
	minKnotVariance = 1e-3
)

// contentDesign is the design matrix of the content regression. A row is an item. It has a few
// nonzero columns: the entries of its field values, for each numeric field the two knots beside its
// value or "missing", and the directions of its text. Their order is that of the effects: field
// values, knots, missing numbers, texts, intercept.
type contentDesign struct {
	features               *served.ContentFeatures
	knots, missing, effect int // first knot, first missing number, number of effects
	text                   int // first direction of the text

	first   []int       // by row: its first entry; one more at the end
	columns []int32     // by entry
	entries []float32   // by entry
	texts   [][]float32 // by row, nil without a text
	numbers []numberBasis
}

// numberBasis describes the prior of a numeric field's effects at the knots, a Gaussian process
// over quantiles. The effects are vectors times independent standard normal coefficients.
type numberBasis struct {
	firstKnot int
	// vectors has a row for each knot. The mean effect over the items is 0, so that an item without
	// the number has the mean of those that have it, unless there is evidence against that.
	vectors *mat.Dense
}

// newContentDesign returns the rows of the catalogue's items. An item without content has none of
// the columns but the intercept.
func newContentDesign(c *Corpus, features *served.ContentFeatures) (*contentDesign, error) {
	d := &contentDesign{features: features, first: []int{0}}
	d.knots = len(features.ValueWeights)
	d.missing = d.knots + features.KnotCount()
	d.text = d.missing + len(features.Numbers)
	d.effect = d.text + features.Projection.TextDim + 1
	reader := features.NewReader()
	for i, info := range c.ItemInfos {
		var text []float32
		if info != nil {
			reader.Read(info, c.Vectors[i])
			d.columns = append(d.columns, reader.Values...)
			d.entries = append(d.entries, reader.Entries...)
			if c.Vectors[i] != nil {
				text = append(text, reader.Text...)
			}
			knot := d.knots
			for j := range features.Numbers {
				scale := &features.Numbers[j]
				if x, ok := served.NumberOf(info, scale.Name); ok {
					d.addKnots(scale, knot, x)
				} else {
					d.add(d.missing+j, 1)
				}
				knot += len(scale.Knots)
			}
		}
		d.texts = append(d.texts, text)
		d.first = append(d.first, len(d.columns))
	}
	if err := d.setBases(); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *contentDesign) add(column int, entry float32) {
	d.columns, d.entries = append(d.columns, int32(column)), append(d.entries, entry)
}

// addKnots adds the weights of the knots beside x.
func (d *contentDesign) addKnots(scale *served.NumberScale, firstKnot int, x float64) {
	knot, fraction := scale.Locate(x)
	d.add(firstKnot+knot, 1-fraction)
	if fraction > 0 {
		d.add(firstKnot+knot+1, fraction)
	}
}

// setBases computes the bases of the numeric fields.
func (d *contentDesign) setBases() error {
	shares := make([]float64, d.missing) // by knot: the sum of its entries
	for e, column := range d.columns {
		if int(column) >= d.knots && int(column) < d.missing {
			shares[column] += float64(d.entries[e])
		}
	}
	knot := d.knots
	for j := range d.features.Numbers {
		quantiles := d.features.Numbers[j].Quantiles
		n := len(quantiles)
		kernel := mat.NewSymDense(n, nil)
		for a, p := range quantiles {
			for b, q := range quantiles[:a+1] {
				x := float64(p-q) / knotDistance
				kernel.SetSym(a, b, math.Exp(-x*x/2))
			}
		}
		var eigen mat.EigenSym
		if !eigen.Factorize(kernel, true) {
			return errSingular
		}
		var vectors mat.Dense
		eigen.VectorsTo(&vectors)
		variances := eigen.Values(nil) // ascending
		kept := 0
		for kept < n-1 && variances[n-1-kept] > minKnotVariance {
			kept++
		}
		kept = max(1, kept)
		basis := mat.NewDense(n, kept, nil)
		for r := range kept {
			mean, total := 0.0, 1e-9
			for k := range n {
				x := vectors.At(k, n-1-r) * math.Sqrt(variances[n-1-r])
				basis.Set(k, r, x)
				mean += shares[knot+k] * x
				total += shares[knot+k]
			}
			for k := range n {
				basis.Set(k, r, basis.At(k, r)-mean/total)
			}
		}
		d.numbers = append(d.numbers, numberBasis{knot, basis})
		knot += n
	}
	return nil
}

// dot returns the product of a row and the effects.
func (d *contentDesign) dot(row int, effects []float64) float64 {
	sum := effects[d.effect-1]
	for e := d.first[row]; e < d.first[row+1]; e++ {
		sum += float64(d.entries[e]) * effects[d.columns[e]]
	}
	text := effects[d.text:]
	for k, x := range d.texts[row] {
		sum += float64(x) * text[k]
	}
	return sum
}

// addRow adds s times a row to sums, which has a number for each effect.
func (d *contentDesign) addRow(row int, s float64, sums []float64) {
	sums[d.effect-1] += s
	for e := d.first[row]; e < d.first[row+1]; e++ {
		sums[d.columns[e]] += s * float64(d.entries[e])
	}
	text := sums[d.text:]
	for k, x := range d.texts[row] {
		text[k] += s * float64(x)
	}
}

// addSquares adds s times the squares of a row's entries to sums.
func (d *contentDesign) addSquares(row int, s float64, sums []float64) {
	sums[d.effect-1] += s
	for e := d.first[row]; e < d.first[row+1]; e++ {
		sums[d.columns[e]] += s * float64(d.entries[e]) * float64(d.entries[e])
	}
	text := sums[d.text:]
	for k, x := range d.texts[row] {
		text[k] += s * float64(x) * float64(x)
	}
}
