package scorer

import (
	"cmp"
	"maps"
	"math"
	"math/bits"
	"slices"
)

// program evaluates the trees bit-sliced. It takes a block of 64 rows at a time, and each bit of a
// 64-bit mask is a row.
//
//  1. Every distinct condition of the model (is column c <= t? is it in this category set?) is
//     evaluated once for the block, as a mask. The thresholds of a column are sorted, so a row's
//     masks follow from the number of thresholds below its value: set the row's bit there, then OR
//     the masks upwards.
//  2. All rows walk a tree at once. The rows at a node AND the condition's mask are the rows at its
//     left child; the others are at the right one. The leaves are numbered from left to right, and
//     the rows at the leaves give the bits of each row's leaf number.
//  3. The bits are spread to one byte for each row, and the byte selects the leaf's value in a
//     table. Small trees share a byte, and a table of the sums of their leaves.
//
// A node costs a few word operations for 64 rows and no branch that depends on data. Evaluating
// each condition once is RapidScorer's idea (Ye et al. 2018). Rows as bits are QuickScorer's bit
// vectors (Lucchese et al. 2015) transposed.
type program struct {
	thresholdSets []thresholdSet
	categorySets  []categorySet
	masks         int // of a block
	groups        []group
	// tables holds the groups' tables, one after the other. 256 zeros follow, because each read
	// takes 256 values.
	tables     []float64
	constant   float64 // sum of the trees of a single leaf
	largeTrees []int   // indices of trees that are too large to slice; rows walk them one by one
}

// Limits of a program's parts.
const (
	maxSliced  = 128 // leaves of a sliced tree, so that a byte numbers its nodes and leaves
	sharedBits = 6   // leaf numbers of several trees share a table up to this many bits
	maxKeys    = 248 // thresholds of a thresholdSet; a column with more has several sets
	keySlots   = 512 // memory for them and for the steps of a search
)

// thresholdSet holds thresholds of one column, and evaluates x <= threshold for each of them.
type thresholdSet struct {
	column    int
	missing   missingType
	firstMask int // one mask for each threshold, with missing values going right
	// firstMaskLeft is the same with missing values going left; -1 if no split sends them left.
	firstMaskLeft int
	count         int
	// keys[1:1+count] holds the sorted thresholds' orderedKeys; largestKey fills the rest.
	keys *[keySlots]int32
	// begin maps the first bits of a key to the number of thresholds that are certainly below it.
	// From there, a binary search with steps of half, half/2, ..., 1 finds the exact number.
	begin      *[1 << (32 - beginShift)]uint8
	half       uint
	thresholds []float32 // see searchKeys; empty without the vector path
}

// beginShift leaves sign, exponent and three bits of the fraction of a float32.
const beginShift = 20

// categorySet is the condition that a column's category is in a set.
type categorySet struct {
	column int
	bits   []uint32
	mask   int
}

// group is trees whose leaf numbers together fit a byte. The first tree's number has the highest
// bits.
type group struct {
	trees []slicedTree
	bits  int
	table int // start in program.tables
}

// slicedTree is a tree as word operations on slots. Leaf i has slot i, and there are width slots of
// leaves, a power of two. Node i has slot maxSliced+i. Parents come before their children.
type slicedTree struct {
	nodes  []nodeOp
	width  int
	bits   int
	vector vectorTree // empty without the vector path
}

// nodeOp is one node: its left child's slot in bits 0 to 7, its right child's in bits 8 to 15, and
// its condition's mask from bit maskShift on.
type nodeOp uint64

const maskShift = 16

// orderedKey maps a float32 to an int32 of the same order. No NaN has a key; largestKey is above
// all.
func orderedKey(x float32) int32 {
	b := int32(math.Float32bits(x))
	return b ^ b>>31&math.MaxInt32
}

const largestKey = math.MaxInt32

// ofOrderedKey is the inverse of orderedKey.
func ofOrderedKey(k int32) float32 {
	return math.Float32frombits(uint32(k ^ k>>31&math.MaxInt32))
}

// columnKey is a numeric column read with one kind of missing values.
type columnKey struct {
	column  int32
	missing missingType
}

func (s *split) columnKey() columnKey { return columnKey{s.column, s.missing} }

// compiler collects all thresholds first, so that their masks can be numbered.
type compiler struct {
	program
	thresholds  map[columnKey][]int32 // orderedKeys
	missingLeft map[columnKey]bool    // some split sends missing values left
	firstSet    map[columnKey]int     // index into thresholdSets
	// firstCategoryMask is the mask of the first category set. The others follow.
	firstCategoryMask int
}

func compile(trees []tree) *program {
	c := &compiler{
		thresholds:  map[columnKey][]int32{},
		missingLeft: map[columnKey]bool{},
		firstSet:    map[columnKey]int{},
	}
	var sliced []int
	for i := range trees {
		switch n := len(trees[i].leaves); {
		case n == 1:
			c.constant += trees[i].leaves[0].value
		case n > maxSliced:
			c.largeTrees = append(c.largeTrees, i)
		default:
			sliced = append(sliced, i)
			c.collect(&trees[i])
		}
	}
	c.numberMasks()
	for _, i := range sliced {
		c.add(&trees[i])
	}
	c.tables = append(c.tables, make([]float64, 1<<8)...)
	return &c.program
}

// collect notes the thresholds of a tree.
func (c *compiler) collect(t *tree) {
	for i := range t.nodes {
		if s := &t.nodes[i]; s.categories == nil {
			k := s.columnKey()
			c.thresholds[k] = append(c.thresholds[k], orderedKey(s.threshold))
			c.missingLeft[k] = c.missingLeft[k] || s.defaultLeft && s.missing != missingNone
		}
	}
}

// numberMasks makes the threshold sets, by column, and numbers their masks.
func (c *compiler) numberMasks() {
	columns := slices.SortedFunc(maps.Keys(c.thresholds), func(a, b columnKey) int {
		return cmp.Or(cmp.Compare(a.column, b.column), cmp.Compare(a.missing, b.missing))
	})
	for _, k := range columns {
		keys := c.thresholds[k]
		slices.Sort(keys)
		keys = slices.Compact(keys)
		c.thresholds[k] = keys
		c.firstSet[k] = len(c.thresholdSets)
		for chunk := range slices.Chunk(keys, maxKeys) {
			s := newThresholdSet(chunk)
			s.column, s.missing = int(k.column), k.missing
			s.firstMask, s.firstMaskLeft = c.masks, -1
			c.masks += s.count + 1 // the last one holds the rows above all thresholds
			if c.missingLeft[k] {
				s.firstMaskLeft = c.masks
				c.masks += s.count
			}
			c.thresholdSets = append(c.thresholdSets, s)
		}
	}
	c.firstCategoryMask = c.masks
}

// newThresholdSet prepares the search among the keys.
func newThresholdSet(keys []int32) thresholdSet {
	s := thresholdSet{count: len(keys)}
	if useVectors {
		s.thresholds = searchKeys(keys)
	}
	s.keys, s.begin = new([keySlots]int32), new([1 << (32 - beginShift)]uint8)
	for i := 1 + copy(s.keys[1:], keys); i < len(s.keys); i++ {
		s.keys[i] = largestKey
	}
	most := 0
	for b := range s.begin {
		lowest := int32(b << beginShift) // the smallest key with these first bits
		from, _ := slices.BinarySearch(keys, lowest)
		to, found := slices.BinarySearch(keys, lowest|(1<<beginShift-1))
		if found {
			to++
		}
		s.begin[b] = uint8(from)
		most = max(most, to-from)
	}
	s.half = 1 << bits.Len(uint(most)) / 2
	return s
}

// mask returns the mask of the split's condition. A categorical split gets a new one.
func (c *compiler) mask(s *split) nodeOp {
	if s.categories != nil {
		c.categorySets = append(c.categorySets, categorySet{int(s.column), s.categories, c.masks})
		c.masks++
		return nodeOp(c.masks - 1)
	}
	k := s.columnKey()
	i, _ := slices.BinarySearch(c.thresholds[k], orderedKey(s.threshold))
	set := &c.thresholdSets[c.firstSet[k]+i/maxKeys]
	if s.defaultLeft && s.missing != missingNone {
		return nodeOp(set.firstMaskLeft + i%maxKeys)
	}
	return nodeOp(set.firstMask + i%maxKeys)
}

// add compiles a tree and puts it into the last group if it fits there, else into a new one.
func (c *compiler) add(t *tree) {
	s, values := c.slice(t)
	if n := len(c.groups); n > 0 && c.groups[n-1].bits+s.bits <= sharedBits {
		g := &c.groups[n-1]
		old := slices.Clone(c.tables[g.table:])
		c.tables = c.tables[:g.table]
		for _, o := range old {
			for _, v := range values {
				c.tables = append(c.tables, o+v)
			}
		}
		g.trees = append(g.trees, s)
		g.bits += s.bits
		return
	}
	c.groups = append(c.groups, group{trees: []slicedTree{s}, bits: s.bits, table: len(c.tables)})
	c.tables = append(c.tables, values...)
}

// slice compiles a tree. It numbers nodes and leaves in the order of a walk that goes left first,
// and returns the leaf values by number, padded with zeros to the tree's width.
func (c *compiler) slice(t *tree) (s slicedTree, values []float64) {
	var walk func(at int32) uint8
	walk = func(at int32) uint8 {
		if at < 0 {
			values = append(values, t.leaves[^at].value)
			return uint8(len(values) - 1)
		}
		i := len(s.nodes)
		n := &t.nodes[at]
		s.nodes = append(s.nodes, c.mask(n)<<maskShift)
		s.nodes[i] |= nodeOp(walk(n.left))
		s.nodes[i] |= nodeOp(walk(n.right)) << 8
		return uint8(maxSliced + i)
	}
	walk(0)
	s.bits = bits.Len(uint(len(values) - 1))
	s.width = 1 << s.bits
	if useVectors {
		s.vector = c.vectorTree(s, values)
	}
	return s, append(values, make([]float64, s.width-len(values))...)
}
