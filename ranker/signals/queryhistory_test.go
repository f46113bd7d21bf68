package signals_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"relish/ranker"
	"relish/ranker/signals"
)

func naiveQueryHistory(w *world, in *ranker.SignalInput) [][]float64 {
	out := nans(len(in.State.Items), 4)
	q := w.queryHistory
	for i := range in.Request.Candidates {
		item := w.index(&in.Request.Candidates[i])
		if item < 0 || in.QueryVector == nil || q.First[item] == q.First[item+1] {
			continue
		}
		mean, cosines := make([]float64, q.Dim), []float64(nil)
		for row := q.First[item]; row < q.First[item+1]; row++ {
			cosine := 0.0
			for d := range q.Dim {
				x := float64(q.Vectors[int(row)*q.Dim+d])
				cosine += x * float64(in.QueryVector[d])
				mean[d] += x
			}
			cosines = append(cosines, cosine)
		}
		slices.Sort(cosines)
		slices.Reverse(cosines)
		kernel, sum, product, square := 0.0, 0.0, 0.0, 0.0
		for _, c := range cosines {
			kernel += math.Exp(c / 0.05)
		}
		top := cosines[:min(5, len(cosines))]
		for _, c := range top {
			sum += c / float64(len(top))
		}
		for d, x := range mean {
			product += x * float64(in.QueryVector[d])
			square += x * x
		}
		out[i] = []float64{
			cosines[0], sum, 0.05 * math.Log(kernel), product / math.Sqrt(square),
		}
	}
	return out
}

// A search text of another encoder is an error, and files whose vectors are no rows of numbers are
// refused.
func TestQueryHistoryErrors(t *testing.T) {
	w := newWorld(3, 20)
	in := w.input(10, 0, 0)
	in.QueryVector = make([]float32, w.text+1)
	err := w.queryHistory.Compute(t.Context(), in, make([]float32, 4*len(in.State.Items)))
	if err == nil || !strings.Contains(err.Error(), "use the encoder of the training") {
		t.Errorf("another length gives %v", err)
	}
	for name, change := range map[string]func(q *signals.QueryHistory){
		"an incomplete row":    func(q *signals.QueryHistory) { q.Vectors = q.Vectors[1:] },
		"no vectors":           func(q *signals.QueryHistory) { q.Vectors = nil },
		"a number above 1":     func(q *signals.QueryHistory) { q.Vectors[0] = 2 },
		"descending positions": func(q *signals.QueryHistory) { q.First[1] = q.First[20] + 1 },
	} {
		q := *w.queryHistory
		q.Vectors, q.First = slices.Clone(q.Vectors), slices.Clone(q.First)
		change(&q)
		if _, err := new(signals.Loader).Load(q.Kind(), q.Encode()); err == nil {
			t.Errorf("%s is loaded", name)
		}
	}
}

// A signal whose items have few texts runs in the goroutine of the request, others do not.
func TestQueryHistoryInMemory(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for rows, want := range map[int]bool{300: true, 500: false} {
		vectors := make([][]float32, rows)
		for i := range vectors {
			vectors[i] = unit(r, 8)
		}
		table := ranker.NewItemTable([]string{"a", "b"})
		q := signals.NewQueryHistory(table, []int32{0, 0, int32(rows)}, vectors)
		loaded := load(t, &signals.Loader{}, q.Kind(), q.Encode()).(*signals.QueryHistory)
		if q.InMemory() != want || loaded.InMemory() != want {
			t.Errorf("%d texts of one item: in memory is %v, after loading %v", rows, q.InMemory(),
				loaded.InMemory())
		}
	}
}
