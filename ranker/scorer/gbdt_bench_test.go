package scorer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training/gbdt"
)

// benchModel trains a model of the given size over 30 columns.
func benchModel(b *testing.B, rounds, leaves int) ([]byte, *ranker.Matrix) {
	b.Helper()
	const columns = 30
	r := rand.New(rand.NewPCG(5, 5))
	p := gbdt.DefaultParams()
	p.NumLeaves, p.MaxRounds, p.MinDataInLeaf = leaves, rounds, 20
	res, err := library(b).Train(context.Background(), training(r, 20_000, columns, 0), nil, p, nil)
	if err != nil {
		b.Fatal(err)
	}
	m := &ranker.Matrix{
		N:       1000,
		Columns: make([]ranker.Column, columns),
		Data:    sample(r, 1000, columns, 0),
	}
	return res.Model, m
}

func BenchmarkGBDT(b *testing.B) {
	sizes := []struct{ rounds, leaves int }{{100, 7}, {300, 7}, {100, 15}, {100, 31}, {300, 31}}
	for _, size := range sizes {
		model, all := benchModel(b, size.rounds, size.leaves)
		ours, err := scorer.ParseLightGBM(model, len(all.Columns))
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range []int{10, 100, 1000} {
			m := &ranker.Matrix{N: n, Columns: all.Columns, Data: all.Data[:n*len(all.Columns)]}
			out := make([]float64, n)
			b.Run(
				fmt.Sprintf("trees=%d/leaves=%d/rows=%d", size.rounds, size.leaves, n),
				func(b *testing.B) {
					best := time.Duration(1 << 62)
					b.ReportAllocs()
					for b.Loop() {
						start := time.Now()
						if err := ours.Score(m, out); err != nil {
							b.Fatal(err)
						}
						best = min(best, time.Since(start))
					}
					perTree := float64(n * size.rounds)
					b.ReportMetric(
						float64(b.Elapsed().Nanoseconds())/float64(b.N)/perTree,
						"ns/tree/row",
					)
					b.ReportMetric(float64(best)/perTree, "best-ns/tree/row")
				},
			)
		}
	}
}

func BenchmarkGBDTExplain(b *testing.B) {
	for _, leaves := range []int{7, 31} {
		model, m := benchModel(b, 100, leaves)
		ours, err := scorer.ParseLightGBM(model, len(m.Columns))
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
