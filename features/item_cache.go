package features

import (
	"sync/atomic"

	"relish/ranker"
)

// lastTwo keeps the last two values that were put into it. It is safe for concurrent use: of values
// that are put at the same time, one may be lost.
type lastTwo[T any] [2]atomic.Pointer[T]

// find returns a kept value that fits, nil if none does.
func (l *lastTwo[T]) find(fits func(*T) bool) *T {
	for i := range l {
		if v := l[i].Load(); v != nil && fits(v) {
			return v
		}
	}
	return nil
}

func (l *lastTwo[T]) put(v *T) {
	l[1].Store(l[0].Load())
	l[0].Store(v)
}

// itemCache keeps between requests what was computed of an item. The first request that needs a
// part computes it and replaces the part as a whole. Concurrent requests may compute the same part,
// but they compute the same values, so the race is harmless.
type itemCache struct {
	cells atomic.Pointer[cachedCells]
	ids   atomic.Pointer[valueIDs]
	row   atomic.Pointer[itemRow]
}

// cachedCells are the content cells of an item for one schema, feature after feature.
type cachedCells struct {
	schema *compiledSchema
	cells  []float32
	// previous belongs to the schema that was used before, and has no previous itself. Two entries
	// suffice because the two arms of an experiment alternate.
	previous *cachedCells
}

// contentCells returns the content cells of the schema.
func (c *itemCache) contentCells(schema *compiledSchema, info *ranker.ItemInfo) []float32 {
	last := c.cells.Load()
	for x := last; x != nil; x = x.previous {
		if x.schema == schema {
			return x.cells
		}
	}
	x := &cachedCells{schema: schema, cells: missingCells(schema.contentWidth)}
	at := 0
	for _, f := range schema.content {
		f.fill(info, x.cells[at:at+f.width])
		at += f.width
	}
	if last != nil {
		x.previous = &cachedCells{schema: last.schema, cells: last.cells}
	}
	c.cells.Store(x)
	return x.cells
}
