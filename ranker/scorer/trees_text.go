package scorer

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bounds of a model. What is larger was hardly made by training a blend, and would make a request slow.
const (
	maxTrees         = 10_000
	maxLeaves        = 1 << 16 // of one tree
	maxTotalLeaves   = 1 << 20 // leaves of all trees
	maxDepth         = 512
	maxCategoryWords = 1 << 11 // words of 32 categories in one split
)

// ParseLightGBM reads a model in LightGBM's text format (versions v3 and v4) over a matrix of the given
// number of columns. Nothing that is wrong with the text is passed over: it fails with the tree, the
// field and the reason, on cyclic or shared nodes, children, columns or category sets out of range,
// numbers that are not finite, a text cut short, more than one class, linear trees, and absurd sizes.
func ParseLightGBM(text []byte, columns int) (*GBDT, error) {
	head, rest, err := header(text)
	if err != nil {
		return nil, fmt.Errorf("trees: %w", err)
	}
	if err := head.check(columns); err != nil {
		return nil, fmt.Errorf("trees: %w", err)
	}
	t := &GBDT{columns: columns}
	total := 0
	for {
		line, after, ok := cutLine(rest)
		if !ok {
			return nil, errors.New(`trees: the text is cut short: it has no "end of trees"`)
		}
		if line == "end of trees" {
			break
		}
		if want := "Tree=" + strconv.Itoa(len(t.trees)); line != want {
			return nil, fmt.Errorf("trees: %.40q where %q should be", line, want)
		}
		if len(t.trees) == maxTrees {
			return nil, fmt.Errorf("trees: more than %d trees", maxTrees)
		}
		var block fields
		if block, rest, err = readFields(after); err != nil {
			return nil, fmt.Errorf("trees: tree %d: %w", len(t.trees), err)
		}
		tr, depth, err := block.tree(columns)
		if err != nil {
			return nil, fmt.Errorf("trees: tree %d: %w", len(t.trees), err)
		}
		if total += len(tr.leaves); total > maxTotalLeaves {
			return nil, fmt.Errorf("trees: more than %d leaves in all", maxTotalLeaves)
		}
		t.trees = append(t.trees, tr)
		t.maxPathLength = max(t.maxPathLength, depth)
	}
	if n := len(strings.Fields(head["tree_sizes"])); n != len(t.trees) || n == 0 {
		return nil, fmt.Errorf("trees: %d trees, tree_sizes names %d", len(t.trees), n)
	}
	return t, t.finish()
}

// finish sums up the base, and compiles.
func (t *GBDT) finish() error {
	largest := 0.0
	for i := range t.trees {
		leaves := t.trees[i].leaves
		sum, weight, most := 0.0, 0.0, 0.0
		for _, l := range leaves {
			sum += l.value * l.weight
			weight += l.weight
			most = max(most, math.Abs(l.value))
		}
		t.base += sum / weight
		largest += most
	}
	if math.IsInf(largest, 0) || t.base-t.base != 0 {
		return errors.New("trees: leaf_value: the sum of the trees is not finite")
	}
	t.program = compile(t.trees, t.columns)
	t.scratchPool.New = func() any { return &scratch{answers: make([]uint64, t.program.answerWords)} }
	t.pathPool.New = func() any { s := make([]pathElement, (t.maxPathLength+2)*(t.maxPathLength+3)/2); return &s }
	return nil
}

// fields are the key=value lines of one part of the text.
type fields map[string]string

// header reads what stands before the first tree.
func header(text []byte) (fields, []byte, error) {
	line, rest, ok := cutLine(text)
	if !ok || line != "tree" {
		return nil, nil, errors.New(`the text does not begin with "tree": it is no LightGBM model`)
	}
	return readFields(rest)
}

// readFields reads lines up to the next tree or the end of trees; a line without = is a flag.
func readFields(text []byte) (fields, []byte, error) {
	f := fields{}
	for {
		line, rest, ok := cutLine(text)
		if !ok || strings.HasPrefix(line, "Tree=") || line == "end of trees" {
			return f, text, nil
		}
		key, value, _ := strings.Cut(line, "=")
		if _, twice := f[key]; twice {
			return nil, nil, fmt.Errorf("%.40s stands there twice", key)
		}
		f[key] = value
		text = rest
	}
}

// cutLine returns the next line that is not empty.
func cutLine(text []byte) (line string, rest []byte, ok bool) {
	for len(text) > 0 {
		var l []byte
		l, text, _ = bytes.Cut(text, []byte("\n"))
		if l = bytes.TrimSuffix(l, []byte("\r")); len(l) > 0 {
			return string(l), text, true
		}
	}
	return "", nil, false
}

// check says why the header describes nothing that can be served, nil if it does. average_output, which
// random forests have, is for predictions: the raw score is the sum of the trees there too.
func (f fields) check(columns int) error {
	if v := f["version"]; v != "v3" && v != "v4" {
		return fmt.Errorf("version %.20q; v3 and v4 are read", v)
	}
	for _, key := range []string{"num_class", "num_tree_per_iteration"} {
		if f[key] != "1" {
			return fmt.Errorf("%s is %.20q: a blend has one score, so it is 1", key, f[key])
		}
	}
	last, err := f.integers("max_feature_idx", 1)
	if err != nil {
		return err
	}
	if last[0] != columns-1 {
		return fmt.Errorf("max_feature_idx is %d, for %d columns; the schema has %d", last[0], last[0]+1, columns)
	}
	return nil
}

// list returns the field's n values, separated by single spaces.
func (f fields) list(key string, n int) ([]string, error) {
	value, ok := f[key]
	if !ok {
		return nil, fmt.Errorf("%s is missing", key)
	}
	if got := strings.Count(value, " ") + 1; got != n {
		return nil, fmt.Errorf("%s has %d values, not %d", key, got, n)
	}
	return strings.Split(value, " "), nil
}

func (f fields) integers(key string, n int) ([]int, error) {
	list, err := f.list(key, n)
	if err != nil {
		return nil, err
	}
	out := make([]int, n)
	for i, s := range list {
		x, err := strconv.ParseInt(s, 10, 64)
		if err != nil || x != int64(int(x)) {
			return nil, fmt.Errorf("%s: value %d: %.40q is not an integer", key, i, s)
		}
		out[i] = int(x)
	}
	return out, nil
}

func (f fields) numbers(key string, n int) ([]float64, error) {
	list, err := f.list(key, n)
	if err != nil {
		return nil, err
	}
	out := make([]float64, n)
	for i, s := range list {
		x, err := strconv.ParseFloat(s, 64)
		if err != nil || x != x {
			return nil, fmt.Errorf("%s: value %d: %.40q is not a number", key, i, s)
		}
		out[i] = x
	}
	return out, nil
}
