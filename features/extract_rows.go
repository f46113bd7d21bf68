package features

import (
	"relish/internal/parallel"
	"relish/ranker"
)

// ---- Step 3: fill the rows ----

// minRowsPerWorker is the number of rows below which waking another processor costs more than it
// saves. A row takes a few hundred nanoseconds.
const minRowsPerWorker = 400

// prepare computes what the rows of one request share.
func (c *compiledSchema) prepare(x *extraction) {
	for _, r := range c.priors {
		actions, shown := x.counters.layout.actionsAndImpressions(
			&x.counters.global, r.action, r.halfLife, x.now)
		x.priors = append(x.priors, newPrior(actions, shown))
	}
	x.clock = c.itemClock(x)
	x.template = append(x.template, c.missing...)
	for _, f := range c.requests {
		f.set(x, x.template[f.first:])
	}
	x.prepareItems(c)
	x.prepareTables(c)
	x.prepareFields(c)
}

// extract returns the matrix of the state columns, one row for each candidate, row-major. It fills
// one candidate after the other, so that a candidate's state enters the processor's caches once. It
// sets counts, which is aligned with the candidates.
func (c *compiledSchema) extract(x *extraction, counts []ranker.ItemCounts) []float32 {
	n := len(x.items)
	out := make([]float32, n*c.width)
	parallel.Rows(n, minRowsPerWorker, func(from, to int) {
		x.preload(from, to)
		var age lastAge
		for i := from; i < to; i++ {
			row := out[i*c.width : (i+1)*c.width]
			copy(row, x.template)
			c.fillContent(x, i, row)
			counts[i] = c.fillItem(x, i, row, &age)
			for k := range x.tables {
				x.tables[k].fill(x, i, row)
			}
			for k, f := range c.fields {
				f.fill(x, i, &x.fields[k], row)
			}
		}
	})
	return out
}

// fillContent sets the content columns of candidate i's row.
func (c *compiledSchema) fillContent(x *extraction, i int, row []float32) {
	content := x.contents[i]
	if content.Info == nil || len(c.content) == 0 {
		return
	}
	cells := content.cache.contentCells(c, content.Info)
	for _, r := range c.contentRuns {
		copy(row[r.to:r.to+r.width], cells[r.from:r.from+r.width])
	}
}

// missingCells returns n cells with the value NaN.
func missingCells(n int) []float32 {
	out := make([]float32, n)
	setMissing(out)
	return out
}

// setMissing sets cells to NaN.
func setMissing(cells []float32) {
	missing := float32(nan)
	for i := range cells {
		cells[i] = missing
	}
}
