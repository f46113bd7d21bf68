package scorer

import (
	"fmt"

	"relish/ranker"
)

// pathElement is one column on a path of TreeSHAP (Algorithm 2 of the paper at Explain).
type pathElement struct {
	column int32
	zero   float64 // share of the training rows that go this way
	one    float64 // 1 if the explained row goes this way, else 0
	weight float64 // of the subsets of the path with as many columns as this element's index
}

// Explain implements ranker.Scorer by path-dependent TreeSHAP (Lundberg, Erion and Lee 2018,
// arXiv:1802.03888, Algorithm 2). The contributions are exact Shapley values, where an unknown
// column goes both ways in the proportion of the training rows. They equal LightGBM's
// predict_contrib. The base is the mean score of the training rows, the same for every row.
func (t *GBDT) Explain(m *ranker.Matrix, row int, out []float64) (base float64, err error) {
	if err := t.checkShape(m); err != nil {
		return 0, err
	}
	if row < 0 || row >= m.N || len(out) != t.columns {
		return 0, fmt.Errorf(
			"gbdt: cannot explain row %d of %d into %d values; the model reads %d columns",
			row,
			m.N,
			len(out),
			t.columns,
		)
	}
	clear(out)
	s := t.pathPool.Get().(*[]pathElement)
	defer t.pathPool.Put(s)
	e := treeExplainer{row: m.Row(row), out: out}
	for i := range t.trees {
		if e.tree = &t.trees[i]; len(e.tree.nodes) > 0 {
			e.walk(0, nil, *s, pathElement{column: -1, zero: 1, one: 1})
		}
	}
	return t.base, nil
}

type treeExplainer struct {
	tree *tree
	row  []float32
	out  []float64
}

// walk visits a node with the path to it, extended by next. free is memory for this path and the
// longer ones.
func (e *treeExplainer) walk(at int32, path, free []pathElement, next pathElement) {
	n := len(path) + 1
	path, free = append(append(free[:0:n], path...), next), free[n:]
	extend(path)
	if at < 0 {
		value := e.tree.leaves[^at].value
		for i := 1; i < n; i++ {
			e.out[path[i].column] += unwoundSum(path, i) * (path[i].one - path[i].zero) * value
		}
		return
	}
	s := &e.tree.nodes[at]
	hot, cold := s.left, s.right // the child that the row goes to, and the other one
	if !s.goesLeft(e.row[s.column]) {
		hot, cold = cold, hot
	}
	zero, one := 1.0, 1.0
	for i := range path {
		// A second split on the column replaces the first one on the path.
		if path[i].column == s.column {
			zero, one = path[i].zero, path[i].one
			path = unwind(path, i)
			break
		}
	}
	hotZero, coldZero := zero*e.tree.weight(hot)/s.weight, zero*e.tree.weight(cold)/s.weight
	e.walk(hot, path, free, pathElement{column: s.column, zero: hotZero, one: one})
	e.walk(cold, path, free, pathElement{column: s.column, zero: coldZero})
}

// weight returns the number of training rows that reached a node or leaf.
func (t *tree) weight(at int32) float64 {
	if at < 0 {
		return t.leaves[^at].weight
	}
	return t.nodes[at].weight
}

// extend includes the last element of the path in the weights of all.
func extend(path []pathElement) {
	last := len(path) - 1
	p := &path[last]
	p.weight = 0
	if last == 0 {
		p.weight = 1
	}
	n := float64(last + 1)
	for i := last - 1; i >= 0; i-- {
		path[i+1].weight += p.one * path[i].weight * float64(i+1) / n
		path[i].weight *= p.zero * float64(last-i) / n
	}
}

// unwind removes the element at the index from the path: the inverse of extend.
func unwind(path []pathElement, at int) []pathElement {
	last := len(path) - 1
	one, zero := path[at].one, path[at].zero
	next, n := path[last].weight, float64(last+1)
	for i := last - 1; i >= 0; i-- {
		if one != 0 {
			w := path[i].weight
			path[i].weight = next * n / (float64(i+1) * one)
			next = w - path[i].weight*zero*float64(last-i)/n
		} else {
			path[i].weight *= n / (zero * float64(last-i))
		}
	}
	for i := at; i < last; i++ {
		path[i].column, path[i].zero, path[i].one = path[i+1].column, path[i+1].zero, path[i+1].one
	}
	return path[:last]
}

// unwoundSum returns the sum of the weights that unwind would leave.
func unwoundSum(path []pathElement, at int) float64 {
	last := len(path) - 1
	one, zero := path[at].one, path[at].zero
	next, n, sum := path[last].weight, float64(last+1), 0.0
	for i := last - 1; i >= 0; i-- {
		if one != 0 {
			w := next * n / (float64(i+1) * one)
			sum += w
			next = path[i].weight - w*zero*float64(last-i)/n
		} else {
			sum += path[i].weight * n / (zero * float64(last-i))
		}
	}
	return sum
}
