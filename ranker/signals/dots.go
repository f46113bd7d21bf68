package signals

import (
	"sync"
	"unsafe"

	"github.com/viterin/vek/vek32"
)

// Inner products of one vector with many rows make up most of the signals' work. Eight rows at a
// time read the vector once and wait for no sum, which takes half the time of eight calls of
// vek32.Dot. The sums have the same order, and so the same bits.

// rowSet is a set of vectors of one length, and the inner products with them.
type rowSet struct {
	length   int
	rows     []*float32 // the first number of each row
	products []float32
}

// rowSets keeps the memory of rowSets.
var rowSets = sync.Pool{New: func() any { return new(rowSet) }}

// newRowSet returns an empty set for vectors of the given length, above 0. Call free after use.
func newRowSet(length int) *rowSet {
	s := rowSets.Get().(*rowSet)
	s.length, s.rows = length, s.rows[:0]
	return s
}

// free gives the set's memory back. The set must not be used any more.
func (s *rowSet) free() {
	clear(s.rows) // do not keep the vectors
	rowSets.Put(s)
}

// add adds a row. It panics if the row has another length.
func (s *rowSet) add(row []float32) {
	if len(row) != s.length {
		panic("signals: vectors of different lengths")
	}
	s.rows = append(s.rows, &row[0])
}

// dots returns the inner products of x with the rows, in their order. They are valid until the next
// call.
func (s *rowSet) dots(x []float32) []float32 {
	if len(x) != s.length {
		panic("signals: vectors of different lengths")
	}
	if cap(s.products) < len(s.rows) {
		s.products = make([]float32, len(s.rows), 2*len(s.rows))
	}
	s.products = s.products[:len(s.rows)]
	rows, out := s.rows, s.products
	for hasDots && len(rows) >= minRows {
		if len(rows) >= 8 {
			dots8(&x[0], len(x), (*[8]*float32)(rows), (*[8]float32)(out))
			rows, out = rows[8:], out[8:]
			continue
		}
		var last [8]*float32
		var products [8]float32
		for i := range last {
			last[i] = rows[min(i, len(rows)-1)]
		}
		dots8(&x[0], len(x), &last, &products)
		copy(out, products[:])
		rows = nil
	}
	for i, row := range rows {
		out[i] = vek32.Dot(x, unsafe.Slice(row, s.length))
	}
	return s.products
}

// minRows is the number of rows from which dots8 is faster than products one by one, although it
// always computes eight.
const minRows = 4

// multiply writes y = M x for a matrix whose rows belong to outputs: len(y) x len(x), row-major.
func multiply(m, x, y []float32) { multiplyRows(m, len(x), x, y) }

// multiplyRows writes the inner products of x with len(y) rows to y. A row begins every stride
// numbers of m.
func multiplyRows(m []float32, stride int, x, y []float32) {
	i := 0
	for ; hasDots && i+8 <= len(y); i += 8 {
		_ = m[(i+7)*stride : (i+7)*stride+len(x)] // the last row is within m
		var rows [8]*float32
		for k := range rows {
			rows[k] = &m[(i+k)*stride]
		}
		dots8(&x[0], len(x), &rows, (*[8]float32)(y[i:]))
	}
	for ; i < len(y); i++ {
		y[i] = vek32.Dot(m[i*stride:i*stride+len(x)], x)
	}
}

// addTo adds the rows, each times its factor, to y, one after the other. The sums of many columns
// stay in registers, so that no row waits until the sum with the row before it is in memory.
func (s *rowSet) addTo(y, factors []float32) {
	if len(y) != s.length || len(factors) < len(s.rows) {
		panic("signals: vectors of different lengths")
	}
	if len(s.rows) == 0 {
		return
	}
	done := 0
	if hasAVX2 {
		addRows8(&y[0], len(y), &s.rows[0], &factors[0], len(s.rows))
		done = len(y) &^ 7
	}
	for i, row := range s.rows {
		for k, v := range unsafe.Slice(row, s.length)[done:] {
			y[done+k] += factors[i] * v
		}
	}
}

// addScaled adds s x to y, which has the same length.
func addScaled(y, x []float32, s float32) {
	if hasAVX2 && len(x) >= 8 {
		y = y[:len(x)]
		row := &x[0]
		addRows8(&y[0], len(x), &row, &s, 1)
		done := len(x) &^ 7
		x, y = x[done:], y[done:]
	}
	for i, v := range x {
		y[i] += s * v
	}
}
