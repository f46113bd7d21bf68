package features

import (
	"sync/atomic"

	"relish/ranker"
)

// itemCache keeps between requests what depends on an item's content only. The first request that
// needs a part computes it and replaces the part as a whole. Concurrent requests may compute the
// same part, but they compute the same values, so the race is harmless.
type itemCache struct {
	cells  atomic.Pointer[cachedCells]
	counts atomic.Pointer[cachedCounts]
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

// cachedCounts are the counters of an item's field values: the entries of Counters, by counted
// field and aligned with Content.values. nil stands for a value without a counter.
type cachedCounts struct {
	counters *Counters
	created  uint32 // number of Counters.counted when this was computed
	// complete says that no entry is nil. It then stays valid, because counters are never removed.
	complete bool
	byField  [][]*decayedCounts
}

// valueCounts returns the counters of candidate i's values of a counted field, aligned with
// x.values.
func (x *extraction) valueCounts(i, field int) []*decayedCounts {
	if values, ok := x.inline[i]; ok {
		return x.counters.countsOf(field, values[field])
	}
	it := x.items[i]
	if it.values == nil {
		return nil
	}
	c := it.cache.counts.Load()
	if c == nil || c.counters != x.counters || !c.complete && c.created != x.counters.counted.n {
		c = x.counters.lookUpAll(it.values)
		it.cache.counts.Store(c)
	}
	return c.byField[field]
}

// lookUpAll returns the counters of an item's values.
func (t *Counters) lookUpAll(values [][]fieldValue) *cachedCounts {
	c := &cachedCounts{
		counters: t,
		created:  t.counted.n,
		complete: true,
		byField:  make([][]*decayedCounts, len(values)),
	}
	for field := range values {
		c.byField[field] = t.countsOf(field, values[field])
		for _, n := range c.byField[field] {
			c.complete = c.complete && n != nil
		}
	}
	return c
}

// countsOf returns the counters of values of one counted field, nil for a value without one.
func (t *Counters) countsOf(field int, values []fieldValue) []*decayedCounts {
	if len(values) == 0 {
		return nil
	}
	out := make([]*decayedCounts, len(values))
	for k, v := range values {
		out[k] = t.lookup(CounterKey{field, v.Value()})
	}
	return out
}
