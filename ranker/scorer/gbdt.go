package scorer

import (
	"fmt"
	"math"
	"sync"

	"relish/internal/parallel"
	"relish/ranker"
)

// GBDT is a trained scorer: gradient-boosted regression trees as LightGBM writes them.
// ParseLightGBM reads them. A score is the sum of one leaf of each tree, before any sigmoid. It is
// immutable and safe for concurrent use.
//
// At each split a missing cell (NaN) goes the way that training chose for it. A matrix with whole
// groups of columns missing is therefore scored like any other.
type GBDT struct {
	columns       int
	trees         []tree
	base          float64 // mean score of the training rows
	maxPathLength int     // splits
	program       *program
	scratchPool   sync.Pool // of *scratch, for Score
	pathPool      sync.Pool // of *[]pathElement, for Explain
}

var _ ranker.Scorer = (*GBDT)(nil)

// tree is one tree of the model, checked: node 0 is the root, and every node and leaf is reached
// from it exactly once. A tree of a single leaf has no nodes.
type tree struct {
	nodes  []split
	leaves []leaf
}

// split sends a row to its left or right child. A child c >= 0 is a node, c < 0 is leaf ^c.
type split struct {
	column      int32
	left, right int32
	threshold   float32  // left if x <= threshold
	categories  []uint32 // bit set of the categories that go left; nil if the split is numerical
	missing     missingType
	defaultLeft bool    // a missing value goes left
	weight      float64 // training rows that passed the node
}

type leaf struct {
	value  float64
	weight float64 // training rows that ended here
}

// missingType says which values of a column count as missing, by LightGBM's numbers.
type missingType uint8

const (
	missingNone missingType = iota // none; NaN is read as 0
	missingZero                    // 0 and NaN
	missingNaN                     // NaN
)

// zeroThreshold is the largest magnitude that LightGBM takes for zero (kZeroThreshold).
const zeroThreshold = 1e-35

// goesLeft reports whether the split sends a row with this cell to the left.
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

// inCategorySet reports whether the set has category x, truncated to an integer. NaN and negative
// values are in no set.
func inCategorySet(set []uint32, x float32) bool {
	if !(x > -1 && x < float32(32*len(set))) {
		return false
	}
	c := int(x)
	return set[c>>5]>>(c&31)&1 == 1
}

// floor32 returns the largest float32 that is <= t, so that x <= floor32(t) is x <= t for every
// float32 x. LightGBM's predictor reads values within zeroThreshold as 0, so a threshold within it
// moves to its edge.
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

// Len returns the number of trees.
func (t *GBDT) Len() int { return len(t.trees) }

// minParallelRows is the least number of rows that each processor scores. For fewer, waking another
// processor takes longer than scoring.
const minParallelRows = 2 * blockRows

// Score implements ranker.Scorer. It uses several processors if there are many rows and a processor
// is idle.
func (t *GBDT) Score(m *ranker.Matrix, out []float64) error {
	if err := t.checkShape(m); err != nil {
		return err
	}
	if len(out) != m.N {
		return fmt.Errorf("gbdt: out has length %d, but the matrix has %d rows", len(out), m.N)
	}
	if m.N < 2*minParallelRows || !parallel.HasIdle() {
		t.score(m, 0, out)
		return nil
	}
	parallel.Rows(m.N, minParallelRows, func(from, to int) { t.score(m, from, out[from:to]) })
	return nil
}

// InMemory implements ranker.InMemory.
func (*GBDT) InMemory() bool { return true }

// score writes the scores of len(out) rows, starting with row from.
func (t *GBDT) score(m *ranker.Matrix, from int, out []float64) {
	s := t.scratchPool.Get().(*scratch)
	defer t.scratchPool.Put(s)
	t.program.score(s, m.Data[from*t.columns:(from+len(out))*t.columns], t.columns, out)
	for _, i := range t.program.largeTrees {
		for row := range out {
			out[row] += t.trees[i].leafOf(m.Row(from + row)).value
		}
	}
}

func (t *GBDT) checkShape(m *ranker.Matrix) error {
	if len(m.Columns) != t.columns || len(m.Data) != m.N*t.columns {
		return fmt.Errorf(
			"gbdt: the matrix is %d x %d with %d cells, but the model reads %d columns",
			m.N,
			len(m.Columns),
			len(m.Data),
			t.columns,
		)
	}
	return nil
}
