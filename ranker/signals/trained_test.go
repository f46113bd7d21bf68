package signals_test

import (
	"math"
	"slices"
	"testing"

	"relish/ranker"
	"relish/ranker/signals"
)

// definition computes a signal's rows as its comment defines them, in float64 and naive loops.
type definition func(w *world, in *ranker.SignalInput) [][]float64

// Every trained signal computes what its comment says.
func TestTrainedSignalsEqualTheirDefinitions(t *testing.T) {
	for _, c := range []struct {
		kind  string
		of    func(*world) signals.TrainedSignal
		naive definition
	}{
		{
			signals.KindCooccurrence,
			func(w *world) signals.TrainedSignal { return w.cooccurrence },
			naiveCooccurrence,
		},
		{
			signals.KindMatrixFactorization,
			func(w *world) signals.TrainedSignal { return w.factorization },
			naiveFactorization,
		},
		{
			signals.KindResidualGP,
			func(w *world) signals.TrainedSignal { return w.residual },
			naiveResidualGP,
		},
		{
			signals.KindContentPrior,
			func(w *world) signals.TrainedSignal { return w.contentPrior },
			naiveContentPrior,
		},
		{
			signals.KindLexical,
			func(w *world) signals.TrainedSignal { return w.lexical },
			naiveLexical,
		},
		{
			signals.KindQueryHistory,
			func(w *world) signals.TrainedSignal { return w.queryHistory },
			naiveQueryHistory,
		},
	} {
		t.Run(c.kind, func(t *testing.T) {
			present := map[string]int{}
			for round := range 80 {
				w := newWorld(uint64(round), []int{1, 3, 30, 60}[round%4])
				m := c.of(w)
				history, shown := []int{0, 1, 6, 130}[round/4%4], []int{0, 1, 9, 100}[round/16%4]
				in := w.input(1+w.r.IntN(25), history, shown)
				got, want := run(t, m, in), c.naive(w, in)
				for i := range want {
					for k, name := range m.Columns() {
						cell := got[i*len(m.Columns())+k]
						if !math.IsNaN(want[i][k]) {
							present[name]++
						}
						if !close64(cell, want[i][k]) {
							t.Fatalf("round %d, candidate %+v, %s: %g, want %g",
								round, in.Request.Candidates[i], name, cell, want[i][k])
						}
					}
				}
			}
			for _, name := range c.of(newWorld(1, 3)).Columns() {
				if present[name] < 50 {
					t.Errorf("%s had %d values: too few for this test", name, present[name])
				}
			}
		})
	}
}

func close64(got float32, want float64) bool {
	if math.IsNaN(want) {
		return got != got
	}
	return math.Abs(float64(got)-want) < 2e-3*math.Max(1, math.Abs(want))
}

func nans(rows, columns int) [][]float64 {
	out := make([][]float64, rows)
	for i := range out {
		for range columns {
			out[i] = append(out[i], math.NaN())
		}
	}
	return out
}

// knownItems returns the first n different known items of the history.
func (w *world) knownItems(in *ranker.SignalInput, n int) (out []int) {
	for _, x := range in.State.Recent {
		if k := int(w.table.Index(x.Item)); k >= 0 && len(out) < n && !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

func naiveCooccurrence(w *world, in *ranker.SignalInput) [][]float64 {
	out := nans(len(in.State.Items), 5)
	c := w.cooccurrence
	history := w.knownItems(in, 50)
	support := func(item int) float64 { return float64(c.Counts[item]) + 5 }
	for i := range in.Request.Candidates {
		item := w.index(&in.Request.Candidates[i])
		if item < 0 || len(history) == 0 {
			continue
		}
		row := make([]float64, 5)
		for k, h := range history {
			next, joint := 0.0, 0.0
			for e := c.First[h]; e < c.First[h+1]; e++ {
				if int(c.Neighbors[e]) == item {
					next, joint = float64(c.NextCounts[e]), float64(c.JointCounts[e])
				}
			}
			both := math.Sqrt(support(h) * support(item))
			row[0] += math.Pow(0.8, float64(k)) * next / support(h)
			row[1] += math.Pow(0.8, float64(k)) * next / both
			row[2] += math.Pow(0.95, float64(k)) * joint / both
			row[3] = max(row[3], joint/both)
			if k == 0 {
				row[4] = next / both
			}
		}
		out[i] = row
	}
	return out
}

// solve solves a x = b by Gaussian elimination with pivoting.
func solve(a [][]float64, b []float64) []float64 {
	n := len(b)
	for col := range n {
		pivot := col
		for r := col; r < n; r++ {
			if math.Abs(a[r][col]) > math.Abs(a[pivot][col]) {
				pivot = r
			}
		}
		a[col], a[pivot], b[col], b[pivot] = a[pivot], a[col], b[pivot], b[col]
		for r := col + 1; r < n; r++ {
			f := a[r][col] / a[col][col]
			for k := col; k < n; k++ {
				a[r][k] -= f * a[col][k]
			}
			b[r] -= f * b[col]
		}
	}
	x := make([]float64, n)
	for r := n - 1; r >= 0; r-- {
		x[r] = b[r]
		for k := r + 1; k < n; k++ {
			x[r] -= a[r][k] * x[k]
		}
		x[r] /= a[r][r]
	}
	return x
}

func dot64(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// system returns ridge I + scale sum v v^T.
func system(dim int, ridge, scale float64, vectors [][]float64) [][]float64 {
	a := make([][]float64, dim)
	for d := range a {
		a[d] = make([]float64, dim)
		a[d][d] = ridge
		for _, v := range vectors {
			for e := range dim {
				a[d][e] += scale * v[d] * v[e]
			}
		}
	}
	return a
}

func naiveFactorization(w *world, in *ranker.SignalInput) [][]float64 {
	f := w.factorization
	out := nans(len(in.State.Items), 2)
	history := w.knownItems(in, 100)
	if len(history) == 0 {
		return out
	}
	var vectors [][]float64
	right := make([]float64, f.Dim)
	for _, h := range history {
		vectors = append(vectors, wide(f.Vector(int32(h))))
		for d, x := range vectors[len(vectors)-1] {
			right[d] += (1 + f.Alpha) * x
		}
	}
	a := system(f.Dim, f.Lambda*float64(len(history)), f.Alpha, vectors)
	for d := range a {
		for e := range a[d] {
			a[d][e] += float64(f.Gram[d*f.Dim+e])
		}
	}
	user := solve(a, right)
	for i := range in.Request.Candidates {
		if item := w.index(&in.Request.Candidates[i]); item >= 0 {
			v := wide(f.Vector(int32(item)))
			out[i][0], out[i][1] = dot64(user, v), cosine(user, v)
		}
	}
	return out
}

// naiveText returns the directions of an item's text, of unit length; zero without a text.
func (w *world) naiveText(id string) []float64 {
	p, vector := w.contentPrior.Features.Projection, w.vectors[id]
	text := make([]float64, p.TextDim)
	if vector == nil {
		return text
	}
	for d := range text {
		row := wide(p.TextProjection[d*w.text : (d+1)*w.text])
		text[d] = dot64(row, wide(vector)) - float64(p.TextOffset[d])
	}
	return scaled(text, 1/math.Sqrt(dot64(text, text)))
}

// naiveEntries returns the entries of an item's field values, by field and value.
func (w *world) naiveEntries(info *ranker.ItemInfo) map[string]map[string]float64 {
	f, out := w.contentPrior.Features, map[string]map[string]float64{}
	values := map[string][]string{"tags": info.Tags()}
	for name, v := range info.Fields() {
		if v.Kind == ranker.Strings {
			values[name] = v.List
		}
	}
	for name, list := range values {
		entries, sum, squares := map[string]float64{}, 0.0, 0.0
		for _, v := range list {
			at := slices.Index(f.Projection.FieldValues, name+"="+v)
			if _, repeated := entries[v]; at < 0 || repeated {
				continue
			}
			x := float64(f.ValueWeights[at])
			entries[v] = x
			sum += x
			squares += x * x
		}
		length := math.Sqrt(squares)
		if i := fieldIndex(name); i >= 0 {
			length = max(length, sum/math.Sqrt(float64(f.FieldLimits[i])))
		}
		for v := range entries {
			entries[v] /= length
		}
		out[name] = entries
	}
	return out
}

// interpolate returns the value at x of the function that is linear between the points.
func interpolate(x float64, xs, ys []float32) float64 {
	for k := range xs {
		if x >= float64(xs[k]) {
			continue
		}
		if k == 0 {
			return float64(ys[0])
		}
		t := (x - float64(xs[k-1])) / float64(xs[k]-xs[k-1])
		return (1-t)*float64(ys[k-1]) + t*float64(ys[k])
	}
	return float64(ys[len(ys)-1])
}

// naiveResidual is the definition of Residual.
func naiveResidual(item int, y, p, e float64) signals.Residual {
	return signals.Residual{
		Item: int32(item), Value: float32((y - e*p) * (1 - p) / (1 - e*p)),
		Precision: float32(max(1e-3, e*p*(1-p)*(1-p)/(1-e*p))), Examined: float32(e),
	}
}

// naiveOlderClicks are the residuals of interactions before the oldest list, or with items that no
// list shows.
func (w *world) naiveOlderClicks(s *ranker.RequestState) (out []signals.Residual) {
	seen, shown, oldest := map[string]bool{}, map[string]bool{}, int64(math.MaxInt64)
	for _, x := range s.Shown {
		shown[x.Item] = true
		oldest = min(oldest, x.Time)
	}
	for _, x := range s.Recent {
		isTold := shown[x.Item] && x.Time >= oldest
		if item := int(w.table.Index(x.Item)); item >= 0 && !seen[x.Item] {
			seen[x.Item] = true // its newest interaction counts
			if isTold {
				continue
			}
			odds := float64(w.residual.LogOdds[item]) + w.contentPrior.MeanLogOdds
			out = append(out, naiveResidual(item, 1, 1/(1+math.Exp(-odds)), 1))
		}
	}
	return out
}

// naiveResiduals computes ResidualGP.Residuals. It solves each list's offset by bisection.
func (w *world) naiveResiduals(shown []ranker.Shown) (out []signals.Residual) {
	var to int
	for from := 0; from < len(shown); from = to {
		var list []int
		var ys, examined []float64
		clicks, end := 0.0, from
		for end < len(shown) && shown[end].Time == shown[from].Time {
			end++
		}
		for to = from; to < len(shown) && shown[to].Time == shown[from].Time; to++ {
			if item := int(w.table.Index(shown[to].Item)); item >= 0 {
				y := 0.0
				if shown[to].Clicked {
					y = 1
				}
				list, ys, clicks = append(list, item), append(ys, y), clicks+y
				e := 1.0
				if curve := w.residual.Examination; curve != nil {
					e = float64(curve[min(end-1-to, len(curve)-1)]) // the last one stood first
				}
				examined = append(examined, e)
			}
		}
		if clicks == 0 || clicks == float64(len(list)) {
			continue
		}
		probability := func(item int, offset float64) float64 {
			return 1 / (1 + math.Exp(-float64(w.residual.LogOdds[item])-offset))
		}
		low, high := -30.0, 30.0
		for range 100 {
			sum := 0.0
			for k, item := range list {
				sum += examined[k] * probability(item, (low+high)/2)
			}
			if sum < clicks {
				low = (low + high) / 2
			} else {
				high = (low + high) / 2
			}
		}
		for k, item := range list {
			out = append(out, naiveResidual(item, ys[k], probability(item, low), examined[k]))
		}
	}
	return out
}

// naiveItem is an item in the definition of ItemKernel.
type naiveItem struct {
	fields  map[string]map[string]float64 // field -> value -> number
	text    []float64
	numbers []float64
	learned []float64
}

// naiveItem returns an item; nil for an unknown one without content. index is -1 for a cold start.
func (w *world) naiveItem(id string, index int) *naiveItem {
	k, f := w.residual.Kernel, w.contentPrior.Features
	p := f.Projection
	info, vector := w.infos[id], w.vectors[id]
	it := &naiveItem{
		fields: map[string]map[string]float64{}, text: make([]float64, p.TextDim),
		numbers: make([]float64, 2), learned: make([]float64, k.LearnedDim),
	}
	if index >= 0 {
		root := math.Sqrt(float64(k.Weights.Learned))
		it.learned = scaled(wide(k.LearnedVector(int32(index))), root)
	}
	if info == nil {
		if index < 0 {
			return nil
		}
		return it
	}
	norm, predicted := 0.0, make([]float64, k.LearnedDim)
	for name, entries := range w.naiveEntries(info) {
		for v := range entries {
			at := slices.Index(p.FieldValues, name+"="+v)
			x := float64(f.ValueWeights[at])
			norm += x * x
			for d := range min(k.LearnedDim, p.FieldDim) {
				predicted[d] += float64(p.FieldVectors[at*p.FieldDim+d])
			}
			entries[v] *= math.Sqrt(float64(k.Weights.Fields[fieldIndex(name)]))
		}
		it.fields[name] = entries
	}
	if index < 0 && norm > 0 {
		it.learned = scaled(predicted, math.Sqrt(float64(k.Weights.Learned)/norm))
	}
	if vector != nil {
		for d, x := range w.naiveText(id) {
			row := wide(p.TextProjection[d*w.text : (d+1)*w.text])
			it.text[d] = x / math.Sqrt(dot64(row, row))
		}
		length := math.Sqrt(dot64(it.text, it.text))
		scaled(it.text, math.Sqrt(float64(k.Weights.Text))/length)
	}
	for j, scale := range f.Numbers {
		if v, _ := info.Field(scale.Name); v.Kind == ranker.Number || v.Kind == ranker.Bool {
			x := (interpolate(v.Num, scale.Knots, scale.Quantiles) - 0.5) * math.Sqrt(12)
			it.numbers[j] = math.Sqrt(float64(k.Weights.Numbers[j])) * x
		}
	}
	return it
}

func scaled(x []float64, s float64) []float64 {
	for d := range x {
		x[d] *= s
	}
	return x
}

// contentProduct is the inner product of two items without their learned vectors.
func (a *naiveItem) contentProduct(b *naiveItem) float64 {
	sum := dot64(a.text, b.text) + dot64(a.numbers, b.numbers)
	for name, values := range a.fields {
		for v, x := range values {
			sum += x * b.fields[name][v]
		}
	}
	return sum
}

func naiveResidualGP(w *world, in *ranker.SignalInput) [][]float64 {
	out, priors := nans(len(in.State.Items), 4), naiveContentPrior(w, in)
	for i := range out {
		out[i][2] = priors[i][1]
	}
	residuals := append(w.naiveResiduals(in.State.Shown), w.naiveOlderClicks(in.State)...)
	n := len(residuals)
	if n == 0 {
		return out
	}
	// Solve (V⁻¹ + K) a = V⁻¹ r. The posterior mean is the product of an item's covariances
	// and a.
	var items []*naiveItem
	matrix, right, evidence := make([][]float64, n), make([]float64, n), 0.0
	for i, r := range residuals {
		items = append(items, w.naiveItem(w.table.IDs()[r.Item], int(r.Item)))
		right[i] = float64(r.Value) / float64(r.Precision)
		evidence += float64(r.Precision)
	}
	for i, a := range items {
		matrix[i] = make([]float64, n)
		for j, b := range items {
			matrix[i][j] = a.contentProduct(b) + dot64(a.learned, b.learned)
		}
		matrix[i][i] += 1 / float64(residuals[i].Precision)
	}
	solution, scale := solve(matrix, right), float64(w.residual.Kernel.Weights.Scale)
	for i := range in.Request.Candidates {
		out[i][3] = math.Log1p(evidence)
		c := &in.Request.Candidates[i]
		it := w.naiveItem(c.ID, w.index(c))
		if it == nil {
			continue
		}
		out[i][0], out[i][1] = 0, 0
		for j, other := range items {
			out[i][0] += scale * solution[j] * dot64(it.learned, other.learned)
			out[i][1] += scale * solution[j] * it.contentProduct(other)
		}
		out[i][2] += out[i][0] + out[i][1]
	}
	return out
}

func naiveContentPrior(w *world, in *ranker.SignalInput) [][]float64 {
	c := w.contentPrior
	out := nans(len(in.State.Items), 2)
	for i := range in.Request.Candidates {
		id := in.Request.Candidates[i].ID
		out[i][0] = w.naiveStrength(id)
		log := c.MeanLogOdds
		if out[i][0] == out[i][0] {
			log += out[i][0]
		}
		p, n := 1/(1+math.Exp(-log)), in.State.Counts[i]
		n.Shown = max(n.Shown, n.Actions)
		rate := (n.Actions + c.PriorImpressions*p) / (n.Shown + c.PriorImpressions)
		out[i][1] = math.Log(rate/(1-rate)) - c.MeanLogOdds
	}
	return out
}

// naiveStrength returns content_prior.strength, NaN if it is missing.
func (w *world) naiveStrength(id string) float64 {
	c := w.contentPrior
	if item := w.table.Index(id); item >= 0 { // for a cold start, too
		return float64(c.OutOfFold[item])
	}
	info := w.infos[id]
	if info == nil {
		return math.NaN()
	}
	sum := c.Effects.Intercept + dot64(w.naiveText(id), wide(c.Effects.Text))
	for name, entries := range w.naiveEntries(info) {
		for v, x := range entries {
			at := slices.Index(c.Features.Projection.FieldValues, name+"="+v)
			sum += x * float64(c.Effects.Values[at])
		}
	}
	knot := 0
	for j, scale := range c.Features.Numbers {
		n := len(scale.Knots)
		if v, _ := info.Field(scale.Name); v.Kind == ranker.Number || v.Kind == ranker.Bool {
			sum += interpolate(v.Num, scale.Knots, c.Effects.Knots[knot:knot+n])
		} else {
			sum += float64(c.Effects.Missing[j])
		}
		knot += n
	}
	return sum
}
