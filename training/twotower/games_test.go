package twotower_test

import (
	"strconv"
	"testing"

	"relish/embeddings/onnx"
	"relish/internal/benchdata"
	"relish/internal/onnxtest"
	"relish/ranker"
	serving "relish/ranker/signals"
)

// encode gives the titles' vectors, by the encoder that serving starts with.
func encode(t testing.TB, titles []string) [][]float32 {
	t.Helper()
	e, err := onnxtest.Start(t).
		NewEncoder(onnxtest.EncoderFiles(t, "int8"), onnx.EncoderOptions{Device: "cpu"})
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

// ndcg is the mean NDCG at 10 over the lists, by the matcher as it is served. asNew ranks candidates by their titles
// alone.
func ndcg(
	t testing.TB, g *benchdata.Dataset, m *serving.TwoTower, vectors [][]float32, asNew bool,
) float64 {
	t.Helper()
	mean, err := g.NDCG(func(i int) ([]float64, error) {
		list, steps := g.Lists[i], g.Users[g.ListUser[i]].Interactions
		in := &ranker.SignalInput{
			Request: &ranker.Request{},
			State:   &ranker.RequestState{Items: make([]*ranker.ItemInfo, len(list))},
		}
		for k := len(steps) - 1; k >= 0; k-- { // newest first
			in.State.Recent = append(in.State.Recent,
				ranker.Interaction{Item: strconv.Itoa(int(steps[k].Item))})
			in.RecentVectors = append(in.RecentVectors, vectors[steps[k].Item])
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
				scores[k] = -1e9 // neither known nor with a title
			}
		}
		return scores, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return mean
}
