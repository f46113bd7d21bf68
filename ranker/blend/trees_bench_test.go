package blend_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"relish/ranker"
	"relish/ranker/blend"
	"relish/training/trees"
)

// benchModel trains a model of the given size over 30 columns.
func benchModel(b *testing.B, rounds, leaves int) ([]byte, *ranker.Matrix) {
	b.Helper()
	const columns = 30
	r := rand.New(rand.NewPCG(5, 5))
	p := trees.Defaults()
	p.Leaves, p.MaxRounds, p.MinLeaf = leaves, rounds, 20
	res, err := library(b).Train(context.Background(), training(r, 20_000, columns, 0), nil, p, nil)
	if err != nil {
		b.Fatal(err)
	}
	return res.Model, &ranker.Matrix{N: 1000, Columns: make([]ranker.Column, columns), Data: sample(r, 1000, columns, 0)}
}

func BenchmarkTrees(b *testing.B) {
	for _, size := range []struct{ rounds, leaves int }{{100, 7}, {300, 7}, {100, 15}, {100, 31}, {300, 31}} {
		model, all := benchModel(b, size.rounds, size.leaves)
		ours, err := blend.ParseTrees(model, len(all.Columns))
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range []int{10, 100, 1000} {
			m := &ranker.Matrix{N: n, Columns: all.Columns, Data: all.Data[:n*len(all.Columns)]}
			out := make([]float64, n)
			b.Run(fmt.Sprintf("trees=%d/leaves=%d/rows=%d", size.rounds, size.leaves, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := ours.Score(m, out); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n*size.rounds), "ns/tree/row")
			})
		}
	}
}

// BenchmarkTreesBesideLightGBM lets both score the same rows in turn, and reports the median of the
// rounds' ratios: LightGBM's time over ours.
func BenchmarkTreesBesideLightGBM(b *testing.B) {
	for _, size := range []struct{ rounds, leaves int }{{100, 7}, {300, 31}} {
		model, m := benchModel(b, size.rounds, size.leaves)
		ours, err := blend.ParseTrees(model, len(m.Columns))
		if err != nil {
			b.Fatal(err)
		}
		theirs, err := library(b).Load(model)
		if err != nil {
			b.Fatal(err)
		}
		defer theirs.Close()
		b.Run(fmt.Sprintf("trees=%d/leaves=%d/rows=%d", size.rounds, size.leaves, m.N), func(b *testing.B) {
			out := make([]float64, m.N)
			var matrix, rows []float64
			for b.Loop() {
				mine := timed(b, func() error { return ours.Score(m, out) })
				matrix = append(matrix, timed(b, func() error { _, err := theirs.Predict(m.Data, len(m.Columns)); return err })/mine)
				rows = append(rows, timed(b, func() error { return theirs.PredictRows(m.Data, len(m.Columns), out) })/mine)
			}
			b.ReportMetric(median(matrix), "matrix/ours")
			b.ReportMetric(median(rows), "rows/ours")
		})
	}
}

func timed(b *testing.B, f func() error) float64 {
	start := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return float64(time.Since(start))
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

func BenchmarkTreesExplain(b *testing.B) {
	for _, leaves := range []int{7, 31} {
		model, m := benchModel(b, 100, leaves)
		ours, err := blend.ParseTrees(model, len(m.Columns))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("trees=100/leaves=%d", leaves), func(b *testing.B) {
			out := make([]float64, len(m.Columns))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ours.Explain(m, 0, out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
