package classifier

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	served "relish/embeddings/classifier"
)

// randomData has examples whose label follows from vectors and words, with noise.
func randomData(n int) *data {
	r := rand.New(rand.NewPCG(5, 7))
	d := &data{labels: 3, dim: 4, buckets: 6}
	for range n {
		scores := [3]float64{}
		for k := range d.dim {
			x := r.NormFloat64()
			d.vectors = append(d.vectors, float32(x))
			scores[k%3] += x
		}
		b := int32(r.IntN(d.buckets))
		scores[b%3] += 2
		d.words = append(d.words, []served.Feature{{Bucket: b, Value: 1}})
		best := 0
		for l := range scores {
			if scores[l]+r.NormFloat64() > scores[best] {
				best = l
			}
		}
		d.label = append(d.label, best)
	}
	return d
}

// loss is the objective by its definition: weighted mean logistic loss and L2 penalty.
func loss(d *data, s settings, w []float64) float64 {
	n := len(d.label)
	counts := map[int]float64{}
	for _, l := range d.label {
		counts[l]++
	}
	sum, penalty := 0.0, 0.0
	for i, truth := range d.label {
		all, right := 0.0, 0.0
		for l := range d.labels {
			score := w[d.labels*d.dim+l]
			for k := range d.dim {
				score += w[l*d.dim+k] * float64(d.vectors[i*d.dim+k])
			}
			for _, f := range d.words[i] {
				at := d.labels*(d.dim+1) + int(f.Bucket)*d.labels + l
				score += w[at] * float64(f.Value) * s.scale
			}
			all += math.Exp(score)
			if l == truth {
				right = score
			}
		}
		weight := 1.0
		if s.balanced {
			weight = float64(n) / (counts[truth] * float64(d.labels))
		}
		sum += weight * (math.Log(all) - right)
	}
	for i, x := range w {
		if i < d.labels*d.dim || i >= d.labels*(d.dim+1) {
			penalty += x * x
		}
	}
	return sum/float64(n) + penalty/(2*s.cost*float64(n))
}

// fit finds a point from which no small step lowers the loss.
func TestFitMinimizesTheLoss(t *testing.T) {
	d := randomData(60)
	rows := make([]int, len(d.label))
	for i := range rows {
		rows[i] = i
	}
	for _, s := range []settings{{cost: 10, scale: 0.5}, {cost: 1, scale: 1, balanced: true}} {
		w, err := fit(t.Context(), d, rows, s, nil)
		if err != nil {
			t.Fatal(err)
		}
		best := loss(d, s, w)
		for i := range w {
			for _, step := range []float64{-0.3, 0.3} {
				w[i] += step
				if got := loss(d, s, w); got < best {
					t.Errorf("%s: weight %d%+g lowers the loss to %g, from %g",
						s, i, step, got, best)
				}
				w[i] -= step
			}
		}
		scores := predict(d, rows, s, w)
		for l := range d.labels {
			want := w[d.labels*d.dim+l]
			for k := range d.dim {
				want += w[l*d.dim+k] * float64(d.vectors[k])
			}
			f := d.words[0][0]
			want += w[d.labels*(d.dim+1)+int(f.Bucket)*d.labels+l] * s.scale
			if math.Abs(float64(scores[l])-want) > 1e-4 {
				t.Errorf("%s: the score of label %d is %g, want %g", s, l, scores[l], want)
			}
		}
	}
}

// Every example is predicted by one fold, each label is spread over all folds, and rounds differ.
func TestFolds(t *testing.T) {
	d := randomData(100)
	fold := assignFolds(d.label, d.labels, 1)
	if slices.Equal(fold, assignFolds(d.label, d.labels, 2)) {
		t.Error("two rounds have the same folds")
	}
	seen := map[int]int{}
	for k := range folds {
		train, test := split(fold, k)
		if len(train)+len(test) != 100 {
			t.Errorf("fold %d has %d and %d examples", k, len(train), len(test))
		}
		labels := map[int]bool{}
		for _, i := range test {
			seen[i]++
			labels[d.label[i]] = true
		}
		if len(labels) != 3 {
			t.Errorf("fold %d has %d labels", k, len(labels))
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d examples are predicted", len(seen))
	}
}

// The temperature makes scores that are three times too large right.
func TestTemperature(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	p := &predictions{labels: 2}
	for range 4000 {
		logit := r.NormFloat64() * 2
		truth := 0
		if r.Float64() < 1/(1+math.Exp(-logit)) {
			truth = 1
		}
		p.truth, p.scores = append(p.truth, truth), append(p.scores, 0, 3*logit)
	}
	temperature := p.temperature()
	if math.Abs(temperature-3) > 0.4 {
		t.Errorf("temperature %g, want 3", temperature)
	}
	before, after := p.calibrationError(1), p.calibrationError(temperature)
	if after > 0.03 || before < 0.05 {
		t.Errorf("calibration error %g before, %g after", before, after)
	}
}
