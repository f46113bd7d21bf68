package encoder

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/viterin/vek/vek32"

	"relish/embeddings/onnx"
	"relish/ranker"
	"relish/training/engine"
	"relish/training/evaluate"
	"relish/training/match"
)

const cache = "../../.cache"

func start(t testing.TB) *onnx.Runtime {
	t.Helper()
	rt, err := onnx.Start(filepath.Join(cache, "onnxruntime", "libonnxruntime.so"))
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

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
	return out
}

func BenchmarkGames(b *testing.B) {
	dir := "../../../shared/data/games"
	c := &match.Corpus{}
	var ids []string
	for i, r := range rows(b, filepath.Join(dir, "items.tsv.gz"))[1:] {
		ids = append(ids, strconv.Itoa(i))
		c.Infos = append(c.Infos, ranker.NewItemInfo(ranker.Item{ID: strconv.Itoa(i), Title: r[1]}, nil))
	}
	c.Items = ranker.NewItemTable(ids)
	for _, r := range rows(b, filepath.Join(dir, "train_sequences.tsv.gz")) {
		if len(r) < 2 || strings.Contains(r[1], "item") {
			continue
		}
		var u match.User
		byUser[r[0]] = len(c.Users)
		for f := range strings.FieldsSeq(r[1]) {
			n, _ := strconv.Atoi(f)
			u.Steps = append(u.Steps, match.Step{Item: int32(n), Gain: 1})
		}
		c.Users = append(c.Users, u)
	}
	rt := start(b)
	backend, err := engine.New(rt, engine.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer backend.Finalize()
	files, err := onnx.ReadFiles(filepath.Join(cache, "encoder", "fp32"), 0)
	if err != nil {
		b.Fatal(err)
	}
	if dir := os.Getenv("EVAL"); dir != "" {
		cfg := Default()
		for _, d := range strings.Fields(dir) {
			f, err := onnx.ReadFiles(d, 0)
			if err != nil {
				b.Fatal(err)
			}
			fmt.Println(d, alone(b, rt, f, c, "../../../shared/data/games", &cfg))
		}
		return
	}
	for b.Loop() {
		cfg := Default()
		if s, err := strconv.Atoi(os.Getenv("STEPS")); err == nil {
			cfg.Steps = s
		}
		if s, err := strconv.Atoi(os.Getenv("EVERY")); err == nil {
			cfg.Every = s
		}
		if s, err := strconv.ParseFloat(os.Getenv("LR"), 64); err == nil {
			cfg.LearningRate = s
		}
		if s, err := strconv.Atoi(os.Getenv("LAYERS")); err == nil {
			cfg.Layers = s
		}
		if s, err := strconv.Atoi(os.Getenv("RANK")); err == nil {
			cfg.Rank = s
		}
		cfg.Progress = func(p Point) { fmt.Printf("%+v\n", p) }
		res, err := Tune(b.Context(), Input{Runtime: rt, Backend: backend, Files: files, Corpus: c}, cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%d pairs, %d texts, guard %+v, int8 %+v, took %v", res.Pairs, res.Texts, res.Guard, res.Quantised, res.Took)
		b.Logf("before %v", alone(b, rt, files, c, dir, &cfg))
		b.Logf("fp32   %v", alone(b, rt, res.FP32, c, dir, &cfg))
		b.Logf("int8   %v", alone(b, rt, res.Int8, c, dir, &cfg))
		if out := os.Getenv("OUT"); out != "" {
			for name, f := range map[string]*onnx.Files{"fp32": res.FP32, "int8": res.Int8} {
				os.MkdirAll(filepath.Join(out, name), 0o755)
				os.WriteFile(filepath.Join(out, name, "model.onnx"), f.Model, 0o644)
				os.WriteFile(filepath.Join(out, name, "tokenizer.json"), f.Tokenizer, 0o644)
			}
		}
	}
}

// alone ranks the validation lists by text alone, with ties in random order: the mean NDCG at 10 of all lists, of those
// whose positive was taken 0 to 4 times, and of those whose positive took no part in tuning.
func alone(b *testing.B, rt *onnx.Runtime, f *onnx.Files, c *match.Corpus, dir string, cfg *Config) (out [3]float64) {
	e, err := rt.NewEncoder(f, onnx.EncoderOptions{Device: "cpu"})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	rd := &reader{cfg: cfg}
	vec := make([][]float32, len(c.Infos))
	var todo [2][]int
	for i := range vec {
		todo[i%2] = append(todo[i%2], i)
	}
	var wg sync.WaitGroup
	for _, part := range todo {
		wg.Go(func() {
			for _, i := range part {
				if ids := e.Tokenize(nil, c.Infos[i].Body()); len(ids) > 0 {
					vec[i] = make([]float32, e.Dim())
					if err := e.Run(b.Context(), [][]int32{ids}, vec[i:i+1]); err != nil {
						b.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	taken := make([]int, len(c.Infos))
	for _, u := range c.Users {
		for _, s := range u.Steps {
			taken[s.Item]++
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	var n [3]float64
	for _, row := range rows(b, filepath.Join(dir, "valid_candidates.tsv.gz"))[1:] {
		user := byUser[row[0]]
		positive, _ := strconv.Atoi(row[2])
		var query []float32
		w := float32(1)
		steps := c.Users[user].Steps
		for k := len(steps) - 1; k >= 0; k-- {
			v := vec[steps[k].Item]
			if v == nil {
				continue
			}
			if query == nil {
				query = make([]float32, len(v))
			}
			for j, x := range v {
				query[j] += w * x
			}
			w *= 0.8
		}
		var scores, gains []float64
		for x := range strings.FieldsSeq(row[1]) {
			i, _ := strconv.Atoi(x)
			s := -1e9
			if vec[i] != nil && query != nil {
				s = float64(vek32.Dot(query, vec[i]))
			}
			g := 0.0
			if i == positive {
				g = 1
			}
			scores, gains = append(scores, s), append(gains, g)
		}
		order, err := evaluate.Order(scores, r)
		if err != nil {
			b.Fatal(err)
		}
		x := evaluate.NDCG(order, gains, 10)
		for k, in := range []bool{true, taken[positive] < 5, rd.holds(c.Infos[positive].TextKey)} {
			if in {
				out[k] += x
				n[k]++
			}
		}
	}
	for k := range out {
		out[k] *= 100 / n[k]
	}
	return out
}

var byUser = map[string]int{}
