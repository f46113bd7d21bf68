package twotower_test

import (
	"fmt"
	"strconv"
	"testing"

	"relish/embeddings/onnx"
	"relish/internal/benchdata"
	"relish/internal/onnxtest"
	"relish/ranker"
	serving "relish/ranker/signals"
	"relish/training/twotower"
)

// BenchmarkGames trains on the Games data set and measures its validation lists: 20 candidates
// each, ties in random order. It takes some minutes; run it with -benchtime 1x.
func BenchmarkGames(b *testing.B) {
	g, err := benchdata.ReadGames("../../../shared/data/games")
	if err != nil {
		b.Fatal(err)
	}
	vectors := encode(b, g.Titles)
	for _, c := range []struct {
		layers int
		text   bool
	}{{1, true}, {0, true}, {1, false}} {
		b.Run(fmt.Sprintf("layers=%d/text=%v", c.layers, c.text), func(b *testing.B) {
			for b.Loop() {
				cfg := twotower.DefaultConfig()
				cfg.Layers = c.layers
				if !c.text {
					cfg.Components = 0
				}
				cfg.Progress = func(e twotower.Epoch) { b.Logf("%+v", e) }
				backend := onnxtest.Backend(b, 0)
				res, err := twotower.Train(b.Context(), backend, g.Corpus(vectors), cfg)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(100*ndcg(b, g, res.Model, vectors, false), "ndcg@10-%")
				if c.text {
					b.ReportMetric(100*ndcg(b, g, res.Model, vectors, true), "as-new-%")
				}
				b.ReportMetric(float64(res.BestEpoch), "epochs")
			}
		})
	}
}

// encode returns the vectors of the titles from the encoder that the service uses by default.
func encode(t testing.TB, titles []string) [][]float32 {
	t.Helper()
	e, err := onnxtest.Start(t).NewEncoder(t.Context(), onnxtest.EncoderFiles(t, "int8"),
		onnx.EncoderOptions{Device: "cpu"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	tokens := make([][]int32, len(titles))
	for i, s := range titles {
		tokens[i] = e.Tokenize(nil, s)
	}
	out, err := e.Encode(t.Context(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ndcg returns the mean NDCG at 10 of the lists, with scores as the service computes them. asNew
// scores the candidates by their titles alone.
func ndcg(
	t testing.TB, g *benchdata.Dataset, m *serving.TwoTower, vectors [][]float32, asNew bool,
) float64 {
	t.Helper()
	mean, err := g.NDCG(func(i int) ([]float64, error) {
		list, interactions := g.Lists[i], g.Users[g.ListUser[i]].Interactions
		in := &ranker.SignalInput{
			Request: &ranker.Request{},
			State:   &ranker.RequestState{Items: make([]*ranker.ItemInfo, len(list))},
		}
		for k := len(interactions) - 1; k >= 0; k-- { // newest first
			in.State.Recent = append(in.State.Recent,
				ranker.Interaction{Item: strconv.Itoa(int(interactions[k].Item))})
			in.RecentVectors = append(in.RecentVectors, vectors[interactions[k].Item])
		}
		for _, item := range list {
			in.Request.Candidates = append(in.Request.Candidates,
				ranker.Candidate{ID: strconv.Itoa(int(item)), ColdStart: asNew})
			in.ItemVectors = append(in.ItemVectors, vectors[item])
		}
		out := make([]float32, 2*len(list))
		if err := m.Compute(t.Context(), in, out); err != nil {
			return nil, err
		}
		scores := make([]float64, len(list))
		for k := range scores {
			if scores[k] = float64(out[2*k]); scores[k] != scores[k] {
				scores[k] = -1e9 // an unknown item without a title
			}
		}
		return scores, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return mean
}
