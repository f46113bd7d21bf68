package classifier

import (
	"cmp"
	"math"
	"slices"

	served "relish/embeddings/classifier"
)

// Metrics say how well labels were predicted.
type Metrics struct {
	N        int     `json:"n"` // texts
	Accuracy float64 `json:"accuracy"`
	// MacroF1 is the mean of F1 over the labels that occur or were predicted.
	MacroF1 float64 `json:"macro_f1"`
}

// LabelMetrics are the metrics of one label.
type LabelMetrics struct {
	Label                 string
	N                     int // texts with this label
	Precision, Recall, F1 float64
}

// Confusion is a pair of labels that were mixed up.
type Confusion struct {
	Truth, Predicted string
	N                int
}

// Measure compares predicted with true labels. Both have the same length.
func Measure(truth, predicted []string) Metrics {
	number := map[string]int{}
	for _, labels := range [][]string{truth, predicted} {
		for _, l := range labels {
			if _, ok := number[l]; !ok {
				number[l] = len(number)
			}
		}
	}
	m := newMatrix(len(number))
	for i := range truth {
		m.add(number[truth[i]], number[predicted[i]])
	}
	return m.metrics()
}

// matrix is a confusion matrix: counts by true and predicted label.
type matrix struct {
	labels int
	counts []int // true x predicted
}

func newMatrix(labels int) *matrix { return &matrix{labels, make([]int, labels*labels)} }

func (m *matrix) add(truth, predicted int) { m.counts[truth*m.labels+predicted]++ }

// ofLabel returns the metrics of a label. predicted is how often it was predicted.
func (m *matrix) ofLabel(l int) (out LabelMetrics, predicted int) {
	for k := range m.labels {
		out.N += m.counts[l*m.labels+k]
		predicted += m.counts[k*m.labels+l]
	}
	hits := float64(m.counts[l*m.labels+l])
	if predicted > 0 {
		out.Precision = hits / float64(predicted)
	}
	if out.N > 0 {
		out.Recall = hits / float64(out.N)
	}
	if sum := out.N + predicted; sum > 0 {
		out.F1 = 2 * hits / float64(sum)
	}
	return out, predicted
}

func (m *matrix) metrics() (out Metrics) {
	hits, f1, present := 0, 0.0, 0
	for l := range m.labels {
		x, predicted := m.ofLabel(l)
		out.N += x.N
		hits += m.counts[l*m.labels+l]
		if x.N+predicted > 0 {
			f1 += x.F1
			present++
		}
	}
	if out.N > 0 {
		out.Accuracy = float64(hits) / float64(out.N)
		out.MacroF1 = f1 / float64(present)
	}
	return out
}

// confusions returns the most frequent pairs that were mixed up, at most n.
func (m *matrix) confusions(labels []string, n int) (out []Confusion) {
	for t := range m.labels {
		for p := range m.labels {
			if c := m.counts[t*m.labels+p]; t != p && c > 0 {
				out = append(out, Confusion{labels[t], labels[p], c})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Confusion) int { return b.N - a.N })
	return out[:min(n, len(out))]
}

// matrix returns the confusion matrix of the most probable labels.
func (p *predictions) matrix() *matrix {
	m := newMatrix(p.labels)
	for k, truth := range p.truth {
		row := p.row(k)
		m.add(truth, slices.Index(row, slices.Max(row)))
	}
	return m
}

func (p *predictions) measure() Metrics { return p.matrix().metrics() }

// probabilities returns the calibrated probabilities of a row.
func (p *predictions) probabilities(k int, temperature float64) []float64 {
	row := slices.Clone(p.row(k))
	served.Softmax(row, temperature)
	return row
}

// calibrationBins is the number of bins of equal size of the calibration error.
const calibrationBins = 10

// calibrationError returns the mean distance between the probability of the predicted label and the
// share of right ones, in bins of equal size (expected calibration error).
func (p *predictions) calibrationError(temperature float64) float64 {
	type answer struct {
		probability float64
		right       float64
	}
	var answers []answer
	for k, truth := range p.truth {
		row := p.probabilities(k, temperature)
		a := answer{probability: slices.Max(row)}
		if row[truth] == a.probability {
			a.right = 1
		}
		answers = append(answers, a)
	}
	slices.SortFunc(answers, func(a, b answer) int {
		return cmp.Compare(a.probability, b.probability)
	})
	sum := 0.0
	for b := range calibrationBins {
		difference := 0.0
		n := len(answers)
		for _, a := range answers[b*n/calibrationBins : (b+1)*n/calibrationBins] {
			difference += a.probability - a.right
		}
		sum += math.Abs(difference)
	}
	return sum / float64(len(answers))
}

// margin returns the difference between the two largest probabilities. It is small for a text that
// a model is unsure of.
func margin(probabilities []float64) float64 {
	sorted := slices.Clone(probabilities)
	slices.Sort(sorted)
	return sorted[len(sorted)-1] - sorted[len(sorted)-2]
}
