package evaluation

import (
	"math"

	"github.com/viterin/vek/vek32"
)

// Coverage counts which items of a catalogue are recommended at all: a ranker that shows everybody the
// same few scores low, however well it ranks. It is not safe for concurrent use.
type Coverage struct{ recommended map[string]bool }

// NewCoverage returns an empty count over the catalogue's items.
func NewCoverage(catalogue []string) *Coverage {
	c := &Coverage{recommended: make(map[string]bool, len(catalogue))}
	for _, id := range catalogue {
		c.recommended[id] = false
	}
	return c
}

// Add counts the first items of one answer. Items outside of the catalogue count nothing.
func (c *Coverage) Add(top []string) {
	for _, id := range top {
		if _, ok := c.recommended[id]; ok {
			c.recommended[id] = true
		}
	}
}

// Share returns the part of the catalogue that was in any answer (catalogue coverage: Ge,
// Delgado-Battenfeld and Jannach, Beyond accuracy, RecSys 2010), NaN for an empty catalogue.
func (c *Coverage) Share() float64 {
	n := 0.0
	for _, seen := range c.recommended {
		if seen {
			n++
		}
	}
	return n / float64(len(c.recommended))
}

// Distance says how far apart the items at places i and j of one answer are, NaN where it is unknown.
// It is symmetric.
type Distance func(i, j int) float64

// Diversity returns the mean distance over all pairs of the first k items of an answer of n (Smyth and
// McClave 2001; one minus the intra-list similarity of Ziegler et al., WWW 2005). Pairs of unknown
// distance are left out; NaN when none is left.
func Diversity(n, k int, distance Distance) float64 {
	pairs, sum := 0.0, 0.0
	for i := range min(n, k) {
		for j := range i {
			if d := distance(i, j); !math.IsNaN(d) {
				pairs++
				sum += d
			}
		}
	}
	return sum / pairs
}

// CosineDistance is one minus the cosine of the items' vectors, 0 to 2; NaN where one is missing or
// zero. Vectors are of one length and stay the caller's.
func CosineDistance(vectors [][]float32) Distance {
	return func(i, j int) float64 {
		a, b := vectors[i], vectors[j]
		if len(a) == 0 || len(b) == 0 {
			return math.NaN()
		}
		norm := float64(vek32.Norm(a)) * float64(vek32.Norm(b))
		if norm == 0 {
			return math.NaN()
		}
		return 1 - min(max(float64(vek32.Dot(a, b))/norm, -1), 1)
	}
}

// JaccardDistance is one minus the share of common values among all values of two items, such as their
// tags or genres, 0 to 1; NaN where both have none. A value is listed once per item.
func JaccardDistance(sets [][]string) Distance {
	return func(i, j int) float64 {
		a := make(map[string]bool, len(sets[i]))
		for _, v := range sets[i] {
			a[v] = true
		}
		common := 0
		for _, v := range sets[j] {
			if a[v] {
				common++
			}
		}
		return 1 - float64(common)/float64(len(sets[i])+len(sets[j])-common)
	}
}
