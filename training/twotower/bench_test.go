package twotower_test

import (
	"fmt"
	"testing"

	"relish/internal/benchdata"
	"relish/internal/onnxtest"
	"relish/training/twotower"
)

// BenchmarkGames trains on Games as it comes and measures on its validation lists: 20 candidates, ties in random
// order. It takes some minutes, most of it training; run it with -benchtime 1x.
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
				res, err := twotower.Train(b.Context(), onnxtest.Backend(b, 0), g.Corpus(vectors),
					cfg)
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
