package gbdt_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"relish/embeddings/onnx"
	"relish/internal/onnxtest"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training/gbdt"
)

// BenchmarkBeside scores the same rows by ranker/scorer, by LightGBM and by ONNX Runtime's
// TreeEnsembleRegressor, in turns, and checks that they agree. LightGBM is called twice: once for
// the whole matrix, on all cores, and row by row with its fast path. The others have one thread.
//
// It reports the best time of each per tree and row, and the median ratio of the others' times to
// that of ranker/scorer. On a busy machine, long calls are interrupted more often: compare the best
// times there.
func BenchmarkBeside(b *testing.B) {
	for _, size := range []struct{ rounds, leaves int }{
		{100, 7}, {300, 7}, {100, 15}, {100, 31}, {300, 31},
	} {
		for _, n := range []int{100, 1000} {
			name := fmt.Sprintf("trees=%d/leaves=%d/rows=%d", size.rounds, size.leaves, n)
			b.Run(name, func(b *testing.B) { beside(b, size.rounds, size.leaves, n) })
		}
	}
}

const benchColumns = 30

// benchData has columns of several kinds: continuous, counts with many equal values, flags, and
// columns with missing values.
func benchData(seed uint64, n int) *gbdt.Dataset {
	r := rand.New(rand.NewPCG(seed, 6))
	d := &gbdt.Dataset{NumFeatures: benchColumns}
	for range n {
		sum := r.NormFloat64()
		for c := range benchColumns {
			x := r.NormFloat64()
			switch c % 5 {
			case 0:
				x = math.Floor(math.Exp(2 * x))
			case 1:
				x = math.Round(math.Abs(x))
			}
			if sum += math.Tanh(x) / float64(1+c%7); c%3 == 0 && r.IntN(4) == 0 {
				x = math.NaN()
			}
			d.Rows = append(d.Rows, float32(x))
		}
		d.Labels = append(d.Labels, float32(max(0, math.Floor(sum))))
	}
	for range n / 20 {
		d.Groups = append(d.Groups, 20)
	}
	return d
}

func beside(b *testing.B, rounds, leaves, n int) {
	p := gbdt.DefaultParams()
	p.NumLeaves, p.MaxRounds, p.MinDataInLeaf = leaves, rounds, 20
	r, err := library(b).Train(context.Background(), benchData(1, 20_000), nil, p, nil)
	if err != nil {
		b.Fatal(err)
	}
	ours, err := scorer.ParseLightGBM(r.Model, benchColumns)
	if err != nil {
		b.Fatal(err)
	}
	theirs, err := library(b).LoadBooster(r.Model)
	if err != nil {
		b.Fatal(err)
	}
	defer theirs.Close()
	model := treeEnsemble(b, string(r.Model))
	ensemble, err := onnxtest.Start(b).LoadGraph(model, onnx.GraphOptions{Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer ensemble.Close()

	rows := benchData(2, n).Rows
	m := &ranker.Matrix{N: n, Columns: make([]ranker.Column, benchColumns), Data: rows}
	mine, fast, single := make([]float64, n), make([]float64, n), make([]float32, n)
	in := []onnx.Tensor{{Shape: []int64{int64(n), benchColumns}, Data: rows}}
	out := []onnx.Tensor{{Shape: []int64{int64(n), 1}, Data: single}}
	var matrix []float64
	contenders := []func() error{
		func() error { return ours.Score(m, mine) },
		func() (err error) { matrix, err = theirs.Predict(rows, benchColumns); return },
		func() error { return theirs.PredictSingleRows(rows, benchColumns, fast) },
		func() error { return ensemble.Run(context.Background(), in, out) },
	}
	ratios := make([][]float64, len(contenders))
	best := slices.Repeat([]float64{math.Inf(1)}, len(contenders))
	for b.Loop() {
		var first float64
		for i, run := range contenders {
			start := time.Now()
			if err := run(); err != nil {
				b.Fatal(err)
			}
			took := float64(time.Since(start))
			if i == 0 {
				first = took
			}
			best[i] = min(best[i], took)
			ratios[i] = append(ratios[i], took/first)
		}
	}
	for i, x := range mine {
		if math.Abs(x-matrix[i]) > 1e-6 || x != x || math.Abs(fast[i]-x) > 1e-6 ||
			math.Abs(float64(single[i])-x) > 1e-4 {
			b.Fatalf("row %d: %g, LightGBM %g and %g, ONNX Runtime %g",
				i, x, matrix[i], fast[i], single[i])
		}
	}
	for i, name := range []string{"ours", "lightgbm-matrix", "lightgbm-rows", "onnx"} {
		b.ReportMetric(best[i]/float64(n*rounds), name+"-best-ns/tree/row")
		if i > 0 {
			slices.Sort(ratios[i])
			b.ReportMetric(ratios[i][len(ratios[i])/2], name+"/ours")
		}
	}
}

// treeEnsemble converts LightGBM's text format to an ONNX TreeEnsembleRegressor. It knows numerical
// splits only.
func treeEnsemble(b *testing.B, model string) []byte {
	var trees, ids, columns, yes, no, missing, leafTrees, leafIDs, leafTargets []int64
	var thresholds, weights []float32
	var modes []string
	for t, text := range strings.Split(model, "\nTree=")[1:] {
		field := func(name string) []float64 {
			_, rest, _ := strings.Cut(text, "\n"+name+"=")
			line, _, _ := strings.Cut(rest, "\n")
			var out []float64
			for _, s := range strings.Fields(line) {
				x, err := strconv.ParseFloat(s, 64)
				if err != nil {
					b.Fatal(err)
				}
				out = append(out, x)
			}
			return out
		}
		column, threshold := field("split_feature"), field("threshold")
		kind := field("decision_type")
		left, right, values := field("left_child"), field("right_child"), field("leaf_value")
		id := func(child float64) int64 { // leaves come after the nodes
			if child < 0 {
				return int64(len(column)) - 1 - int64(child)
			}
			return int64(child)
		}
		node := func(i int, mode string) {
			trees, ids, modes = append(trees, int64(t)), append(ids, int64(i)), append(modes, mode)
		}
		for i := range column {
			node(i, "BRANCH_LEQ")
			columns = append(columns, int64(column[i]))
			thresholds = append(thresholds, floor(threshold[i]))
			yes, no = append(yes, id(left[i])), append(no, id(right[i]))
			tracks := int64(0)
			// NaN goes left by default, or is read as 0.
			if kind[i] == 10 || kind[i] != 8 && threshold[i] >= 0 {
				tracks = 1
			}
			missing = append(missing, tracks)
		}
		for i, v := range values {
			node(len(column)+i, "LEAF")
			columns, thresholds = append(columns, 0), append(thresholds, 0)
			yes, no, missing = append(yes, 0), append(no, 0), append(missing, 0)
			leafTrees, leafIDs = append(leafTrees, int64(t)), append(leafIDs, int64(len(column)+i))
			leafTargets, weights = append(leafTargets, 0), append(weights, float32(v))
		}
	}
	node := text(text(text(text(nil, 1, "x"), 2, "y"), 4, "TreeEnsembleRegressor"), 7, "ai.onnx.ml")
	for name, list := range map[string][]int64{
		"nodes_treeids":                   trees,
		"nodes_nodeids":                   ids,
		"nodes_featureids":                columns,
		"nodes_truenodeids":               yes,
		"nodes_falsenodeids":              no,
		"nodes_missing_value_tracks_true": missing,
		"target_treeids":                  leafTrees,
		"target_nodeids":                  leafIDs,
		"target_ids":                      leafTargets,
	} {
		a := text(nil, 1, name)
		for _, v := range list {
			a = number(a, 8, uint64(v))
		}
		node = message(node, 5, number(a, 20, 7))
	}
	floats := map[string][]float32{"nodes_values": thresholds, "target_weights": weights}
	for name, list := range floats {
		a := text(nil, 1, name)
		for _, v := range list {
			a = protowire.AppendTag(a, 7, protowire.Fixed32Type)
			a = protowire.AppendFixed32(a, math.Float32bits(v))
		}
		node = message(node, 5, number(a, 20, 6))
	}
	a := text(nil, 1, "nodes_modes")
	for _, m := range modes {
		a = text(a, 9, m)
	}
	node = message(node, 5, number(a, 20, 8))
	node = message(node, 5, number(number(text(nil, 1, "n_targets"), 3, 1), 20, 2))
	graph := text(message(nil, 1, node), 2, "trees")
	graph = message(message(graph, 11, value("x", benchColumns)), 12, value("y", 1))
	opsets := message(nil, 8, number(nil, 2, 21))
	opsets = message(opsets, 8, number(text(nil, 1, "ai.onnx.ml"), 2, 3))
	return append(message(number(nil, 1, 10), 7, graph), opsets...)
}

// floor returns the largest float32 that is <= t.
func floor(t float64) float32 {
	f := float32(t)
	if float64(f) > t {
		f = math.Nextafter32(f, float32(math.Inf(-1)))
	}
	return f
}

// value encodes the description of a float input or output of shape N x width.
func value(name string, width uint64) []byte {
	shape := message(message(nil, 1, text(nil, 2, "n")), 1, number(nil, 1, width))
	return message(text(nil, 1, name), 2, message(nil, 1, message(number(nil, 1, 1), 2, shape)))
}

func text(b []byte, n protowire.Number, s string) []byte { return message(b, n, []byte(s)) }

func message(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func number(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}
