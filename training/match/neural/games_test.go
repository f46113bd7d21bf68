package neural_test

import (
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"relish/embeddings/onnx"
	"relish/ranker"
	serving "relish/ranker/match"
	"relish/training/match/games"
)

const cache = "../../../.cache"

func start(t testing.TB) *onnx.Runtime {
	t.Helper()
	rt, err := onnx.Start(filepath.Join(cache, "onnxruntime", "libonnxruntime.so"))
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// encode gives the titles' vectors, by the encoder that serving starts with.
func encode(t testing.TB, titles []string) [][]float32 {
	t.Helper()
	e, err := start(t).LoadEncoder(filepath.Join(cache, "encoder", "int8"), onnx.EncoderOptions{Device: "cpu"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	out, tokens, order := make([][]float32, len(titles)), make([][]int32, len(titles)), []int{}
	for i, s := range titles {
		if tokens[i] = e.Tokenize(nil, s); len(tokens[i]) > 0 {
			out[i] = make([]float32, e.Dim())
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(tokens[a]) - len(tokens[b]) })
	for part := range slices.Chunk(order, 16) {
		var batch [][]int32
		var into [][]float32
		for _, i := range part {
			batch, into = append(batch, tokens[i]), append(into, out[i])
		}
		if err := e.Run(t.Context(), batch, into); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// ndcg is the mean NDCG at 10 over the lists, by the matcher as it is served. asNew ranks candidates by their titles
// alone.
func ndcg(t testing.TB, g *games.Set, m *serving.Neural, vectors [][]float32, asNew bool) float64 {
	t.Helper()
	mean, err := g.NDCG(func(i int) ([]float64, error) {
		list, steps := g.Lists[i], g.Users[g.User[i]].Steps
		in := &ranker.MatchInput{Request: &ranker.Request{}, State: &ranker.State{Items: make([]*ranker.ItemInfo, len(list))}}
		for k := len(steps) - 1; k >= 0; k-- { // newest first
			in.State.Recent = append(in.State.Recent, ranker.Interaction{Item: strconv.Itoa(int(steps[k].Item))})
			in.HistoryVectors = append(in.HistoryVectors, vectors[steps[k].Item])
		}
		for _, item := range list {
			in.Request.Candidates = append(in.Request.Candidates, ranker.Candidate{ID: strconv.Itoa(int(item)), New: asNew})
			in.ItemVectors = append(in.ItemVectors, vectors[item])
		}
		out := make([]float32, 2*len(list))
		if err := m.Match(t.Context(), in, out); err != nil {
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
