package scorer

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bounds of a model. A larger one was hardly made by training a scorer, and would make requests
// slow.
const (
	maxTrees         = 10_000
	maxLeaves        = 1 << 16 // of one tree
	maxTotalLeaves   = 1 << 20 // of all trees
	maxDepth         = 512     // splits on a path
	maxCategoryWords = 1 << 11 // of 32 categories each, in one split
)

// ParseLightGBM reads a model in LightGBM's text format, version v3 or v4, over a matrix of the
// given number of columns.
//
// It rejects a truncated text, nodes that form no tree, and children, columns or category sets out
// of range. It also rejects numbers that are not finite, several classes, linear trees, and a model
// beyond the bounds above. The error names the tree, the field and the reason.
func ParseLightGBM(text []byte, columns int) (*GBDT, error) {
	head, rest, err := header(text)
	if err != nil {
		return nil, fmt.Errorf("gbdt: %w", err)
	}
	if err := head.checkHeader(columns); err != nil {
		return nil, fmt.Errorf("gbdt: %w", err)
	}
	t := &GBDT{columns: columns}
	total := 0
	for {
		line, after, ok := cutLine(rest)
		if !ok {
			return nil, errors.New(`gbdt: the text is truncated: it has no line "end of trees"`)
		}
		if line == "end of trees" {
			break
		}
		if want := "Tree=" + strconv.Itoa(len(t.trees)); line != want {
			return nil, fmt.Errorf("gbdt: found %.40q, expected %q", line, want)
		}
		if len(t.trees) == maxTrees {
			return nil, fmt.Errorf("gbdt: the model has more than %d trees; "+
				"train with fewer rounds", maxTrees)
		}
		var block fields
		if block, rest, err = readFields(after); err != nil {
			return nil, fmt.Errorf("gbdt: tree %d: %w", len(t.trees), err)
		}
		tr, depth, err := block.tree(columns)
		if err != nil {
			return nil, fmt.Errorf("gbdt: tree %d: %w", len(t.trees), err)
		}
		if total += len(tr.leaves); total > maxTotalLeaves {
			return nil, fmt.Errorf("gbdt: the model has more than %d leaves in all trees; "+
				"train with fewer rounds or leaves", maxTotalLeaves)
		}
		t.trees = append(t.trees, tr)
		t.maxPathLength = max(t.maxPathLength, depth)
	}
	if n := len(strings.Fields(head["tree_sizes"])); n != len(t.trees) || n == 0 {
		return nil, fmt.Errorf(
			"gbdt: the text has %d trees, but tree_sizes lists %d",
			len(t.trees),
			n,
		)
	}
	if err := t.prepare(); err != nil {
		return nil, err
	}
	return t, nil
}

// prepare computes the base and compiles the trees.
func (t *GBDT) prepare() error {
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
		return errors.New("gbdt: leaf_value: the sum of the trees is not finite")
	}
	t.program = compile(t.trees)
	t.scratchPool.New = func() any { return t.program.newScratch() }
	t.pathPool.New = func() any {
		s := make([]pathElement, (t.maxPathLength+2)*(t.maxPathLength+3)/2)
		return &s
	}
	return nil
}

// fields holds the key=value lines of one part of the text.
type fields map[string]string

// header reads what precedes the first tree, and returns the rest of the text.
func header(text []byte) (fields, []byte, error) {
	line, rest, ok := cutLine(text)
	if !ok || line != "tree" {
		return nil, nil, errors.New(
			`the text does not begin with "tree", so it is no LightGBM model`,
		)
	}
	return readFields(rest)
}

// readFields reads lines up to the next tree or the end of trees, and returns the rest of the text.
// A line without = is a flag.
func readFields(text []byte) (fields, []byte, error) {
	f := fields{}
	for {
		line, rest, ok := cutLine(text)
		if !ok || strings.HasPrefix(line, "Tree=") || line == "end of trees" {
			return f, text, nil
		}
		key, value, _ := strings.Cut(line, "=")
		if _, repeated := f[key]; repeated {
			return nil, nil, fmt.Errorf("field %.40s repeats", key)
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

// checkHeader returns why the header describes no model that can be served. It ignores
// average_output, which random forests set for predictions: their raw score is the sum of the trees
// too.
func (f fields) checkHeader(columns int) error {
	if v := f["version"]; v != "v3" && v != "v4" {
		return fmt.Errorf("version is %.20q; only v3 and v4 are supported", v)
	}
	for _, key := range []string{"num_class", "num_tree_per_iteration"} {
		if f[key] != "1" {
			return fmt.Errorf(
				"%s is %.20q; it must be 1, because a scorer gives one score",
				key,
				f[key],
			)
		}
	}
	last, err := f.integers("max_feature_idx", 1)
	if err != nil {
		return err
	}
	if last[0] != columns-1 {
		return fmt.Errorf(
			"max_feature_idx is %d, so the model reads %d columns, but the schema has %d",
			last[0],
			last[0]+1,
			columns,
		)
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
		return nil, fmt.Errorf("%s has %d values, expected %d", key, got, n)
	}
	return strings.Split(value, " "), nil
}

// integers returns the field's n values as integers.
func (f fields) integers(key string, n int) ([]int, error) {
	list, err := f.list(key, n)
	if err != nil {
		return nil, err
	}
	out := make([]int, n)
	for i, s := range list {
		x, err := strconv.ParseInt(s, 10, 64)
		if err != nil || x != int64(int(x)) {
			return nil, fmt.Errorf("%s: value %d is %.40q, not an integer", key, i, s)
		}
		out[i] = int(x)
	}
	return out, nil
}

// numbers returns the field's n values as numbers, which may be infinite.
func (f fields) numbers(key string, n int) ([]float64, error) {
	list, err := f.list(key, n)
	if err != nil {
		return nil, err
	}
	out := make([]float64, n)
	for i, s := range list {
		x, err := strconv.ParseFloat(s, 64)
		if err != nil || x != x {
			return nil, fmt.Errorf("%s: value %d is %.40q, not a number", key, i, s)
		}
		out[i] = x
	}
	return out, nil
}
