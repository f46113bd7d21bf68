package classifier

import (
	"math"
	"slices"
	"strings"

	"github.com/viterin/vek/vek32"

	served "relish/embeddings/classifier"
)

// data are the examples as numbers, and after them the names of the labels.
type data struct {
	labels, dim, buckets int
	vectors              []float32          // rows x dim; zeros for a text without a token
	words                [][]served.Feature // by row: TF-IDF of length 1
	label                []int              // by row
	names                []int              // rows of the names of labels, which are the last ones
	// center was subtracted from all vectors, which were then multiplied by stretch. So the vectors
	// of the examples have the mean 0, and their squared length is 1 on average.
	center  []float32
	stretch float32
}

// examples returns the number of examples. They are the first rows.
func (d *data) examples() int { return len(d.label) - len(d.names) }

// add adds a text. vector is nil for a text without a token.
func (d *data) add(vector []float32, words []served.Feature, label int) {
	if vector == nil {
		vector = make([]float32, d.dim)
	}
	d.vectors = append(d.vectors, vector...)
	d.words, d.label = append(d.words, words), append(d.label, label)
}

// addName adds the name of a label, unless it has no token.
func (d *data) addName(vector []float32, words []served.Feature, label int) {
	if vector != nil {
		d.names = append(d.names, len(d.label))
		d.add(vector, words, label)
	}
}

// row returns the vector of a row.
func (d *data) row(i int) []float32 { return d.vectors[i*d.dim : (i+1)*d.dim] }

// centerVectors sets center and stretch and changes the vectors. The texts of one subject have
// vectors with much in common. The penalty of the weights would hold back what they differ by.
func (d *data) centerVectors() {
	var rows []int
	for i := range d.label {
		if vek32.Norm(d.row(i)) > 0 {
			rows = append(rows, i)
		}
	}
	d.center, d.stretch = make([]float32, d.dim), 1
	n, squares := 0, 0.0
	for _, i := range rows {
		if i < d.examples() {
			vek32.Add_Inplace(d.center, d.row(i))
			n++
		}
	}
	vek32.DivNumber_Inplace(d.center, float32(max(1, n)))
	for _, i := range rows {
		vek32.Sub_Inplace(d.row(i), d.center)
		if i < d.examples() {
			squares += float64(vek32.Dot(d.row(i), d.row(i)))
		}
	}
	if squares > 0 {
		d.stretch = float32(math.Sqrt(float64(n) / squares))
	}
	for _, i := range rows {
		vek32.MulNumber_Inplace(d.row(i), d.stretch)
	}
}

// uncenter returns weights of vectors and biases that give the same scores for vectors as the
// encoder gives them.
func (d *data) uncenter(weights, bias []float32) (outWeights, outBias []float32) {
	outWeights, outBias = slices.Clone(weights), slices.Clone(bias)
	vek32.MulNumber_Inplace(outWeights, d.stretch)
	for l := range outBias {
		outBias[l] -= vek32.Dot(outWeights[l*d.dim:(l+1)*d.dim], d.center)
	}
	return outWeights, outBias
}

// uncenteredRow returns the vector of a row as the encoder gives it. For a text without a token it
// is the center.
func (d *data) uncenteredRow(i int) []float32 {
	return vek32.Add(vek32.DivNumber(d.row(i), d.stretch), d.center)
}

// nameText returns the name of a label as a text: card_arrival is card arrival.
func nameText(label string) string {
	return strings.NewReplacer("_", " ", "-", " ").Replace(label)
}
