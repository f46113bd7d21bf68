package scorer

import (
	"fmt"
	"math"
	"sync"

	"relish/internal/parallel"
	"relish/ranker"
)

// GBDT is a trained blend: gradient-boosted regression trees as LightGBM writes them, read by
// ParseTrees. Its score is the raw one, the sum of one leaf of each tree, before any sigmoid. It is
// immutable and safe for concurrent use.
//
// A missing cell (NaN) takes the way that the training chose for it at each split, so that a matrix with
// whole groups of columns missing is scored like any other.
type GBDT struct {
	columns       int
	trees         []tree
	base          float64 // what the score is on the training's rows in the mean
	maxPathLength int     // the most splits on one path
	program       *program
	scratchPool   sync.Pool // of *scratch, for Score
	pathPool      sync.Pool // of *[]step, for Explain
}

var _ ranker.Scorer = (*GBDT)(nil)

// tree is one tree of the model, as the text has it but checked: node 0 is the root, every node and leaf
// is reached from it exactly once. A single leaf has no nodes.
type tree struct {
	nodes  []split
	leaves []leaf
}

// split sends a row to the left or to the right. A child c >= 0 is a node, c < 0 is leaf ^c.
type split struct {
	column      int32
	left, right int32
	threshold   float32  // left if x <= threshold
	categories  []uint32 // bit set of the categories that go left; nil where the split is numerical
	missing     missingType
	defaultLeft bool    // the way of a missing value
	weight      float64 // the training's rows that came by
}

type leaf struct {
	value  float64
	weight float64
}

// missingType says which values of a column count as missing, as LightGBM numbers it.
type missingType uint8

const (
	missingNone missingType = iota // nothing does; NaN is read as 0
	missingZero                    // 0 and NaN
	missingNaN                     // NaN
)

// zeroThreshold is the largest magnitude that LightGBM takes for zero.
const zeroThreshold = 1e-35

// goesLeft is the split's decision on a cell.
func (s *split) goesLeft(x float32) bool {
	if s.categories != nil {
		return inCategorySet(s.categories, x)
	}
	if x != x || s.missing == missingZero && x >= -zeroThreshold && x <= zeroThreshold {
		if s.missing != missingNone {
			return s.defaultLeft
		}
		x = 0
	}
	return x <= s.threshold
}

// inCategorySet reports whether the set has the category x, which is cut to an integer. NaN and what is negative
// are in no set.
func inCategorySet(set []uint32, x float32) bool {
	if !(x > -1 && x < float32(32*len(set))) {
		return false
	}
	c := int(x)
	return set[c>>5]>>(c&31)&1 == 1
}

// floor32 is the largest float32 that is <= t, so that x <= floor32(t) is x <= t for every float32 x. As
// LightGBM's predictor reads x as 0 where it is tiny, a threshold among the tiny ones moves to their edge.
func floor32(t float64) float32 {
	f := float32(t)
	if float64(f) > t {
		f = math.Nextafter32(f, float32(math.Inf(-1)))
	}
	switch {
	case f >= 0 && f < zeroThreshold:
		f = zeroThreshold
	case f >= -zeroThreshold && f < 0:
		f = math.Nextafter32(-zeroThreshold, -1)
	}
	return f
}

// leafOf walks the row down the tree.
func (t *tree) leafOf(row []float32) *leaf {
	at := int32(0)
	if len(t.nodes) == 0 {
		at = ^at
	}
	for at >= 0 {
		n := &t.nodes[at]
		if n.goesLeft(row[n.column]) {
			at = n.left
		} else {
			at = n.right
		}
	}
	return &t.leaves[^at]
}

// Len returns how many trees there are.
func (t *GBDT) Len() int { return len(t.trees) }

// Score implements ranker.Blend, on several processors where there are many rows.
func (t *GBDT) Score(m *ranker.Matrix, out []float64) error {
	if err := t.checkShape(m); err != nil {
		return err
	}
	if len(out) != m.N {
		return fmt.Errorf("trees: room for %d scores, the matrix has %d rows", len(out), m.N)
	}
	parallel.Rows(m.N, minParallelRows, func(from, to int) { t.score(m, from, out[from:to]) })
	return nil
}

// minParallelRows are scored on one processor: to wake another would take longer.
const minParallelRows = 2 * blockRows

// score writes the scores of the rows from from on.
func (t *GBDT) score(m *ranker.Matrix, from int, out []float64) {
	s := t.scratchPool.Get().(*scratch)
	defer t.scratchPool.Put(s)
	t.program.score(s, m.Data[from*t.columns:(from+len(out))*t.columns], t.columns, out)
	for _, i := range t.program.walked {
		for row := range out {
			out[row] += t.trees[i].leafOf(m.Row(from + row)).value
		}
	}
}

func (t *GBDT) checkShape(m *ranker.Matrix) error {
	if len(m.Columns) != t.columns || len(m.Data) != m.N*t.columns {
		return fmt.Errorf("trees: a matrix of %d x %d with %d cells; the model reads %d columns", m.N, len(m.Columns), len(m.Data), t.columns)
	}
	return nil
}
