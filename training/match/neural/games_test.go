package neural_test

import (
	"bufio"
	"compress/gzip"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"relish/embeddings/onnx"
	"relish/ranker"
	serving "relish/ranker/match"
	"relish/training/evaluate"
	"relish/training/match"
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

// rows reads a gzipped table and leaves its head out.
func rows(t testing.TB, path string) (out [][]string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		out = append(out, strings.Split(lines.Text(), "\t"))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func number(t testing.TB, s string) int32 {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return int32(n)
}

// games is the Games set: titles, sequences, and lists of 20 with one item that came next.
type games struct {
	titles   []string
	users    []match.User
	user     []int // of the lists, into users
	lists    [][]int32
	positive []int32
}

func readGames(t testing.TB, dir string) *games {
	g := &games{}
	for _, r := range rows(t, filepath.Join(dir, "items.tsv.gz"))[1:] {
		g.titles = append(g.titles, r[1])
	}
	byUser := map[string]int{}
	for _, r := range rows(t, filepath.Join(dir, "train_sequences.tsv.gz")) {
		if len(r) < 2 || strings.Contains(r[1], "item") {
			continue
		}
		var u match.User
		for f := range strings.FieldsSeq(r[1]) {
			u.Steps = append(u.Steps, match.Step{Item: number(t, f), Gain: 1})
		}
		byUser[r[0]] = len(g.users)
		g.users = append(g.users, u)
	}
	for _, r := range rows(t, filepath.Join(dir, "valid_candidates.tsv.gz"))[1:] {
		var list []int32
		for f := range strings.FieldsSeq(r[1]) {
			list = append(list, number(t, f))
		}
		g.user = append(g.user, byUser[r[0]])
		g.lists = append(g.lists, list)
		g.positive = append(g.positive, number(t, r[2]))
	}
	return g
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

// corpus is the training part; vectors are the titles'.
func (g *games) corpus(vectors [][]float32) *match.Corpus {
	ids := make([]string, len(g.titles))
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	return &match.Corpus{Items: ranker.NewItemTable(ids), Vectors: vectors, Users: g.users}
}

// ndcg is the mean NDCG at 10 over the lists, by the matcher as it is served. asNew ranks candidates by their titles
// alone.
func ndcg(t testing.TB, g *games, m *serving.Neural, vectors [][]float32, asNew bool) float64 {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 1))
	sum := 0.0
	for i, list := range g.lists {
		steps := g.users[g.user[i]].Steps
		in := &ranker.MatchInput{Request: &ranker.Request{}, State: &ranker.State{}}
		for k := len(steps) - 1; k >= 0; k-- { // newest first
			in.State.Recent = append(in.State.Recent, ranker.Interaction{Item: strconv.Itoa(int(steps[k].Item))})
			in.HistoryVectors = append(in.HistoryVectors, vectors[steps[k].Item])
		}
		gains := make([]float64, len(list))
		for k, item := range list {
			in.Request.Candidates = append(in.Request.Candidates, ranker.Candidate{ID: strconv.Itoa(int(item)), New: asNew})
			in.ItemVectors = append(in.ItemVectors, vectors[item])
			if item == g.positive[i] {
				gains[k] = 1
			}
		}
		in.State.Items = make([]*ranker.ItemInfo, len(list))
		out := make([]float32, 2*len(list))
		if err := m.Match(t.Context(), in, out); err != nil {
			t.Fatal(err)
		}
		scores := make([]float64, len(list))
		for k := range scores {
			if scores[k] = float64(out[2*k]); scores[k] != scores[k] {
				scores[k] = -1e9 // neither known nor with a title
			}
		}
		order, err := evaluate.Order(scores, r)
		if err != nil {
			t.Fatal(err)
		}
		sum += evaluate.NDCG(order, gains, 10)
	}
	return sum / float64(len(g.lists))
}
