package ranker

import (
	"math"
	"slices"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// Assemble makes the feature matrix of one request. It is the only code that does, online and in
// replay, so a model is trained on the same values that it is served.
//
// It takes over state.Columns, which holds the raw values from the feature store: a row for each of
// Request.Scored, so that within-list features are those of the whole scored list. blocks is
// aligned with signals: rows x the signal's columns, row-major; nil = all missing, and rows beyond
// a block are missing. Assemble writes the signals' and the request's own columns and finishes
// every feature: clamping, missing indicator, within-list transform, default. The matrix has a row
// for each of Request.Candidates.
func Assemble(
	schema *Schema, req *Request, state *RequestState, signals []Signal, blocks [][]float32,
) *Matrix {
	scored := req.Scored(schema)
	m := &Matrix{N: len(scored), Columns: schema.Columns(), Data: state.Columns}
	known := req.List.statsFor(schema)
	for i := range schema.features {
		f := &schema.features[i]
		first := schema.firstColumn[i]
		switch f.Kind {
		case KindSignal:
			m.fillSignal(f.Column, first, signals, blocks)
		case KindRetrieval:
			for row := range m.N {
				// A score of 0 is missing: the event log does not distinguish the two.
				if c := &scored[row]; c.HasScore && c.Score != 0 {
					m.Data[row*len(m.Columns)+first] = c.Score
				}
			}
		case KindPosition:
			// Serving decides the positions, so it cannot read them: every candidate has the first
			// one.
			for row := range m.N {
				m.Data[row*len(m.Columns)+first] = 0
			}
		}
		m.finishFeature(f, first, schema.width(i), scored, &known)
	}
	m.N = len(req.Candidates)
	m.Data = m.Data[:m.N*len(m.Columns)]
	return m
}

// fillSignal copies a signal's column into the matrix column at index to.
func (m *Matrix) fillSignal(column string, to int, signals []Signal, blocks [][]float32) {
	for k, s := range signals {
		names := s.Columns()
		from := slices.Index(names, column)
		if from < 0 || blocks[k] == nil {
			continue
		}
		for row := range len(blocks[k]) / len(names) {
			m.Data[row*len(m.Columns)+to] = blocks[k][row*len(names)+from]
		}
	}
}

// finishFeature applies the feature's options to its columns, from index first on. scored are the
// candidates of the rows. known has the statistics of the list if they were recorded.
func (m *Matrix) finishFeature(
	f *Feature, first, width int, scored []Candidate, known *listStats,
) {
	values := width // columns that hold values; the missing indicator follows them
	if f.Missing {
		values--
	}
	w := len(m.Columns)
	if f.Min != nil || f.Max != nil || f.Missing {
		m.clampColumns(f, first, width, values)
	}
	if f.WithinList != "" {
		m.withinList(f.WithinList, first, scored, known)
	}
	fill := canonicalNaN
	if f.Default != nil {
		fill = float32(*f.Default)
	}
	for row := range m.N {
		for i := range values {
			if cell := &m.Data[row*w+first+i]; isNaN(*cell) {
				*cell = fill
			}
		}
	}
}

// clampColumns clamps the values to the feature's range and sets the missing indicator to 1 in the
// rows without any value.
func (m *Matrix) clampColumns(f *Feature, first, width, values int) {
	w := len(m.Columns)
	for row := range m.N {
		cells := m.Data[row*w+first : row*w+first+width]
		missing := true
		for i, x := range cells[:values] {
			if isNaN(x) {
				continue
			}
			missing = false
			if f.Min != nil {
				x = max(x, float32(*f.Min))
			}
			if f.Max != nil {
				x = min(x, float32(*f.Max))
			}
			cells[i] = x
		}
		if f.Missing {
			cells[values] = 0
			if missing {
				cells[values] = 1
			}
		}
	}
}

// canonicalNaN is the only NaN that stands for "missing", so that equal matrices have equal bits.
var canonicalNaN = float32(math.NaN())

func isNaN(x float32) bool { return x != x }

// Row returns row i, which aliases Data.
func (m *Matrix) Row(i int) []float32 {
	w := len(m.Columns)
	return m.Data[i*w : (i+1)*w : (i+1)*w]
}

// Hash is HashRows for all rows.
func (m *Matrix) Hash(candidates []Candidate) uint64 {
	rows := make([]int, m.N)
	for i := range rows {
		rows[i] = i
	}
	return m.HashRows(candidates, rows)
}

// HashRows identifies some rows of the matrix, whatever their order. candidates are the items of
// all rows. Serving records it, and replay checks its own matrix against it.
//
// It is the sum, over the rows, of xxHash64 of the row's float32 bits, seeded by the item's id.
func (m *Matrix) HashRows(candidates []Candidate, rows []int) (sum uint64) {
	if len(m.Columns) == 0 {
		return 0
	}
	var d xxhash.Digest
	for _, i := range rows {
		row := m.Row(i)
		d.ResetWithSeed(xxhash.Sum64String(candidates[i].ID))
		_, _ = d.Write(unsafe.Slice((*byte)(unsafe.Pointer(&row[0])), 4*len(row)))
		sum += d.Sum64()
	}
	return sum
}

// withoutGroup returns a copy of the matrix with every column of the group missing.
func (m *Matrix) withoutGroup(group string) *Matrix {
	out := &Matrix{N: m.N, Columns: m.Columns, Data: slices.Clone(m.Data)}
	w := len(m.Columns)
	for c, col := range m.Columns {
		if col.Group != group {
			continue
		}
		for i := c; i < len(out.Data); i += w {
			out.Data[i] = canonicalNaN
		}
	}
	return out
}
