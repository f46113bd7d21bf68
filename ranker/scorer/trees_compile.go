package scorer

import (
	"cmp"
	"maps"
	"math"
	"math/bits"
	"slices"
)

// A program evaluates the trees bit-sliced: it takes 64 rows at a time, and a bit of a word is a row.
//
//  1. Every distinct question of the model (is column c <= t? is it in this set?) is answered once for the
//     64 rows, as a word. The thresholds of a column are sorted, so a row's answers follow from its place
//     among them: mark each row at its place, then OR the marks upwards.
//  2. A tree is walked by all rows at once: the rows at a node AND the answer are the rows at its left
//     child, the others are at the right one. The leaves, numbered from left to right, then give the bits
//     of each row's leaf number.
//  3. The bits are spread to a byte a row, and the byte picks the leaf's value out of a table. Small trees
//     share a byte, and a table of the sums of their leaves.
//
// What a tree costs is a few word operations per node for 64 rows, with nothing to predict for a branch.
// Answering questions once is RapidScorer's (Ye et al. 2018), rows as bits are QuickScorer's bit vectors
// (Lucchese et al. 2015) turned around.
type program struct {
	thresholdSets []thresholdSet
	categorySets  []categorySet
	answerWords   int // answers of a block
	groups        []group
	tables        []float64 // of all groups, one after the other, and room to read a whole table at the last
	constant      float64   // the trees of a single leaf
	walked        []int     // trees that are too large for this
}

// Limits of a program's parts.
const (
	maxSliced  = 128 // leaves of a tree, so that a byte numbers its nodes and leaves
	sharedBits = 6   // leaf numbers of several trees share a table up to this size
)

// thresholdSet is thresholds of one column, at most maxKeys: its answers are the words from first, one per
// threshold, for missing values going right, and from left for missing values going left.
type thresholdSet struct {
	column      int
	missing     missingType
	first, left int // left < 0: nobody asks
	count       int
	keys        *[2 * (maxKeys + 1)]int32 // the thresholds, sorted, from 1 on, then the largest key
	begin       *[1 << (32 - beginShift)]uint8
	half        uint // begin plus a search by steps of half, half/2, ..., 1 finds every place
}

const (
	maxKeys    = 255 // more thresholds of a column are further numerics
	beginShift = 20  // sign, exponent and three bits of a float32
)

// categorySet is one categorical question; its answer is word first.
type categorySet struct {
	column int
	bits   []uint32
	first  int
}

// group is trees whose leaf numbers together have bits bits, the first tree's the highest.
type group struct {
	trees []slicedTree
	bits  int
	table int // in program.tables
}

// slicedTree is a tree as word operations. The nodes come parents first; node i is in slot maxSliced+i, the
// leaves are in the slots from 0 by their number, width (a power of two) in all.
type slicedTree struct {
	nodes []nodeOp
	width int
	bits  int
}

// nodeOp is one node: the left child's slot, the right one's, and from bit opAnswer the word that answers it.
type nodeOp uint64

const answerShift = 16

// orderedKey maps a float32 to an int32 of the same order. No NaN has a key; largestKey is above all.
func orderedKey(x float32) int32 {
	b := int32(math.Float32bits(x))
	return b ^ b>>31&math.MaxInt32
}

const largestKey = math.MaxInt32

// columnKey names a numeric column with a kind of missing.
type columnKey struct {
	column  int32
	missing missingType
}

// compiler gathers the questions first, so that their words can be numbered.
type compiler struct {
	program
	thresholds  map[columnKey][]int32
	missingLeft map[columnKey]bool
	firstSet    map[columnKey]int // the first in program.numeric
}

func compile(trees []tree, columns int) *program {
	c := &compiler{thresholds: map[columnKey][]int32{}, missingLeft: map[columnKey]bool{}, firstSet: map[columnKey]int{}}
	var fit []int
	for i := range trees {
		switch n := len(trees[i].leaves); {
		case n == 1:
			c.constant += trees[i].leaves[0].value
		case n > maxSliced:
			c.walked = append(c.walked, i)
		default:
			fit = append(fit, i)
			c.gather(&trees[i])
		}
	}
	c.number()
	for _, i := range fit {
		c.add(&trees[i])
	}
	c.tables = append(c.tables, make([]float64, 1<<8)...)
	return &c.program
}

func (s *split) columnKey() columnKey { return columnKey{s.column, s.missing} }

func (c *compiler) gather(t *tree) {
	for i := range t.nodes {
		if s := &t.nodes[i]; s.categories == nil {
			q := s.columnKey()
			c.thresholds[q] = append(c.thresholds[q], orderedKey(s.threshold))
			c.missingLeft[q] = c.missingLeft[q] || s.defaultLeft && s.missing != missingNone
		}
	}
}

// number gives the numeric questions their words, by column.
func (c *compiler) number() {
	questions := slices.SortedFunc(maps.Keys(c.thresholds), func(a, b columnKey) int {
		return cmp.Or(cmp.Compare(a.column, b.column), cmp.Compare(a.missing, b.missing))
	})
	for _, q := range questions {
		keys := c.thresholds[q]
		slices.Sort(keys)
		keys = slices.Compact(keys)
		c.thresholds[q] = keys
		c.firstSet[q] = len(c.thresholdSets)
		for part := range slices.Chunk(keys, maxKeys) {
			n := newNumeric(part)
			n.column, n.missing = int(q.column), q.missing
			n.first, n.left = c.answerWords, -1
			c.answerWords += n.count + 1 // the last one takes the marks of rows above all thresholds
			if c.missingLeft[q] {
				n.left = c.answerWords
				c.answerWords += n.count
			}
			c.thresholdSets = append(c.thresholdSets, n)
		}
	}
}

// newNumeric makes the tables that the thresholds are searched by.
func newNumeric(keys []int32) thresholdSet {
	n := thresholdSet{count: len(keys)}
	n.keys, n.begin = new([2 * (maxKeys + 1)]int32), new([1 << (32 - beginShift)]uint8)
	for i := 1 + copy(n.keys[1:], keys); i < len(n.keys); i++ {
		n.keys[i] = largestKey
	}
	most := 0
	for b := range n.begin {
		low := int32(b << beginShift) // the smallest key with these first bits
		from, _ := slices.BinarySearch(keys, low)
		to, found := slices.BinarySearch(keys, low|(1<<beginShift-1))
		if found {
			to++
		}
		n.begin[b] = uint8(from)
		most = max(most, to-from)
	}
	n.half = 1 << bits.Len(uint(most)) / 2
	return n
}

// answer returns the word that answers the split, a new one for a categorical split.
func (c *compiler) answer(s *split) nodeOp {
	if s.categories != nil {
		c.categorySets = append(c.categorySets, categorySet{int(s.column), s.categories, c.answerWords})
		c.answerWords++
		return nodeOp(c.answerWords - 1)
	}
	q := s.columnKey()
	place, _ := slices.BinarySearch(c.thresholds[q], orderedKey(s.threshold))
	n := &c.thresholdSets[c.firstSet[q]+place/maxKeys]
	if s.defaultLeft && s.missing != missingNone {
		return nodeOp(n.left + place%maxKeys)
	}
	return nodeOp(n.first + place%maxKeys)
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

// slice numbers nodes and leaves in the order of a walk that goes left first, and returns the values by
// leaf number, filled up with zeros to the tree's width.
func (c *compiler) slice(t *tree) (s slicedTree, values []float64) {
	var walk func(at int32) uint8
	walk = func(at int32) uint8 {
		if at < 0 {
			values = append(values, t.leaves[^at].value)
			return uint8(len(values) - 1)
		}
		i := len(s.nodes)
		n := &t.nodes[at]
		s.nodes = append(s.nodes, c.answer(n)<<answerShift)
		s.nodes[i] |= nodeOp(walk(n.left))
		s.nodes[i] |= nodeOp(walk(n.right)) << 8
		return uint8(maxSliced + i)
	}
	walk(0)
	s.bits = bits.Len(uint(len(values) - 1))
	s.width = 1 << s.bits
	return s, append(values, make([]float64, s.width-len(values))...)
}
