package finetune_test

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/viterin/vek/vek32"

	"relish/embeddings/onnx"
	"relish/internal/benchdata"
	"relish/internal/onnxtest"
	"relish/training/finetune"
)

// Flags of BenchmarkGames.
var (
	benchLayers  = flag.Int("layers", 0, "number of trained layers, from the top; 0 = all")
	benchRank    = flag.Int("rank", 0, "LoRA rank; 0 trains the matrices")
	benchLogQ    = flag.Float64("logq", 0, "LogQ: popularity correction, 0 to 1")
	benchMinutes = flag.Float64("minutes", 10, "time limit in minutes")
	benchRate    = flag.Float64("rate", finetune.DefaultConfig().LearningRate, "learning rate")
	benchShare   = flag.Float64("share", 1, "share of the users to train on")
	benchOut     = flag.String("out", "", "folder for the fine-tuned encoder")
	benchEncoder = flag.String("encoder", "",
		"measure the encoders in these folders, separated by commas, instead of training")
)

// BenchmarkGames fine-tunes on the Games data set. It then ranks the validation lists (20
// candidates) by text alone: by the cosine between a candidate and the recency-weighted mean of the
// history. It reports NDCG at 10 in per cent for all lists, for lists whose positive was bought 0
// to 4 times, and for lists whose positive was held out. Run it with -benchtime 1x.
func BenchmarkGames(b *testing.B) {
	g, err := benchdata.ReadGames("../../../shared/data/games")
	if err != nil {
		b.Fatal(err)
	}
	if *benchEncoder != "" {
		for dir := range strings.SplitSeq(*benchEncoder, ",") {
			f, err := onnx.ReadEncoderFiles(dir, 0)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(filepath.Base(dir), func(b *testing.B) {
				for b.Loop() {
					report(b, g, f, "")
				}
			})
		}
		return
	}
	for b.Loop() {
		cfg := finetune.DefaultConfig()
		cfg.Layers, cfg.LoRARank, cfg.LogQ = *benchLayers, *benchRank, *benchLogQ
		cfg.LearningRate = *benchRate
		cfg.TimeLimit = time.Duration(*benchMinutes * float64(time.Minute))
		cfg.Progress = func(p finetune.Evaluation) { b.Logf("%+v", p) }
		c := g.Corpus(nil)
		c.Users = c.Users[:int(*benchShare*float64(len(c.Users)))]
		in := finetune.Input{
			Runtime: onnxtest.Start(b),
			Backend: onnxtest.Backend(b, 0),
			Files:   onnxtest.EncoderFiles(b, "fp32"),
			Corpus:  c,
		}
		res, err := finetune.Train(b.Context(), in, cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(res.KeptStep), "steps")
		b.ReportMetric(float64(res.Pairs), "pairs")
		b.ReportMetric(100*res.Validation.Base.Mean, "validation-before-%")
		b.ReportMetric(100*res.Validation.FineTuned.Mean, "validation-%")
		b.ReportMetric(100*res.Validation.Difference.Low, "validation-gain-low-%")
		b.ReportMetric(res.Quantization.MinCosine, "int8-least-cosine")
		b.ReportMetric(res.Quantization.TextsPerSecond/res.Quantization.TextsPerSecondFP32,
			"int8-speed")
		report(b, g, res.FP32, "fp32-")
		report(b, g, res.Int8, "int8-")
		if *benchOut != "" {
			save(b, filepath.Join(*benchOut, "fp32"), res.FP32)
			save(b, filepath.Join(*benchOut, "int8"), res.Int8)
		}
	}
}

// report measures an encoder.
func report(b *testing.B, g *benchdata.Dataset, f *onnx.EncoderFiles, name string) {
	b.Helper()
	vectors := titles(b, g, f)
	cfg := finetune.DefaultConfig()
	c, bought := g.Corpus(nil), g.PurchaseCounts()
	score := func(i int) ([]float64, error) {
		var query []float32
		steps, weight := g.Users[g.ListUser[i]].Interactions, float32(1)
		for k := len(steps) - 1; k >= 0; k-- {
			v := vectors[steps[k].Item]
			if v == nil {
				continue
			}
			if query == nil {
				query = make([]float32, len(v))
			}
			for j, x := range v {
				query[j] += weight * x
			}
			weight *= 0.8
		}
		scores := make([]float64, len(g.Lists[i]))
		for k, item := range g.Lists[i] {
			if scores[k] = -1; vectors[item] != nil && query != nil {
				scores[k] = float64(vek32.Dot(query, vectors[item]))
			}
		}
		return scores, nil
	}
	for what, among := range map[string]func(int) bool{
		"all-%": nil, "0-4-times-%": func(i int) bool { return bought[g.Positive[i]] < 5 },
		"held-out-%": func(i int) bool {
			return finetune.HeldOut(&cfg,
				c.ItemInfos[g.Positive[i]].TextKey)
		},
	} {
		ndcg, err := g.NDCG(score, among)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(100*ndcg, name+what)
	}
}

// titles encodes the titles as a server on a CPU does.
func titles(b *testing.B, g *benchdata.Dataset, f *onnx.EncoderFiles) [][]float32 {
	b.Helper()
	e, err := onnxtest.Start(b).NewEncoder(b.Context(), f, onnx.EncoderOptions{Device: "cpu"})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	out := make([][]float32, len(g.Titles))
	var workers sync.WaitGroup
	n := runtime.GOMAXPROCS(0)
	for worker := range n {
		workers.Go(func() {
			for i := worker; i < len(out); i += n {
				ids := e.Tokenize(nil, g.Titles[i])
				if len(ids) == 0 {
					continue
				}
				out[i] = make([]float32, e.Dim())
				if err := e.Run(b.Context(), [][]int32{ids}, out[i:i+1]); err != nil {
					b.Error(err)
				}
			}
		})
	}
	workers.Wait()
	return out
}

func save(b *testing.B, dir string, f *onnx.EncoderFiles) {
	b.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	files := map[string][]byte{"model.onnx": f.Model, "tokenizer.json": f.Tokenizer}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}
