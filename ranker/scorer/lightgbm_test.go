package scorer_test

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training/gbdt"
)

var update = flag.Bool("update", false, "let LightGBM write the golden model and its scores again")

// golden returns a small model that LightGBM wrote. It has three columns; the first is categorical.
func golden(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/gbdt.txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// goldenRows has seen and unseen categories, missing values, and values next to zero.
var goldenRows = []float32{
	1, 0.5, 2,
	5, -1, nan,
	nan, nan, nan,
	69, 1e-36, -3,
	2.9, 3, 0.4,
}

func updateGolden(t *testing.T) {
	p := gbdt.DefaultParams()
	p.NumLeaves, p.MaxRounds, p.MinDataInLeaf, p.Threads = 5, 3, 20, 1
	p.CategoricalFeatures = []int{0}
	p.ExtraParams = []string{"min_data_per_group=1", "cat_smooth=1", "max_cat_to_onehot=1"}
	data := training(rand.New(rand.NewPCG(3, 3)), 1000, 3, 1)
	res, err := library(t).Train(context.Background(), data, nil, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := library(t).LoadBooster(res.Model)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	scores, err := b.Predict(goldenRows, 3)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, s := range scores {
		text += fmt.Sprintln(s)
	}
	files := map[string][]byte{"gbdt.txt": res.Model, "scores.txt": []byte(text)}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join("testdata", name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The committed model gives the scores that LightGBM gave when it wrote it.
func TestGoldenModel(t *testing.T) {
	if *update {
		updateGolden(t)
	}
	ours, err := scorer.ParseLightGBM([]byte(golden(t)), 3)
	if err != nil {
		t.Fatal(err)
	}
	m := &ranker.Matrix{N: len(goldenRows) / 3, Columns: make([]ranker.Column, 3), Data: goldenRows}
	got := make([]float64, m.N)
	if err := ours.Score(m, got); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/scores.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(text))
	if len(lines) != m.N {
		t.Fatalf("scores.txt has %d scores for %d rows", len(lines), m.N)
	}
	for i, line := range lines {
		want, err := strconv.ParseFloat(line, 64)
		if err != nil || math.Abs(got[i]-want) > 1e-12 {
			t.Errorf("row %d: score %.17g, want %s (error %v)", i, got[i], line, err)
		}
	}
}

// oneTree returns a model of one good tree in which the given fields have other values; "" removes
// a field.
func oneTree(fields map[string]string) string {
	head := []string{
		"version=v4",
		"num_class=1",
		"num_tree_per_iteration=1",
		"max_feature_idx=1",
		"tree_sizes=1",
	}
	tree := []string{
		"num_leaves=3", "num_cat=1", "split_feature=0 1", "threshold=0 0", "decision_type=1 2",
		"left_child=1 -1", "right_child=-2 -3", "leaf_value=1 2 3", "leaf_count=1 1 1",
		"internal_count=3 2", "cat_boundaries=0 1", "cat_threshold=6", "is_linear=0",
	}
	for _, lines := range [][]string{head, tree} {
		for i, line := range lines {
			key, _, _ := strings.Cut(line, "=")
			if v, ok := fields[key]; ok {
				lines[i] = key + "=" + v
				if v == "" {
					lines[i] = ""
				}
			}
		}
	}
	return "tree\n" + strings.Join(head, "\n") +
		"\n\nTree=0\n" + strings.Join(tree, "\n") + "\n\nend of trees\n"
}

func TestParseLightGBMErrors(t *testing.T) {
	if _, err := scorer.ParseLightGBM([]byte(oneTree(nil)), 2); err != nil {
		t.Fatalf("the unchanged tree: %v", err)
	}
	type f = map[string]string
	for name, c := range map[string]struct {
		text string
		want string // in the error
	}{
		"an empty text": {
			"", `the text does not begin with "tree", so it is no LightGBM model`,
		},
		"another format": {
			"{}", `the text does not begin with "tree", so it is no LightGBM model`,
		},
		"an old version": {
			oneTree(f{"version": "v2"}), `version is "v2"; only v3 and v4 are supported`,
		},
		"no version": {
			oneTree(f{"version": ""}), `version is ""; only v3 and v4 are supported`,
		},
		"two classes": {oneTree(f{"num_class": "2"}), `num_class is "2"; it must be 1`},
		"two trees a round": {
			oneTree(f{"num_tree_per_iteration": "2"}),
			`num_tree_per_iteration is "2"; it must be 1`,
		},
		"other columns": {oneTree(f{"max_feature_idx": "4"}),
			"max_feature_idx is 4, so the model reads 5 columns, but the schema has 2"},
		"two sizes for a tree": {
			oneTree(f{"tree_sizes": "1 2"}), "the text has 1 trees, but tree_sizes lists 2",
		},
		"no end": {strings.Replace(oneTree(nil), "end of trees", "", 1),
			`the text is truncated: it has no line "end of trees"`},
		"truncated in the tree": {oneTree(nil)[:200], "tree 0: leaf_value is missing"},
		"a wrong tree number": {strings.Replace(oneTree(nil), "Tree=0", "Tree=1", 1),
			`found "Tree=1", expected "Tree=0"`},
		"a repeated field": {strings.Replace(oneTree(nil), "num_cat=1", "num_leaves=3", 1),
			"tree 0: field num_leaves repeats"},
		"a linear tree": {
			oneTree(f{"is_linear": "1"}), `is_linear is "1": linear trees cannot be served`,
		},
		"no leaves": {
			oneTree(f{"num_leaves": "0"}), "num_leaves is 0; it must be 1 to 65536",
		},
		"too many leaves": {
			oneTree(f{"num_leaves": "1000000000"}), "num_leaves is 1000000000; it must be",
		},
		"leaves not a number": {
			oneTree(f{"num_leaves": "x"}), `num_leaves: value 0 is "x", not an integer`,
		},
		"no leaf values": {oneTree(f{"leaf_value": ""}), "leaf_value is missing"},
		"too few leaf values": {
			oneTree(f{"leaf_value": "1 2"}), "leaf_value has 2 values, expected 3",
		},
		"a NaN leaf": {
			oneTree(f{"leaf_value": "1 nan 2"}), `leaf_value: value 1 is "nan", not a number`,
		},
		"an infinite leaf": {
			oneTree(f{"leaf_value": "1 inf 2"}), "leaf_value: value 1 is +Inf; it must be finite",
		},
		"an infinite sum": {
			oneTree(f{"leaf_value": "1.7e308 1.7e308 1.7e308"}),
			"the sum of the trees is not finite",
		},
		"an empty leaf": {
			oneTree(f{"leaf_count": "1 0 1"}),
			"leaf_count: value 1 is 0; it must be finite and above 0",
		},
		"a NaN threshold": {
			oneTree(f{"threshold": "0 nan"}), `threshold: value 1 is "nan", not a number`,
		},
		"a text threshold": {
			oneTree(f{"threshold": "0 much"}), `threshold: value 1 is "much", not a number`,
		},
		"a column too high": {
			oneTree(f{"split_feature": "0 2"}),
			"split_feature: value 1 is column 2, but there are 2",
		},
		"a negative column": {
			oneTree(f{"split_feature": "0 -1"}), "split_feature: value 1 is column -1, but",
		},
		"an unknown split": {
			oneTree(f{"decision_type": "1 14"}), "decision_type: value 1 is 14, which is unknown",
		},
		"a child too high": {
			oneTree(f{"left_child": "2 -1"}), "left_child: value 0 is 2, but there are 2 nodes",
		},
		"a leaf too high": {
			oneTree(f{"left_child": "1 -4"}), "left_child: value 1 is -4, but there are 2 nodes",
		},
		"a cycle": {
			oneTree(f{"left_child": "1 0"}), "child 0 has two parents, so this is no tree",
		},
		"a node as its child": {
			oneTree(f{"left_child": "0 -1"}), "child 0 has two parents, so this is no tree",
		},
		"a shared leaf": {
			oneTree(f{"left_child": "1 -2"}), "child -2 has two parents, so this is no tree",
		},
		"an unreachable node": {
			oneTree(f{"left_child": "-1 -1"}), "the root reaches 3 of 5 nodes and leaves",
		},
		"unreachable nodes": {oneTree(f{"left_child": "-1 1", "right_child": "-2 -3"}),
			"the root reaches 3 of 5 nodes and leaves"},
		"a category set too high": {
			oneTree(f{"threshold": "1 0"}), "threshold: value 0 is category set 1, but there are 1",
		},
		"half a category set": {
			oneTree(f{"threshold": "0.5 0"}), "threshold: value 0 is category set 0.5, but",
		},
		"a negative set size": {
			oneTree(f{"cat_boundaries": "0 -1"}), "cat_boundaries: set 0 is from 0 to -1; it must",
		},
		"a set too large": {oneTree(f{"cat_boundaries": "0 1000000000"}),
			"cat_boundaries: set 0 is from 0 to 1000000000; it must have 1 to 2048 words"},
		"a word of 33 bits": {oneTree(f{"cat_threshold": "8589934592"}),
			"cat_threshold: value 0 is 8589934592, which does not fit 32 bits"},
		"sets without words": {oneTree(f{"cat_threshold": ""}), "cat_threshold is missing"},
		"too many sets": {
			oneTree(f{"num_cat": "1000000000"}), "num_cat is 1000000000; it must be 0 to 65535",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := scorer.ParseLightGBM([]byte(c.text), 2)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that contains %q", err, c.want)
			}
		})
	}
}

// Thresholds are float64 in the text. A float32 just above one must go right, although the
// threshold rounds to it.
func TestThresholdBetweenFloats(t *testing.T) {
	for _, threshold := range []float64{0.1, -0.1, 0.2, -1e-3, 1e9 + 1, 16777217, 1e300, -1e300} {
		text := oneTree(map[string]string{"threshold": fmt.Sprint("0 ", threshold)})
		ours, err := scorer.ParseLightGBM([]byte(text), 2)
		if err != nil {
			t.Fatal(err)
		}
		near := float32(min(max(threshold, -math.MaxFloat32), math.MaxFloat32))
		m := &ranker.Matrix{Columns: make([]ranker.Column, 2)}
		below, above := math.Nextafter32(near, -1e38), math.Nextafter32(near, 1e38)
		for _, x := range []float32{below, near, above} {
			m.N++
			m.Data = append(m.Data, 1, x) // category 1 goes left, to the node with the threshold
		}
		got := make([]float64, m.N)
		if err := ours.Score(m, got); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			want, x := 3.0, m.Data[2*i+1]
			if float64(x) <= threshold {
				want = 1
			}
			if got[i] != want {
				t.Errorf("value %g, threshold %g: leaf %g, want %g", x, threshold, got[i], want)
			}
		}
	}
}

// list returns a field's n values, joined by spaces.
func list(n int, value func(i int) int) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strconv.Itoa(value(i))
	}
	return strings.Join(parts, " ")
}

// chain returns the fields of a tree of n leaves that is one long path. Node i sends x <=
// threshold(i) of column(i) to leaf i, whose value is i, and other rows to node i+1.
func chain(n int, column, threshold func(i int) int) map[string]string {
	return map[string]string{
		"num_leaves":    strconv.Itoa(n),
		"num_cat":       "0",
		"split_feature": list(n-1, column),
		"threshold":     list(n-1, threshold),
		"decision_type": list(n-1, func(int) int { return 2 }),
		"left_child":    list(n-1, func(i int) int { return ^i }),
		"right_child": list(n-1, func(i int) int {
			if i == n-2 {
				return -n
			}
			return i + 1
		}),
		"leaf_value":     list(n, func(i int) int { return i }),
		"leaf_count":     list(n, func(int) int { return 1 }),
		"internal_count": list(n-1, func(i int) int { return n - i }),
	}
}

// A chain is the deepest tree of its size. It is refused beyond maxDepth splits.
func TestDeepTree(t *testing.T) {
	// Leaves of a sliced tree, of a large one, and of one that is too deep.
	for _, n := range []int{100, 400, 600} {
		text := oneTree(
			chain(n, func(i int) int { return i % 2 }, func(i int) int { return i / 2 }),
		)
		ours, err := scorer.ParseLightGBM([]byte(text), 2)
		if n == 600 {
			if err == nil ||
				!strings.Contains(err.Error(), "tree 0: a path has more than 512 splits") {
				t.Errorf("%d leaves: %v", n, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d leaves: %v", n, err)
		}
		// Row (x, 1e9) passes node i if i/2 < x for even i, and always for odd i. It ends at leaf 2
		// ceil(x).
		rows := []float32{0, 1e9, 7.5, 1e9, 1e9, 1e9}
		m := &ranker.Matrix{N: 3, Columns: make([]ranker.Column, 2), Data: rows}
		got := make([]float64, 3)
		if err := ours.Score(m, got); err != nil {
			t.Fatal(err)
		}
		if got[0] != 0 || got[1] != 16 || got[2] != float64(n-1) {
			t.Errorf("%d leaves: scores %v, want 0, 16 and %d", n, got, n-1)
		}
		parts := make([]float64, 2)
		base, err := ours.Explain(m, 1, parts)
		if sum := base + parts[0] + parts[1]; err != nil || math.Abs(sum-16) > 1e-6 {
			t.Errorf("%d leaves: contributions add up to %g, want 16 (error %v)", n, sum, err)
		}
	}
}

// A large model has more thresholds of a column than one threshold set holds.
func TestManyThresholds(t *testing.T) {
	const trees, leaves = 7, 101
	text := ""
	for k := range trees {
		one := oneTree(
			chain(leaves, func(int) int { return 1 }, func(i int) int { return 100*k + i }),
		)
		body := one[strings.Index(one, "Tree=0")+len("Tree=0") : strings.Index(one, "end of trees")]
		text += "Tree=" + strconv.Itoa(k) + body
	}
	sizes := list(trees, func(int) int { return 1 })
	head, _, _ := strings.Cut(oneTree(map[string]string{"tree_sizes": sizes}), "Tree=0")
	ours, err := scorer.ParseLightGBM([]byte(head+text+"end of trees\n"), 2)
	if err != nil {
		t.Fatal(err)
	}
	m := &ranker.Matrix{N: 750, Columns: make([]ranker.Column, 2), Data: make([]float32, 1500)}
	for row := range m.N {
		m.Data[2*row+1] = float32(row) - 20.5
	}
	got := make([]float64, m.N)
	if err := ours.Score(m, got); err != nil {
		t.Fatal(err)
	}
	// The trees' thresholds follow each other. Together the trees count the thresholds below x.
	for row, score := range got {
		if want := float64(min(max(row-20, 0), 100*trees)); score != want {
			t.Fatalf("x = %g: score %g, want %g", m.Data[2*row+1], score, want)
		}
	}
}

// Parsing ends for every text, and an accepted model gives finite scores and explanations.
func FuzzParseLightGBM(f *testing.F) {
	f.Add([]byte(golden(f)))
	f.Add([]byte(oneTree(nil)))
	f.Add([]byte(strings.ReplaceAll(oneTree(nil), "\n", "\r\n")))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, columns := range []int{2, 3} {
			ours, err := scorer.ParseLightGBM(text, columns)
			if err != nil {
				continue
			}
			m := &ranker.Matrix{
				N:       3,
				Columns: make([]ranker.Column, columns),
				Data:    make([]float32, 3*columns),
			}
			for i := range m.Data {
				m.Data[i] = []float32{nan, 1, -2.5, float32(math.Inf(1)), 0}[i%5]
			}
			scores, parts := make([]float64, m.N), make([]float64, columns)
			if err := ours.Score(m, scores); err != nil {
				t.Fatal(err)
			}
			if _, err := ours.Explain(m, 1, parts); err != nil {
				t.Fatal(err)
			}
			for _, x := range scores {
				if x-x != 0 {
					t.Fatalf("score %g", x)
				}
			}
		}
	})
}
