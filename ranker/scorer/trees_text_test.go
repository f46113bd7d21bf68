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

var update = flag.Bool("update", false, "write the golden model and its scores anew, by LightGBM")

// golden is a small model that LightGBM wrote, over three columns of which the first is categorical.
func golden(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/gbdt.txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// goldenRows are rows for the golden model: seen and unseen categories, missing ones, almost zero.
var goldenRows = []float32{
	1, 0.5, 2,
	5, -1, nan,
	nan, nan, nan,
	69, 1e-36, -3,
	2.9, 3, 0.4,
}

func updateGolden(t *testing.T) {
	p := gbdt.DefaultParams()
	p.NumLeaves, p.MaxRounds, p.MinDataInLeaf, p.CategoricalFeatures, p.Threads = 5, 3, 20, []int{0}, 1
	p.ExtraParams = []string{"min_data_per_group=1", "cat_smooth=1", "max_cat_to_onehot=1"}
	res, err := library(t).Train(context.Background(), training(rand.New(rand.NewPCG(3, 3)), 1000, 3, 1), nil, p, nil)
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
	for name, content := range map[string][]byte{"gbdt.txt": res.Model, "scores.txt": []byte(text)} {
		if err := os.WriteFile(filepath.Join("testdata", name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The committed model gives the scores that LightGBM gave when it wrote it.
func TestTreesGolden(t *testing.T) {
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
		t.Fatalf("%d scores are written down, for %d rows", len(lines), m.N)
	}
	for i, line := range lines {
		want, err := strconv.ParseFloat(line, 64)
		if err != nil || math.Abs(got[i]-want) > 1e-12 {
			t.Errorf("row %d: %.17g, not %s (%v)", i, got[i], line, err)
		}
	}
}

// singleTerms is a model of one tree with the given fields, each in place of a good one; "" leaves it out.
func singleTerms(fields map[string]string) string {
	head := []string{"version=v4", "num_class=1", "num_tree_per_iteration=1", "max_feature_idx=1", "tree_sizes=1"}
	tree := []string{"num_leaves=3", "num_cat=1", "split_feature=0 1", "threshold=0 0", "decision_type=1 2", "left_child=1 -1",
		"right_child=-2 -3", "leaf_value=1 2 3", "leaf_count=1 1 1", "internal_count=3 2", "cat_boundaries=0 1", "cat_threshold=6", "is_linear=0"}
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
	return "tree\n" + strings.Join(head, "\n") + "\n\nTree=0\n" + strings.Join(tree, "\n") + "\n\nend of trees\n"
}

func TestParseTreesRefuses(t *testing.T) {
	if _, err := scorer.ParseLightGBM([]byte(singleTerms(nil)), 2); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	type f = map[string]string
	for name, c := range map[string]struct {
		text string
		want string // in the error
	}{
		"nothing":                  {"", `does not begin with "tree"`},
		"another format":           {"{}", `does not begin with "tree"`},
		"an old version":           {singleTerms(f{"version": "v2"}), `version "v2"`},
		"no version":               {singleTerms(f{"version": ""}), `version ""`},
		"two classes":              {singleTerms(f{"num_class": "2"}), "num_class"},
		"two trees a round":        {singleTerms(f{"num_tree_per_iteration": "2"}), "num_tree_per_iteration"},
		"other columns":            {singleTerms(f{"max_feature_idx": "4"}), "for 5 columns; the schema has 2"},
		"no sizes":                 {singleTerms(f{"tree_sizes": "1 2"}), "tree_sizes"},
		"a tree cut off":           {strings.Replace(singleTerms(nil), "end of trees", "", 1), "cut short"},
		"cut in the middle":        {singleTerms(nil)[:200], "missing"},
		"a wrong number":           {strings.Replace(singleTerms(nil), "Tree=0", "Tree=1", 1), `"Tree=0" should be`},
		"a field twice":            {strings.Replace(singleTerms(nil), "num_cat=1", "num_leaves=3", 1), "twice"},
		"a linear tree":            {singleTerms(f{"is_linear": "1"}), "linear"},
		"no leaves":                {singleTerms(f{"num_leaves": "0"}), "num_leaves is 0"},
		"absurdly many leaves":     {singleTerms(f{"num_leaves": "1000000000"}), "num_leaves is 1000000000"},
		"leaves that are no count": {singleTerms(f{"num_leaves": "x"}), "not an integer"},
		"no leaf values":           {singleTerms(f{"leaf_value": ""}), "leaf_value is missing"},
		"too few leaf values":      {singleTerms(f{"leaf_value": "1 2"}), "leaf_value has 2 values"},
		"a leaf that is NaN":       {singleTerms(f{"leaf_value": "1 nan 2"}), "leaf_value: value 1"},
		"an infinite leaf":         {singleTerms(f{"leaf_value": "1 inf 2"}), "leaf_value: value 1"},
		"an infinite sum":          {singleTerms(f{"leaf_value": "1.7e308 1.7e308 1.7e308"}), "not finite"},
		"an empty leaf":            {singleTerms(f{"leaf_count": "1 0 1"}), "leaf_count: value 1"},
		"a NaN threshold":          {singleTerms(f{"threshold": "0 nan"}), "threshold: value 1"},
		"a threshold of words":     {singleTerms(f{"threshold": "0 much"}), "threshold: value 1"},
		"a column out of range":    {singleTerms(f{"split_feature": "0 2"}), "split_feature: value 1 is column 2"},
		"a negative column":        {singleTerms(f{"split_feature": "0 -1"}), "split_feature: value 1"},
		"an unknown split":         {singleTerms(f{"decision_type": "1 14"}), "decision_type: value 1"},
		"a child out of range":     {singleTerms(f{"left_child": "2 -1"}), "left_child: value 0 is 2"},
		"a leaf out of range":      {singleTerms(f{"left_child": "1 -4"}), "left_child: value 1 is -4"},
		"a cycle":                  {singleTerms(f{"left_child": "1 0"}), "two parents"},
		"a node that is its child": {singleTerms(f{"left_child": "0 -1"}), "two parents"},
		"a leaf with two parents":  {singleTerms(f{"left_child": "1 -2"}), "two parents"},
		"a node out of reach":      {singleTerms(f{"left_child": "-1 -1"}), "are reached"},
		"nodes out of reach":       {singleTerms(f{"left_child": "-1 1", "right_child": "-2 -3"}), "are reached"},
		"a set out of range":       {singleTerms(f{"threshold": "1 0"}), "category set 1"},
		"half a set":               {singleTerms(f{"threshold": "0.5 0"}), "category set 0.5"},
		"a set that ends before":   {singleTerms(f{"cat_boundaries": "0 -1"}), "cat_boundaries"},
		"an absurd set":            {singleTerms(f{"cat_boundaries": "0 1000000000"}), "cat_boundaries"},
		"a word of 33 bits":        {singleTerms(f{"cat_threshold": "8589934592"}), "32 bits"},
		"sets without words":       {singleTerms(f{"cat_threshold": ""}), "cat_threshold is missing"},
		"absurdly many sets":       {singleTerms(f{"num_cat": "1000000000"}), "num_cat"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := scorer.ParseLightGBM([]byte(c.text), 2)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; it should say %q", err, c.want)
			}
		})
	}
}

// Thresholds are float64 in the text: a float32 just above one must go right, though it rounds to it.
func TestTreesThresholdBetweenFloats(t *testing.T) {
	for _, threshold := range []float64{0.1, -0.1, 0.2, -1e-3, 1e9 + 1, 16777217, 1e300, -1e300} {
		ours, err := scorer.ParseLightGBM([]byte(singleTerms(map[string]string{"threshold": fmt.Sprint("0 ", threshold)})), 2)
		if err != nil {
			t.Fatal(err)
		}
		near := float32(min(max(threshold, -math.MaxFloat32), math.MaxFloat32))
		m := &ranker.Matrix{Columns: make([]ranker.Column, 2)}
		for _, x := range []float32{math.Nextafter32(near, -1e38), near, math.Nextafter32(near, 1e38)} {
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
				t.Errorf("%g <= %g: leaf %g", x, threshold, got[i])
			}
		}
	}
}

// list joins the n values of a field.
func list(n int, value func(i int) int) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strconv.Itoa(value(i))
	}
	return strings.Join(parts, " ")
}

// chain is the fields of a tree of n leaves that is one long path: node i sends x <= threshold(i) of a
// column to leaf i, whose value is i, and the rest on.
func chain(n int, column, threshold func(i int) int) map[string]string {
	return map[string]string{"num_leaves": strconv.Itoa(n), "num_cat": "0",
		"split_feature": list(n-1, column), "threshold": list(n-1, threshold),
		"decision_type": list(n-1, func(int) int { return 2 }),
		"left_child":    list(n-1, func(i int) int { return ^i }),
		"right_child": list(n-1, func(i int) int {
			if i == n-2 {
				return -n
			}
			return i + 1
		}),
		"leaf_value": list(n, func(i int) int { return i }), "leaf_count": list(n, func(int) int { return 1 }),
		"internal_count": list(n-1, func(i int) int { return n - i })}
}

// A chain is the worst shape: deep, and refused where it is absurd.
func TestTreesChain(t *testing.T) {
	for _, n := range []int{100, 400, 600} { // leaves: sliced, walked, too deep
		text := singleTerms(chain(n, func(i int) int { return i % 2 }, func(i int) int { return i / 2 }))
		ours, err := scorer.ParseLightGBM([]byte(text), 2)
		if n == 600 {
			if err == nil || !strings.Contains(err.Error(), "a path of more than") {
				t.Errorf("%d leaves: %v", n, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d leaves: %v", n, err)
		}
		// Row (x, huge) passes node i if i/2 < x for even i, always for odd i: it ends at leaf 2 ceil(x).
		m := &ranker.Matrix{N: 3, Columns: make([]ranker.Column, 2), Data: []float32{0, 1e9, 7.5, 1e9, 1e9, 1e9}}
		got := make([]float64, 3)
		if err := ours.Score(m, got); err != nil {
			t.Fatal(err)
		}
		if got[0] != 0 || got[1] != 16 || got[2] != float64(n-1) {
			t.Errorf("%d leaves: %v", n, got)
		}
		parts := make([]float64, 2)
		base, err := ours.Explain(m, 1, parts)
		if sum := base + parts[0] + parts[1]; err != nil || math.Abs(sum-16) > 1e-6 {
			t.Errorf("%d leaves: the parts add up to %g: %v", n, sum, err)
		}
	}
}

// A model that was trained on and on asks a column about more thresholds than one table of them holds.
func TestTreesManyThresholds(t *testing.T) {
	const trees, leaves = 7, 101
	text := ""
	for k := range trees {
		one := singleTerms(chain(leaves, func(int) int { return 1 }, func(i int) int { return 100*k + i }))
		body := one[strings.Index(one, "Tree=0")+len("Tree=0") : strings.Index(one, "end of trees")]
		text += "Tree=" + strconv.Itoa(k) + body
	}
	head, _, _ := strings.Cut(singleTerms(map[string]string{"tree_sizes": list(trees, func(int) int { return 1 })}), "Tree=0")
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
	for row, s := range got { // the trees' chains follow each other: together they count the thresholds below x
		if want := float64(min(max(row-20, 0), 100*trees)); s != want {
			t.Fatalf("%g scores %g, not %g", m.Data[2*row+1], s, want)
		}
	}
}

// Whatever the text, parsing ends, and what was accepted scores and explains with finite numbers.
func FuzzParseTrees(f *testing.F) {
	f.Add([]byte(golden(f)))
	f.Add([]byte(singleTerms(nil)))
	f.Add([]byte(strings.ReplaceAll(singleTerms(nil), "\n", "\r\n")))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, columns := range []int{2, 3} {
			ours, err := scorer.ParseLightGBM(text, columns)
			if err != nil {
				continue
			}
			m := &ranker.Matrix{N: 3, Columns: make([]ranker.Column, columns), Data: make([]float32, 3*columns)}
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
