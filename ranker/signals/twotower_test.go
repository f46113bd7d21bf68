package signals_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"relish/ranker"
	"relish/ranker/signals"
)

// randomModel returns a model of the given size with random weights.
func randomModel(
	r *rand.Rand,
	layers, dim, heads, length, textDim, items int,
) signals.TwoTowerWeights {
	noise := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(r.NormFloat64() * 0.4)
		}
		return out
	}
	var ids []string
	for i := range items {
		ids = append(ids, fmt.Sprint("i", i))
	}
	w := signals.TwoTowerWeights{
		Layers: layers, Dim: dim, Heads: heads, HistoryLength: length, TextDim: textDim,
		Items:          ranker.NewItemTable(ids),
		Vectors:        noise(items * dim),
		Bias:           noise(items),
		TextProjection: noise(textDim * dim),
		UnknownBias:    0.3,
		Gain:           noise(dim),
	}
	if textDim > 0 {
		w.TextOffset = noise(dim)
	}
	if layers == 0 {
		w.PoolKey, w.Recency = noise(dim), noise(length)
	}
	for range layers {
		w.Blocks = append(w.Blocks, signals.AttentionBlock{
			Query:        noise(dim * dim),
			Key:          noise(dim * dim),
			Value:        noise(dim * dim),
			Out:          noise(dim * dim),
			PositionBias: noise(heads * length),
			Up:           noise(2 * dim * dim),
			UpBias:       noise(2 * dim),
			Down:         noise(2 * dim * dim),
			DownBias:     noise(dim),
		})
	}
	return w
}

func twoTower(t testing.TB, w signals.TwoTowerWeights) *signals.TwoTower {
	t.Helper()
	m, err := signals.NewTwoTower(w)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// naiveUser computes the user tower by its formulas, in float64, with the keys and values of all
// positions and every position of every layer.
func naiveUser(w *signals.TwoTowerWeights, history [][]float32) []float64 {
	d := w.Dim
	mul := func(x []float64, m []float32) []float64 {
		out := make([]float64, len(m)/len(x))
		for i, v := range x {
			for j := range out {
				out[j] += v * float64(m[i*len(out)+j])
			}
		}
		return out
	}
	norm := func(x []float64) []float64 {
		mean, variance, out := 0.0, 0.0, make([]float64, len(x))
		for _, v := range x {
			mean += v / float64(len(x))
		}
		for _, v := range x {
			variance += (v - mean) * (v - mean) / float64(len(x))
		}
		for i, v := range x {
			out[i] = (v - mean) / math.Sqrt(variance+1e-6)
		}
		return out
	}
	mix := func(scores []float64, rows [][]float64) []float64 {
		sum, out := 0.0, make([]float64, len(rows[0]))
		for _, s := range scores {
			sum += math.Exp(s)
		}
		for k, s := range scores {
			for i, v := range rows[k] {
				out[i] += math.Exp(s) / sum * v
			}
		}
		return out
	}
	var x [][]float64
	for _, v := range history {
		row := make([]float64, d)
		for i := range v {
			row[i] = float64(v[i])
		}
		x = append(x, row)
	}
	last := len(x) - 1
	if w.Layers == 0 {
		scores := make([]float64, len(x))
		for k := range x {
			for i, v := range norm(x[k]) {
				scores[k] += v * float64(w.PoolKey[i])
			}
			scores[k] += float64(w.Recency[last-k])
		}
		x = [][]float64{mix(scores, x)}
		last = 0
	}
	width := d / w.Heads
	for _, b := range w.Blocks {
		var q, k, v [][]float64
		for _, row := range x {
			h := norm(row)
			q, k, v = append(
				q,
				mul(h, b.Query),
			), append(
				k,
				mul(h, b.Key),
			), append(
				v,
				mul(h, b.Value),
			)
		}
		for i := range x {
			var all []float64
			for head := range w.Heads {
				var scores []float64
				var values [][]float64
				for j := range i + 1 {
					s := 0.0
					for c := head * width; c < (head+1)*width; c++ {
						s += q[i][c] * k[j][c]
					}
					bias := float64(b.PositionBias[head*w.HistoryLength+i-j])
					scores = append(scores, s/math.Sqrt(float64(width))+bias)
					values = append(values, v[j][head*width:(head+1)*width])
				}
				all = append(all, mix(scores, values)...)
			}
			for c, s := range mul(all, b.Out) {
				x[i][c] += s
			}
			up := mul(norm(x[i]), b.Up)
			for c := range up {
				up[c] = max(0, up[c]+float64(b.UpBias[c]))
			}
			for c, s := range mul(up, b.Down) {
				x[i][c] += s + float64(b.DownBias[c])
			}
		}
	}
	out := norm(x[last])
	for i := range out {
		out[i] *= float64(w.Gain[i])
	}
	return out
}

func TestUserTowerEqualsItsFormulas(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct{ layers, dim, heads, length int }{
		{0, 8, 1, 5}, {1, 8, 2, 5}, {1, 64, 2, 30}, {3, 12, 3, 7}, {2, 6, 1, 1},
	} {
		w := randomModel(r, c.layers, c.dim, c.heads, c.length, 4, 3)
		m := twoTower(t, w)
		for n := 1; n <= c.length; n++ {
			history := make([][]float32, n)
			for i := range history {
				history[i] = unit(r, c.dim)
			}
			want := naiveUser(&w, history)
			for i, got := range m.UserVector(history) {
				if math.Abs(float64(got)-want[i]) > 1e-4 {
					t.Fatalf("%+v, %d items: component %d is %v, want %v", c, n, i, got, want[i])
				}
			}
		}
	}
}

// twoTowerInput returns a request of a user with a history, newest first. texts holds text vectors
// by id.
func twoTowerInput(
	history, candidates []string, texts map[string][]float32,
) *ranker.SignalInput {
	in := &ranker.SignalInput{Request: &ranker.Request{}, State: &ranker.RequestState{}}
	for _, h := range history {
		in.State.Recent = append(in.State.Recent, ranker.Interaction{Item: h})
		in.RecentVectors = append(in.RecentVectors, texts[h])
	}
	for _, c := range candidates {
		in.Request.Candidates = append(in.Request.Candidates, ranker.Candidate{ID: c})
		in.State.Items = append(in.State.Items, nil)
		in.ItemVectors = append(in.ItemVectors, texts[c])
	}
	return in
}

func TestTwoTowerScores(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	w := randomModel(r, 1, 8, 2, 4, 6, 5)
	m := twoTower(t, w)
	texts := map[string][]float32{
		"i0": unit(r, 6), "i1": unit(r, 6), "new": unit(r, 6), "seen": unit(r, 6),
	}
	vector := func(i int) []float32 { return w.Vectors[i*8 : i*8+8] }
	dot := func(a, b []float32) (s float64) {
		for i := range a {
			s += float64(a[i]) * float64(b[i])
		}
		return s
	}
	// The repeated i2 counts once. "nothing" is skipped, because it is unknown and has no text.
	// "seen" is read by its text. i4 is beyond the history's length.
	history := []string{"i2", "i2", "nothing", "seen", "i1", "i2", "i4"}
	candidates := []string{"i0", "i3", "new", "nothing", "i1", "i0"}
	in := twoTowerInput(history, candidates, texts)
	in.Request.Candidates[4].Inline = &ranker.Item{Title: "another title"}
	in.Request.Candidates[5].ColdStart = true
	user := m.UserVector([][]float32{vector(2), vector(1), m.EncodeText(texts["seen"]), vector(2)})
	byText := func(id string) float64 {
		return dot(user, m.EncodeText(texts[id])) + float64(w.UnknownBias)
	}
	nan := math.NaN()
	want := []float64{
		dot(user, vector(0)) + float64(w.Bias[0]), byText("i0"),
		dot(user, vector(3)) + float64(w.Bias[3]), nan,
		byText("new"), byText("new"),
		nan, nan,
		byText("i1"), byText("i1"), // inline text
		byText("i0"), byText("i0"), // cold start
	}
	for i, got := range run(t, m, in) {
		isNaN := math.IsNaN(float64(got))
		if math.IsNaN(want[i]) != isNaN || math.Abs(float64(got)-want[i]) > 1e-4 {
			t.Errorf("row %d, column %d: got %v, want %v", i/2, i%2, got, want[i])
		}
	}
	for _, history := range [][]string{nil, {"nothing"}} {
		for _, got := range run(t, m, twoTowerInput(history, []string{"i0"}, texts)) {
			if !math.IsNaN(float64(got)) {
				t.Errorf("history %v: got %v, want NaN", history, got)
			}
		}
	}
	short := map[string][]float32{"i0": unit(r, 5)}
	err := m.Compute(
		t.Context(),
		twoTowerInput([]string{"i2"}, []string{"i0"}, short),
		make([]float32, 2),
	)
	const wantErr = "signal two_tower: a text vector has 5 numbers, " +
		"but the model was trained with 6; use the encoder of the training"
	if err == nil || err.Error() != wantErr {
		t.Errorf("vectors of another encoder: error %v, want %q", err, wantErr)
	}
}

func TestTwoTowerFile(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for layers := range 3 {
		for _, textDim := range []int{0, 6} {
			w := randomModel(r, layers, 8, 2, 4, textDim, 5)
			m := twoTower(t, w)
			file := m.Encode()
			var l signals.Loader
			loaded, err := l.Load(signals.KindTwoTower, file)
			if err != nil {
				t.Fatal(err)
			}
			history := [][]float32{unit(r, 8), unit(r, 8)}
			a, b := m.UserVector(history), loaded.(*signals.TwoTower).UserVector(history)
			for i := range a {
				if a[i] != b[i] {
					t.Fatalf("layers %d: user %v, after loading %v", layers, a, b)
				}
			}
			if string(loaded.(*signals.TwoTower).Encode()) != string(file) {
				t.Errorf("layers %d: another file after loading", layers)
			}
			for cut := range len(file) {
				if _, err := l.Load(signals.KindTwoTower, file[:cut]); err == nil {
					t.Fatalf(
						"layers %d: the first %d of %d bytes were loaded",
						layers,
						cut,
						len(file),
					)
				}
			}
		}
	}
}

func TestInvalidTwoTowerWeights(t *testing.T) {
	type weights = signals.TwoTowerWeights
	nan := float32(math.NaN())
	for _, c := range []struct {
		change func(w *weights)
		want   string
	}{
		{func(w *weights) { w.Layers = 17 }, " has 17 layers; it must have 0 to 16"},
		{func(w *weights) { w.Dim = 0 }, " has dimension 0; it must be 1 to 4096"},
		{func(w *weights) { w.Heads = 3 }, " has 3 heads, which do not divide its dimension 8"},
		{func(w *weights) { w.HistoryLength = 0 }, " reads 0 items; it must read 1 to 1000"},
		{func(w *weights) { w.Blocks = nil }, " has 0 of 1 layers"},
		{func(w *weights) { w.Vectors = w.Vectors[1:] }, "'s vectors has 39 values, expected 40"},
		{func(w *weights) { w.Blocks[0].DownBias = nil }, "'s down bias has 0 values, expected 8"},
		{func(w *weights) { w.Blocks[0].Key[3] = nan }, "'s key has a value that is not finite"},
		{func(w *weights) { w.Items = nil }, " has no item table"},
	} {
		w := randomModel(rand.New(rand.NewPCG(1, 1)), 1, 8, 2, 4, 6, 5)
		c.change(&w)
		_, err := signals.NewTwoTower(w)
		if want := "a two-tower model" + c.want; err == nil || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func FuzzTwoTowerFile(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 5))
	for layers := range 2 {
		f.Add(twoTower(f, randomModel(r, layers, 4, 2, 3, 2, 2)).Encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var l signals.Loader
		m, err := l.Load(signals.KindTwoTower, data)
		if err != nil {
			return
		}
		w := m.(*signals.TwoTower).Weights()
		m.(*signals.TwoTower).UserVector([][]float32{make([]float32, w.Dim)})
	})
}

func BenchmarkTwoTower(b *testing.B) {
	r := rand.New(rand.NewPCG(4, 4))
	for _, layers := range []int{0, 1, 2} {
		m := twoTower(b, randomModel(r, layers, 64, 2, 30, 384, 5000))
		for _, n := range []int{100, 1000} {
			texts := map[string][]float32{}
			var history, candidates []string
			for i := range 30 {
				history = append(history, fmt.Sprint("i", i))
			}
			for i := range n {
				id := fmt.Sprint("i", r.IntN(5000))
				if i%10 == 0 {
					id = "new"
				}
				texts[id] = unit(r, 384)
				candidates = append(candidates, id)
			}
			out := make([]float32, 2*n)
			b.Run(fmt.Sprintf("layers=%d/candidates=%d", layers, n), func(b *testing.B) {
				in := twoTowerInput(history, candidates, texts)
				b.ReportAllocs()
				for b.Loop() {
					if err := m.Compute(b.Context(), in, out); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
