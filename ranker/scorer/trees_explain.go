package scorer

import (
	"fmt"

	"relish/ranker"
)

// pathElement is one column on a path of TreeSHAP, with the share of orders in which a subset of the path's
// columns is known.
type pathElement struct {
	column int32
	zero   float64 // the part of the training's rows that go this way
	one    float64 // 1 where the explained row goes this way, else 0
	weight float64 // of the subsets with as many known columns as this step's place
}

// Explain implements ranker.Blend by TreeSHAP, the path-dependent form (Lundberg, Erion and Lee 2018,
// arXiv:1802.03888, Algorithm 2): exact Shapley values of the columns, where an unknown column takes both ways in the
// proportion of the training's rows. Equal to LightGBM's predict_contrib. The base is the mean score over
// the training's rows, the same for every row.
func (t *GBDT) Explain(m *ranker.Matrix, row int, out []float64) (base float64, err error) {
	if err := t.checkShape(m); err != nil {
		return 0, err
	}
	if row < 0 || row >= m.N || len(out) != t.columns {
		return 0, fmt.Errorf("trees: row %d of %d, room for %d columns of %d", row, m.N, len(out), t.columns)
	}
	clear(out)
	s := t.pathPool.Get().(*[]pathElement)
	defer t.pathPool.Put(s)
	e := explainer{row: m.Row(row), out: out}
	for i := range t.trees {
		if e.tree = &t.trees[i]; len(e.tree.nodes) > 0 {
			e.walk(0, nil, *s, pathElement{column: -1, zero: 1, one: 1})
		}
	}
	return t.base, nil
}

type explainer struct {
	tree *tree
	row  []float32
	out  []float64
}

// walk visits a node over which the path is extended by next. room is free memory for this path and the
// longer ones.
func (e *explainer) walk(at int32, path, room []pathElement, next pathElement) {
	n := len(path) + 1
	path, room = append(append(room[:0:n], path...), next), room[n:]
	extend(path)
	if at < 0 {
		value := e.tree.leaves[^at].value
		for i := 1; i < n; i++ {
			e.out[path[i].column] += unwoundSum(path, i) * (path[i].one - path[i].zero) * value
		}
		return
	}
	s := &e.tree.nodes[at]
	hot, cold := s.left, s.right
	if !s.goesLeft(e.row[s.column]) {
		hot, cold = cold, hot
	}
	zero, one := 1.0, 1.0
	for i := range path {
		if path[i].column == s.column { // met before on this path: its two splits become one
			zero, one = path[i].zero, path[i].one
			path = unwind(path, i)
			break
		}
	}
	e.walk(hot, path, room, pathElement{column: s.column, zero: zero * e.tree.weight(hot) / s.weight, one: one})
	e.walk(cold, path, room, pathElement{column: s.column, zero: zero * e.tree.weight(cold) / s.weight})
}

func (t *tree) weight(at int32) float64 {
	if at < 0 {
		return t.leaves[^at].weight
	}
	return t.nodes[at].weight
}

// extend works the last step into the weights of the path before it.
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

// unwind takes step at out of the path: the inverse of extend.
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

// unwoundSum is the sum of the weights that unwind would leave.
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
