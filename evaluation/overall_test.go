package evaluation_test

import (
	"math"
	"testing"

	"relish/evaluation"
)

func TestCoverage(t *testing.T) {
	c := evaluation.NewCoverage([]string{"a", "b", "c", "d"})
	if got := c.Share(); got != 0 {
		t.Errorf("without answers the coverage is %v, want 0", got)
	}
	c.Add([]string{"a", "b"})
	c.Add([]string{"b", "outside the catalogue"})
	c.Add(nil)
	if got := c.Share(); got != 0.5 {
		t.Errorf("two of four items: coverage %v", got)
	}
	if got := evaluation.NewCoverage(nil).Share(); !math.IsNaN(got) {
		t.Errorf("an empty catalogue has coverage %v, want NaN", got)
	}
}

func TestDiversity(t *testing.T) {
	vectors := [][]float32{{1, 0}, {0, 2}, {-3, 0}, nil, {0, 0}}
	cosine := evaluation.CosineDistance(vectors)
	tags := evaluation.JaccardDistance([][]string{{"x", "y"}, {"y", "z"}, {"x", "y"}, nil, nil})
	for _, c := range []struct {
		name     string
		n, k     int
		distance evaluation.Distance
		want     float64
	}{
		{"right angle", 2, 10, cosine, 1},
		{"three", 3, 10, cosine, (1 + 2 + 1) / 3.0}, // 90, 180 and 90 degrees
		{"cutoff 2", 3, 2, cosine, 1},
		{"a missing and a zero vector are left out", 5, 10, cosine, 4 / 3.0},
		{"one item", 1, 10, cosine, math.NaN()},
		{"one of three tags in common", 2, 10, tags, 2 / 3.0},
		{"three items", 3, 10, tags, (2/3.0 + 0 + 2/3.0) / 3},
		{"nothing in common with an item without tags", 4, 10, tags, (2/3.0 + 0 + 2/3.0 + 3) / 6},
		{"two items without tags are not counted", 5, 10, tags, (2/3.0 + 0 + 2/3.0 + 3 + 3) / 9},
	} {
		if got := evaluation.Diversity(c.n, c.k, c.distance); !near(got, c.want, 1e-6) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
