package scorer

import (
	"fmt"
	"math"
)

// Bits of decision_type.
const (
	typeCategorical  = 1
	typeDefaultLeft  = 2
	typeMissingShift = 2 // two bits of missingType
)

// tree builds and checks one tree of the text. depth is the number of splits on its longest path.
func (f fields) tree(columns int) (t tree, depth int, err error) {
	n, err := f.integers("num_leaves", 1)
	if err != nil {
		return t, 0, err
	}
	if n[0] < 1 || n[0] > maxLeaves {
		return t, 0, fmt.Errorf("num_leaves is %d; it must be 1 to %d", n[0], maxLeaves)
	}
	if linear, ok := f["is_linear"]; ok && linear != "0" {
		return t, 0, fmt.Errorf(
			"is_linear is %.20q: linear trees cannot be served; train without linear_tree",
			linear,
		)
	}
	if t.leaves, err = f.leaves(n[0]); err != nil || n[0] == 1 {
		return t, 0, err
	}
	if t.nodes, err = f.nodes(n[0]-1, columns); err != nil {
		return t, 0, err
	}
	depth, err = t.check()
	return t, depth, err
}

// leaves reads n leaves.
func (f fields) leaves(n int) ([]leaf, error) {
	values, err := f.numbers("leaf_value", n)
	if err != nil {
		return nil, err
	}
	leaves := make([]leaf, n)
	for i, v := range values {
		if v-v != 0 {
			return nil, fmt.Errorf("leaf_value: value %d is %g; it must be finite", i, v)
		}
		leaves[i] = leaf{value: v, weight: 1}
	}
	if n == 1 {
		return leaves, nil // a single leaf may lack its count, and needs none
	}
	counts, err := f.counts("leaf_count", n)
	if err != nil {
		return nil, err
	}
	for i := range leaves {
		leaves[i].weight = counts[i]
	}
	return leaves, nil
}

// counts reads numbers of training rows. Explanations divide by them, so none may be 0.
func (f fields) counts(key string, n int) ([]float64, error) {
	counts, err := f.numbers(key, n)
	if err != nil {
		return nil, err
	}
	for i, c := range counts {
		if c <= 0 || math.IsInf(c, 1) {
			return nil, fmt.Errorf("%s: value %d is %g; it must be finite and above 0", key, i, c)
		}
	}
	return counts, nil
}

// nodes reads n splits of a matrix with the given number of columns.
func (f fields) nodes(n, columns int) ([]split, error) {
	var lists [4][]int
	for i, key := range []string{"split_feature", "decision_type", "left_child", "right_child"} {
		var err error
		if lists[i], err = f.integers(key, n); err != nil {
			return nil, err
		}
	}
	thresholds, err := f.numbers("threshold", n)
	if err != nil {
		return nil, err
	}
	counts, err := f.counts("internal_count", n)
	if err != nil {
		return nil, err
	}
	sets, err := f.categorySets()
	if err != nil {
		return nil, err
	}
	nodes := make([]split, n)
	for i := range nodes {
		column, kind := lists[0][i], lists[1][i]
		if column < 0 || column >= columns {
			return nil, fmt.Errorf(
				"split_feature: value %d is column %d, but there are %d columns",
				i,
				column,
				columns,
			)
		}
		if kind < 0 || kind > 15 || kind>>typeMissingShift > int(missingNaN) {
			return nil, fmt.Errorf("decision_type: value %d is %d, which is unknown", i, kind)
		}
		for k, key := range []string{"left_child", "right_child"} {
			if c := lists[2+k][i]; c < ^n || c >= n {
				return nil, fmt.Errorf("%s: value %d is %d, but there are %d nodes", key, i, c, n)
			}
		}
		s := split{
			column:      int32(column),
			left:        int32(lists[2][i]),
			right:       int32(lists[3][i]),
			threshold:   floor32(thresholds[i]),
			missing:     missingType(kind >> typeMissingShift),
			defaultLeft: kind&typeDefaultLeft != 0,
			weight:      counts[i],
		}
		if kind&typeCategorical != 0 {
			set := thresholds[i] // the index of a category set
			if set != float64(int(set)) || set < 0 || int(set) >= len(sets) {
				return nil, fmt.Errorf(
					"threshold: value %d is category set %g, but there are %d sets",
					i,
					set,
					len(sets),
				)
			}
			s.categories = sets[int(set)]
		}
		nodes[i] = s
	}
	return nodes, nil
}

// categorySets reads the bit sets of categorical splits.
func (f fields) categorySets() ([][]uint32, error) {
	n, err := f.integers("num_cat", 1)
	if err != nil || n[0] == 0 {
		return nil, err
	}
	if n[0] < 0 || n[0] >= maxLeaves {
		return nil, fmt.Errorf("num_cat is %d; it must be 0 to %d", n[0], maxLeaves-1)
	}
	bounds, err := f.integers("cat_boundaries", n[0]+1)
	if err != nil {
		return nil, err
	}
	if bounds[0] != 0 {
		return nil, fmt.Errorf("cat_boundaries begins with %d, not 0", bounds[0])
	}
	for i, to := range bounds[1:] {
		if to <= bounds[i] || to-bounds[i] > maxCategoryWords {
			return nil, fmt.Errorf(
				"cat_boundaries: set %d is from %d to %d; it must have 1 to %d words",
				i,
				bounds[i],
				to,
				maxCategoryWords,
			)
		}
	}
	words, err := f.integers("cat_threshold", bounds[n[0]])
	if err != nil {
		return nil, err
	}
	sets := make([][]uint32, n[0])
	for i := range sets {
		for k, w := range words[bounds[i]:bounds[i+1]] {
			if w != int(uint32(w)) {
				return nil, fmt.Errorf(
					"cat_threshold: value %d is %d, which does not fit 32 bits",
					bounds[i]+k,
					w,
				)
			}
			sets[i] = append(sets[i], uint32(w))
		}
	}
	return sets, nil
}

// check walks the tree from its root and returns its depth. Every node and leaf must be reached
// exactly once, which excludes cycles, shared subtrees and unreachable nodes.
func (t *tree) check() (depth int, err error) {
	type visit struct {
		at    int32
		depth int
	}
	nodes, leaves := make([]bool, len(t.nodes)), make([]bool, len(t.leaves))
	reached := 0
	for stack := []visit{{}}; len(stack) > 0; reached++ {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		depth = max(depth, v.depth)
		seen := &nodes
		at := v.at
		if at < 0 {
			seen, at = &leaves, ^at
		}
		if (*seen)[at] {
			return 0, fmt.Errorf(
				"left_child, right_child: child %d has two parents, so this is no tree",
				v.at,
			)
		}
		(*seen)[at] = true
		if v.depth > maxDepth {
			return 0, fmt.Errorf("a path has more than %d splits", maxDepth)
		}
		if v.at >= 0 {
			n := &t.nodes[at]
			stack = append(stack, visit{n.left, v.depth + 1}, visit{n.right, v.depth + 1})
		}
	}
	if all := len(nodes) + len(leaves); reached != all {
		return 0, fmt.Errorf(
			"left_child, right_child: the root reaches %d of %d nodes and leaves",
			reached,
			all,
		)
	}
	return depth, nil
}
