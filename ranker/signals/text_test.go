package signals_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"relish/ranker"
	"relish/ranker/signals"
)

func unit(r *rand.Rand, dim int) []float32 {
	v, sum := make([]float32, dim), 0.0
	for i := range v {
		v[i] = float32(r.NormFloat64())
		sum += float64(v[i]) * float64(v[i])
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

// input returns a random request. One vector in six is missing, and items repeat in the history.
func input(r *rand.Rand, candidates, history, dim int, query bool) *ranker.SignalInput {
	words := []string{"sea", "bread", "jazz", "moon", "ghost", "garden", "war", "cat"}
	item := func(i int) *ranker.ItemInfo {
		if r.IntN(8) == 0 {
			return nil
		}
		var title []string
		for range r.IntN(5) {
			title = append(title, words[r.IntN(len(words))])
		}
		return ranker.NewItemInfo(
			ranker.Item{ID: fmt.Sprint(i), Title: strings.Join(title, " ")},
			nil,
		)
	}
	in := &ranker.SignalInput{State: &ranker.RequestState{}}
	vector := func() []float32 {
		if r.IntN(6) == 0 {
			return nil
		}
		return unit(r, dim)
	}
	for i := range candidates {
		in.State.Items = append(in.State.Items, item(i))
		in.ItemVectors = append(in.ItemVectors, vector())
	}
	byItem := map[string][]float32{}
	for range history {
		id := fmt.Sprint(r.IntN(history))
		if _, known := byItem[id]; !known {
			byItem[id] = vector()
		}
		in.State.Recent = append(in.State.Recent, ranker.Interaction{Item: id})
		in.State.RecentItems = append(in.State.RecentItems, item(0))
		in.RecentVectors = append(in.RecentVectors, byItem[id])
	}
	if query {
		in.Query = ranker.NewItemInfo(ranker.Item{Title: "sea cat nowhere"}, nil)
		in.QueryVector = unit(r, dim)
	}
	return in
}

// run returns the signal's block.
func run(t testing.TB, s ranker.Signal, in *ranker.SignalInput) []float32 {
	t.Helper()
	out := make([]float32, len(in.ItemVectors)*len(s.Columns()))
	if err := s.Compute(context.Background(), in, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func cosine(a, b []float64) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab += a[i] * b[i]
		aa += a[i] * a[i]
		bb += b[i] * b[i]
	}
	return ab / math.Sqrt(aa*bb)
}

func wide(v []float32) []float64 {
	out := make([]float64, len(v))
	for i := range v {
		out[i] = float64(v[i])
	}
	return out
}

// naiveTextSimilarity computes TextSimilarity by its definition, in float64 and naive loops. The
// mean is subtracted; nil: nothing is.
func naiveTextSimilarity(in *ranker.SignalInput, mean []float32) [][4]float64 {
	centered := func(v []float32) []float64 {
		out := wide(v)
		for d, m := range mean {
			out[d] -= float64(m)
		}
		return scaled(out, 1/math.Sqrt(dot64(out, out)))
	}
	var history [][]float64
	seen := map[string]bool{}
	for k, v := range in.RecentVectors {
		if id := in.State.Recent[k].Item; v != nil && !seen[id] && len(history) < 50 {
			seen[id] = true
			history = append(history, centered(v))
		}
	}
	nan := math.NaN()
	out := make([][4]float64, len(in.ItemVectors))
	for i, v := range in.ItemVectors {
		out[i] = [4]float64{nan, nan, nan, nan}
		if v == nil {
			continue
		}
		if in.QueryVector != nil {
			out[i][3] = cosine(wide(v), wide(in.QueryVector))
		}
		if len(history) == 0 {
			continue
		}
		// The history's vectors are centered already; their mean is centered no second time.
		average, candidate := make([]float64, len(v)), centered(v)
		for k, h := range history {
			for d := range h {
				average[d] += math.Pow(0.8, float64(k)) * h[d]
			}
			if c := cosine(candidate, h); k < 16 && (k == 0 || c > out[i][2]) {
				out[i][2] = c
			}
		}
		out[i][0], out[i][1] = cosine(candidate, average), cosine(candidate, history[0])
	}
	return out
}

// A text about everything is as similar to any history as a text about nothing in particular: only
// the catalogue's mean is alike, and that is subtracted.
func TestTextAboutEverythingIsNotSimilar(t *testing.T) {
	similarity := signals.NewTextSimilarity([]float32{0.5, 0.5, 0.5})
	everything := float32(1 / math.Sqrt(3))
	in := &ranker.SignalInput{
		State:         &ranker.RequestState{Recent: []ranker.Interaction{{Item: "a"}}},
		RecentVectors: [][]float32{{1, 0, 0}},
		ItemVectors:   [][]float32{{1, 0, 0}, {everything, everything, everything}, {0, 1, 0}},
	}
	got := run(t, similarity, in)
	if same, all := got[0], got[4]; same < 0.99 || math.Abs(float64(all)) > 0.35 {
		t.Errorf("text.mean of the same text %g, of a text about everything %g", same, all)
	}
}

// Vectors of another encoder than that of the mean are an error, not a wrong similarity.
func TestTextSimilarityRefusesOtherEncoders(t *testing.T) {
	similarity := signals.NewTextSimilarity([]float32{0.5, 0.5, 0.5})
	two, three := []float32{1, 0}, []float32{1, 0, 0}
	for _, vectors := range [][2][]float32{{two, three}, {three, two}} {
		in := &ranker.SignalInput{
			State:         &ranker.RequestState{Recent: []ranker.Interaction{{Item: "a"}}},
			RecentVectors: vectors[:1],
			ItemVectors:   vectors[1:],
		}
		err := similarity.Compute(t.Context(), in, make([]float32, 4))
		want := "signal text: a text vector has 2 numbers, but the model was trained with 3; " +
			"use the encoder of the training"
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func scaled32(v []float32, s float32) []float32 {
	for i := range v {
		v[i] *= s
	}
	return v
}

func near(got float32, want float64) bool {
	if math.IsNaN(want) {
		return got != got
	}
	return math.Abs(float64(got)-want) < 1e-4
}

func TestTextSimilarityEqualsItsDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		in := input(r, 1+r.IntN(20), []int{0, 1, 5, 20, 90}[round%5], 24, round%2 == 0)
		similarity, mean := signals.TextSimilarity{}, []float32(nil)
		if round/10%2 == 0 {
			mean = scaled32(unit(r, 24), 0.4)
			similarity = signals.NewTextSimilarity(mean)
		}
		got := run(t, similarity, in)
		for i, want := range naiveTextSimilarity(in, mean) {
			for c, name := range (signals.TextSimilarity{}).Columns() {
				if !near(got[i*4+c], want[c]) {
					t.Fatalf(
						"round %d, row %d, %s: %g, want %g",
						round,
						i,
						name,
						got[i*4+c],
						want[c],
					)
				}
			}
		}
	}
}

func TestTokenOverlapEqualsItsDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 60 {
		in := input(r, 1+r.IntN(20), []int{0, 1, 5, 90}[round%4], 8, round%2 == 0)
		got := run(t, signals.TokenOverlap{}, in)
		var history []*ranker.ItemInfo
		for _, it := range in.State.RecentItems {
			if it != nil && len(it.Tokens) > 0 && len(history) < 50 {
				history = append(history, it)
			}
		}
		for i, it := range in.State.Items {
			want := [2]float64{math.NaN(), math.NaN()}
			if it != nil && len(it.Tokens) > 0 {
				var share, total float64
				for k, h := range history {
					weight := math.Pow(0.8, float64(k))
					total += weight
					for _, w := range it.Tokens {
						if slices.Contains(h.Tokens, w) {
							share += weight / float64(len(it.Tokens))
						}
					}
				}
				if len(history) > 0 {
					want[0] = share / total
				}
				if in.Query != nil {
					found := 0
					for _, w := range in.Query.Tokens {
						if slices.Contains(it.Tokens, w) {
							found++
						}
					}
					want[1] = float64(found) / float64(len(in.Query.Tokens))
				}
			}
			if !near(got[i*2], want[0]) || !near(got[i*2+1], want[1]) {
				t.Fatalf("round %d, row %d: %v, want %v", round, i, got[i*2:i*2+2], want)
			}
		}
	}
}

// The same input gives the same bits, and the input is not changed.
func TestSignalsArePure(t *testing.T) {
	in := input(rand.New(rand.NewPCG(5, 6)), 20, 40, 16, true)
	for _, s := range []ranker.Signal{signals.TextSimilarity{}, signals.TokenOverlap{}} {
		first := slices.Clone(run(t, s, in))
		for i, x := range run(t, s, in) {
			if math.Float32bits(x) != math.Float32bits(first[i]) {
				t.Fatalf("%T, cell %d: %g and %g", s, i, first[i], x)
			}
		}
	}
}

func BenchmarkSignals(b *testing.B) {
	for _, s := range []ranker.Signal{signals.TextSimilarity{}, signals.TokenOverlap{}} {
		for _, n := range []int{100, 1000} {
			b.Run(fmt.Sprintf("%T/%d", s, n), func(b *testing.B) {
				in := input(rand.New(rand.NewPCG(7, 8)), n, 50, 384, true)
				out := make([]float32, n*len(s.Columns()))
				b.ReportAllocs()
				for b.Loop() {
					if err := s.Compute(context.Background(), in, out); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
