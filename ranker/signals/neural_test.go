package signals_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"relish/ranker"
	"relish/ranker/signals"
)

// randomModel is a model with random weights of some size.
func randomModel(r *rand.Rand, layers, dim, heads, length, textDim, items int) signals.TwoTowerWeights {
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
		Items: ranker.NewItemTable(ids), Vectors: noise(items * dim), Bias: noise(items), TextProjection: noise(textDim * dim), UnknownBias: 0.3, Gain: noise(dim),
	}
	if textDim > 0 {
		w.TextOffset = noise(dim)
	}
	if layers == 0 {
		w.PoolKey, w.Recency = noise(dim), noise(length)
	}
	for range layers {
		w.Blocks = append(w.Blocks, signals.AttentionBlock{
			Query: noise(dim * dim), Key: noise(dim * dim), Value: noise(dim * dim), Out: noise(dim * dim), PositionBias: noise(heads * length),
			Up: noise(2 * dim * dim), UpBias: noise(2 * dim), Down: noise(2 * dim * dim), DownBias: noise(dim),
		})
	}
	return w
}

func neural(t testing.TB, w signals.TwoTowerWeights) *signals.TwoTower {
	t.Helper()
	m, err := signals.NewTwoTower(w)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The user half as the formulas say it, in float64, with keys and values of all places made and every place of every
// layer computed.
func plainUser(w *signals.TwoTowerWeights, history [][]float32) []float64 {
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
	wide := d / w.Heads
	for _, b := range w.Blocks {
		var q, k, v [][]float64
		for _, row := range x {
			h := norm(row)
			q, k, v = append(q, mul(h, b.Query)), append(k, mul(h, b.Key)), append(v, mul(h, b.Value))
		}
		for i := range x {
			var all []float64
			for head := range w.Heads {
				var scores []float64
				var values [][]float64
				for j := range i + 1 {
					s := 0.0
					for c := head * wide; c < (head+1)*wide; c++ {
						s += q[i][c] * k[j][c]
					}
					scores = append(scores, s/math.Sqrt(float64(wide))+float64(b.PositionBias[head*w.HistoryLength+i-j]))
					values = append(values, v[j][head*wide:(head+1)*wide])
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

func TestNeuralUser(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct{ layers, dim, heads, length int }{{0, 8, 1, 5}, {1, 8, 2, 5}, {1, 64, 2, 30}, {3, 12, 3, 7}, {2, 6, 1, 1}} {
		w := randomModel(r, c.layers, c.dim, c.heads, c.length, 4, 3)
		m := neural(t, w)
		for n := 1; n <= c.length; n++ {
			history := make([][]float32, n)
			for i := range history {
				history[i] = unit(r, c.dim)
			}
			want := plainUser(&w, history)
			for i, got := range m.UserVector(history) {
				if math.Abs(float64(got)-want[i]) > 1e-4 {
					t.Fatalf("%+v, %d items: number %d is %v, want %v", c, n, i, got, want[i])
				}
			}
		}
	}
}

// neuralInput is a request for a user with a history, newest first, and candidates, with text vectors by id.
func neuralInput(history, candidates []string, texts map[string][]float32) *ranker.SignalInput {
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

func TestNeuralMatch(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	w := randomModel(r, 1, 8, 2, 4, 6, 5)
	m := neural(t, w)
	texts := map[string][]float32{"i0": unit(r, 6), "i1": unit(r, 6), "new": unit(r, 6), "seen": unit(r, 6)}
	known := func(i int) []float32 { return w.Vectors[i*8 : i*8+8] }
	dot := func(a, b []float32) (s float64) {
		for i := range a {
			s += float64(a[i]) * float64(b[i])
		}
		return s
	}
	// Oldest first: the place beyond the fourth is not read, the repeated i2 counts once, what is unknown and without
	// a text is passed over, and what is unknown with a text is read by it.
	in := neuralInput([]string{"i2", "i2", "nothing", "seen", "i1", "i2", "i4"}, []string{"i0", "i3", "new", "nowhere", "i1", "i0"}, texts)
	in.Request.Candidates[4].Inline = &ranker.Item{Title: "another title"}
	in.Request.Candidates[5].ColdStart = true
	user := m.UserVector([][]float32{known(2), known(1), m.EncodeText(texts["seen"]), known(2)})
	byText := func(id string) float64 { return dot(user, m.EncodeText(texts[id])) + float64(w.UnknownBias) }
	nan := math.NaN()
	want := []float64{
		dot(user, known(0)) + float64(w.Bias[0]), byText("i0"),
		dot(user, known(3)) + float64(w.Bias[3]), nan,
		byText("new"), byText("new"),
		nan, nan,
		byText("i1"), byText("i1"), // with a text of its own
		byText("i0"), byText("i0"), // ranked as new
	}
	for i, got := range run(t, m, in) {
		if math.IsNaN(want[i]) != math.IsNaN(float64(got)) || math.Abs(float64(got)-want[i]) > 1e-4 {
			t.Errorf("row %d, column %d: got %v, want %v", i/2, i%2, got, want[i])
		}
	}
	for _, history := range [][]string{nil, {"nothing"}} {
		for _, got := range run(t, m, neuralInput(history, []string{"i0"}, texts)) {
			if !math.IsNaN(float64(got)) {
				t.Errorf("history %v: got %v", history, got)
			}
		}
	}
	wrong := neuralInput([]string{"i2"}, []string{"i0"}, map[string][]float32{"i0": unit(r, 5)})
	if err := m.Compute(t.Context(), wrong, make([]float32, 2)); err == nil || !strings.Contains(err.Error(), "trained on 6") {
		t.Errorf("vectors of another encoder: %v", err)
	}
}

func TestNeuralFile(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for layers := range 3 {
		for _, textDim := range []int{0, 6} {
			w := randomModel(r, layers, 8, 2, 4, textDim, 5)
			m := neural(t, w)
			file := m.Encode()
			var o signals.Loader
			again, err := o.Load(signals.KindTwoTower, file)
			if err != nil {
				t.Fatal(err)
			}
			history := [][]float32{unit(r, 8), unit(r, 8)}
			a, b := m.UserVector(history), again.(*signals.TwoTower).UserVector(history)
			for i := range a {
				if a[i] != b[i] {
					t.Fatalf("layers %d: the file gives another user: %v, %v", layers, a, b)
				}
			}
			if string(again.(*signals.TwoTower).Encode()) != string(file) {
				t.Errorf("layers %d: the file is not the same when written again", layers)
			}
			for cut := range len(file) {
				if _, err := o.Load(signals.KindTwoTower, file[:cut]); err == nil {
					t.Fatalf("layers %d: a file cut off at %d of %d was opened", layers, cut, len(file))
				}
			}
		}
	}
}

func TestNeuralRefuses(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(w *signals.TwoTowerWeights)
	}{
		{"divide", func(w *signals.TwoTowerWeights) { w.Heads = 3 }},
		{"cannot be served", func(w *signals.TwoTowerWeights) { w.HistoryLength = 0 }},
		{"0 of 1 layers", func(w *signals.TwoTowerWeights) { w.Blocks = nil }},
		{"vectors has", func(w *signals.TwoTowerWeights) { w.Vectors = w.Vectors[1:] }},
		{"down bias has", func(w *signals.TwoTowerWeights) { w.Blocks[0].DownBias = nil }},
		{"not finite", func(w *signals.TwoTowerWeights) { w.Blocks[0].Key[3] = float32(math.NaN()) }},
		{"without items", func(w *signals.TwoTowerWeights) { w.Items = nil }},
	} {
		w := randomModel(rand.New(rand.NewPCG(1, 1)), 1, 8, 2, 4, 6, 5)
		c.change(&w)
		if _, err := signals.NewTwoTower(w); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want an error with %q", err, c.want)
		}
	}
}

func FuzzNeuralFile(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 5))
	for layers := range 2 {
		f.Add(neural(f, randomModel(r, layers, 4, 2, 3, 2, 2)).Encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var o signals.Loader
		m, err := o.Load(signals.KindTwoTower, data)
		if err != nil {
			return
		}
		w := m.(*signals.TwoTower).Weights()
		m.(*signals.TwoTower).UserVector([][]float32{make([]float32, w.Dim)})
	})
}

func BenchmarkNeural(b *testing.B) {
	r := rand.New(rand.NewPCG(4, 4))
	for _, layers := range []int{0, 1, 2} {
		m := neural(b, randomModel(r, layers, 64, 2, 30, 384, 5000))
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
				in := neuralInput(history, candidates, texts)
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
