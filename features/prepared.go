package features

import (
	"sync/atomic"

	"relish/ranker"
)

// prepared is what follows from an item's content alone, so that it is found out once and not at each request. Both parts
// are made by the first read that wants them, and replaced as a whole: any number of reads may race for that, for they make
// the same.
type prepared struct {
	cells   atomic.Pointer[preparedCells]
	entries atomic.Pointer[preparedEntries]
}

// preparedCells are the cells of a program's fixed columns, one after the other.
type preparedCells struct {
	of    *program
	cells []float32
	other *preparedCells // of the program used before, which has no other: an experiment's two arms take turns
}

// preparedEntries are the tables' entries of an item's values, by counted field; nil for a value that has none.
type preparedEntries struct {
	of     *Counters
	made   uint64 // Tables.made at the time
	whole  bool   // none is nil: entries are never removed, so this then holds for good
	counts [][]*decayedCounts
}

// fixed is a feature whose columns follow from the item's content alone.
type fixed struct {
	at, width int
	fill      func(info *ranker.ItemInfo, row []float32)
}

// span is a run of neighbouring fixed columns: from in preparedCells, at in a row.
type span struct{ from, at, width int }

// fix sets candidate i's fixed columns in its row, which are missing so far.
func (p *program) fix(r *reader, i int, row []float32) {
	info, it := r.infos[i], r.items[i]
	if info == nil || len(p.fixed) == 0 {
		return
	}
	if info != it.Info { // the request says more of it
		for _, f := range p.fixed {
			f.fill(info, row[f.at:f.at+f.width])
		}
		return
	}
	cells := it.prepared.cellsOf(p, info)
	for _, s := range p.spans {
		copy(row[s.at:s.at+s.width], cells[s.from:s.from+s.width])
	}
}

// cellsOf returns the program's fixed cells, made if need be.
func (c *prepared) cellsOf(p *program, info *ranker.ItemInfo) []float32 {
	last := c.cells.Load()
	for x := last; x != nil; x = x.other {
		if x.of == p {
			return x.cells
		}
	}
	x := &preparedCells{of: p, cells: blank(p.fixedWidth)}
	at := 0
	for _, f := range p.fixed {
		f.fill(info, x.cells[at:at+f.width])
		at += f.width
	}
	if last != nil {
		x.other = &preparedCells{of: last.of, cells: last.cells}
	}
	c.cells.Store(x)
	return x.cells
}

// entries returns the tables' entries of candidate i's values of a counted field, aligned with r.values.
func (r *reader) entries(i, field int) []*decayedCounts {
	if values, ok := r.inline[i]; ok {
		return r.t.resolve(field, values[field])
	}
	it := r.items[i]
	if it.values == nil {
		return nil
	}
	e := it.prepared.entries.Load()
	if e == nil || e.of != r.t || !e.whole && e.made != r.t.created {
		e = r.t.prepare(it.values)
		it.prepared.entries.Store(e)
	}
	return e.counts[field]
}

func (t *Counters) prepare(values [][]fieldValue) *preparedEntries {
	e := &preparedEntries{of: t, made: t.created, whole: true, counts: make([][]*decayedCounts, len(values))}
	for field := range values {
		e.counts[field] = t.resolve(field, values[field])
		for _, c := range e.counts[field] {
			e.whole = e.whole && c != nil
		}
	}
	return e
}

func (t *Counters) resolve(field int, values []fieldValue) []*decayedCounts {
	if len(values) == 0 {
		return nil
	}
	out := make([]*decayedCounts, len(values))
	for k, v := range values {
		out[k] = t.values[field][v.Value()]
	}
	return out
}
