package features

import (
	"math"
	"slices"

	"relish/ranker"
)

// The ages, counts and rates of an item are computed when a request first needs them, and kept with
// the item for all requests of one itemClock. Of an item that nobody has seen, nothing is kept: all
// such items have the same counts and rates, and its age is one logarithm.

// itemFeature computes one cell of an item.
type itemFeature struct {
	counter  counterFeature
	isAge    bool
	ageField string // "": the age since the item's first event
	sameAs   int    // index of an earlier feature with the same cells, -1 if there is none
}

func (f *itemFeature) equals(other itemFeature) bool {
	return f.counter == other.counter && f.isAge == other.isAge && f.ageField == other.ageField
}

// itemClock is what the cells of all items depend on: the clock and the priors. Two requests with
// the same ones share an itemClock, so that kept rows can be told by its address.
type itemClock struct {
	schema *compiledSchema
	now    int64
	priors []prior
}

// itemClock returns the clock of a request.
func (c *compiledSchema) itemClock(x *extraction) *itemClock {
	k := c.clocks.find(func(k *itemClock) bool {
		return k.now == x.now && slices.Equal(k.priors, x.priors)
	})
	if k == nil {
		k = &itemClock{schema: c, now: x.now, priors: slices.Clone(x.priors)}
		c.clocks.put(k)
	}
	return k
}

// itemRow is what is kept of an item for the requests of one clock. It is immutable. newItemRow
// makes it in one block of memory, because a request reads those of all candidates.
type itemRow struct {
	clock   *itemClock
	item    *ItemState
	version uint32 // ItemState.version when it was computed
	counts  ranker.ItemCounts
	cells   []float32
	// previous belongs to the schema that was used before, and has no previous itself, as in
	// cachedCells.
	previous *itemRow
}

// versionOfColdStart is the version of an item's state that a single request uses.
const versionOfColdStart = ^uint32(0)

// fillItem sets the columns of candidate i's ages, counts and rates. It returns the item's counts.
// row has those of an item without counts already.
func (c *compiledSchema) fillItem(x *extraction, i int, row []float32, age *lastAge) (
	counts ranker.ItemCounts,
) {
	if it := x.items[i]; it.counts.values == nil && !c.agesOfContent {
		if len(c.ages) > 0 && it != &unknownItem {
			cell := age.cell(x.now, it.first)
			for _, column := range c.ages {
				row[column] = cell
			}
		}
		return counts
	}
	kept := c.itemRow(x, i)
	for _, r := range c.itemRuns {
		copy(row[r.to:r.to+r.width], kept.cells[r.from:r.from+r.width])
	}
	return kept.counts
}

// prepareItems sets the cells of an item without counts.
func (x *extraction) prepareItems(c *compiledSchema) {
	for _, r := range c.itemRuns {
		for k := range r.width {
			if f := &c.items[r.from+k]; !f.isAge {
				x.template[r.to+k] = float32(f.counter.numberOf(0, 0, x.prior(&f.counter)))
			}
		}
	}
}

// lastAge keeps the age that was computed last. The items of one import often have the same time.
type lastAge struct {
	at    int64
	age   float32
	known bool
}

// cell returns ageCell(now, at). now must be the same at each call.
func (l *lastAge) cell(now, at int64) float32 {
	if !l.known || l.at != at {
		*l = lastAge{at, ageCell(now, at), true}
	}
	return l.age
}

// itemRow returns the row of candidate i, from its content's cache if it is there.
func (c *compiledSchema) itemRow(x *extraction, i int) *itemRow {
	it, content := x.items[i], x.contents[i]
	keep := content.cache != nil && it.version != versionOfColdStart
	if !keep {
		return c.newItemRow(x, it, content)
	}
	last := content.cache.row.Load()
	for r := last; r != nil; r = r.previous {
		if r.clock == x.clock && r.item == it && r.version == it.version {
			return r
		}
	}
	r := c.newItemRow(x, it, content)
	switch {
	case last == nil:
	case last.clock.schema == c:
		r.previous = last.previous
	default:
		previous := *last
		previous.previous = nil
		r.previous = &previous
	}
	content.cache.row.Store(r)
	return r
}

func (c *compiledSchema) newItemRow(x *extraction, it *ItemState, content *Content) *itemRow {
	r := blankItemRow(len(c.items))
	r.clock, r.item, r.version = x.clock, it, it.version
	layout := &x.counters.layout
	r.counts.Actions, r.counts.Shown = layout.actionsAndImpressions(
		&it.counts, anyAction, layout.allTime, x.now)
	var decay [maxHalfLives]float64
	if it.counts.values != nil {
		for h := range layout.rates {
			decay[h] = layout.decay(&it.counts, h, x.now)
		}
	}
	for k := range c.items {
		switch f := &c.items[k]; {
		case f.sameAs >= 0:
			r.cells[k] = r.cells[f.sameAs]
		case f.isAge:
			if at, known := it.timeOf(f.ageField, content); known {
				r.cells[k] = ageCell(x.now, at)
			}
		case it.counts.values == nil:
			r.cells[k] = float32(f.counter.numberOf(0, 0, x.prior(&f.counter)))
		default:
			r.cells[k] = float32(f.counter.decayed(
				x, &it.counts, decay[f.counter.halfLife], x.prior(&f.counter)))
		}
	}
	return r
}

// blankItemRow returns a row of n missing cells. Most rows have room in the same block of memory.
func blankItemRow(n int) *itemRow {
	x := &struct {
		itemRow
		memory [22]float32
	}{}
	x.cells = x.memory[:0]
	if n > len(x.memory) {
		x.cells = make([]float32, 0, n)
	}
	x.cells = x.cells[:n]
	setMissing(x.cells)
	return &x.itemRow
}

// timeOf returns a time field of the item's content, without a name the time of the item's first
// event. Unix ms.
func (it *ItemState) timeOf(field string, content *Content) (at int64, known bool) {
	if field == "" {
		return it.first, it != &unknownItem
	}
	if content.Info == nil {
		return 0, false
	}
	v, ok := fieldOf(content.Info, field)
	if !ok {
		return 0, false
	}
	return millisOf(v)
}

// ageCell returns log1p of the hours from at to now, Unix ms.
func ageCell(now, at int64) float32 {
	return float32(math.Log1p(max(0, float64(now-at)) / millisPerHour))
}
