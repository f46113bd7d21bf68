//go:build !race

// The race detector drops entries of sync.Pool at random, so allocations are counted without it.

package signals

import (
	"math/rand/v2"
	"testing"
)

// Products of pooled sets allocate nothing.
func TestDotsAllocations(t *testing.T) {
	rows := randomVectors(rand.New(rand.NewPCG(3, 3)), 20, 64)
	sum := float32(0)
	allocations := testing.AllocsPerRun(100, func() {
		set := newRowSet(64)
		for _, row := range rows {
			set.add(row)
		}
		sum += set.dots(rows[0])[3]
		set.free()
	})
	if allocations > 0.5 { // the pool may be emptied meanwhile
		t.Errorf("%v allocations", allocations)
	}
}
