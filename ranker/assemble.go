package ranker

import (
	"cmp"
	"math"
	"slices"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// Assemble makes the feature matrix of one request. It is the only code that does, online and in
// replay, so a model is trained on the same values that it is served.
//
// It takes over state.Columns, which holds the raw values from the feature store. blocks is aligned
// with signals: N x the signal's columns, row-major; nil = all missing. Assemble writes the
// signals' and the request's own columns and finishes every feature: clamping, missing indicator,
// within-list transform, default.
func Assemble(
	schema *Schema, req *Request, state *RequestState, signals []Signal, blocks [][]float32,
) *Matrix {
	m := &Matrix{N: len(req.Candidates), Columns: schema.Columns(), Data: state.Columns}
	for i := range schema.features {
		f := &schema.features[i]
		first := schema.firstColumn[i]
		switch f.Kind {
		case KindSignal:
			m.fillSignal(f.Column, first, signals, blocks)
		case KindRetrieval:
			for row := range m.N {
				// A score of 0 is missing: the event log does not distinguish the two.
				if c := &req.Candidates[row]; c.HasScore && c.Score != 0 {
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
		m.finishFeature(f, first, schema.width(i))
	}
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
		for row := range m.N {
			m.Data[row*len(m.Columns)+to] = blocks[k][row*len(names)+from]
		}
	}
}

// finishFeature applies the feature's options to its columns, from index first on.
func (m *Matrix) finishFeature(f *Feature, first, width int) {
	values := width // columns that hold values; the missing indicator follows them
	if f.Missing {
		values--
	}
	w := len(m.Columns)
	if f.Min != nil || f.Max != nil || f.Missing {
		m.clampColumns(f, first, width, values)
	}
	if f.WithinList != "" {
		m.withinList(f.WithinList, first)
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

// withinList replaces a column's values by how they compare within the list. Missing values stay
// missing. If all values are equal, every z-score is 0; if their mean is 0, every ratio is missing.
func (m *Matrix) withinList(transform string, column int) {
	w := len(m.Columns)
	if transform == "rank" {
		m.rankColumn(column)
		return
	}
	mean, sd := m.moments(column)
	for i := column; i < len(m.Data); i += w {
		x := float64(m.Data[i])
		switch {
		case math.IsNaN(x):
		case transform == "zscore" && sd > 1e-9:
			m.Data[i] = float32((x - mean) / sd)
		case transform == "zscore":
			m.Data[i] = 0
		case mean != 0:
			m.Data[i] = float32(x / mean)
		default:
			m.Data[i] = canonicalNaN
		}
	}
}

// moments returns the mean and standard deviation of a column's values that are not missing.
//
// The order of the rows does not change a bit of the result, so that a list that is replayed in
// another order has the same matrix. Values are therefore summed as integers, in steps of 2^-40 of
// the largest.
func (m *Matrix) moments(column int) (mean, sd float64) {
	w := len(m.Columns)
	n, largest := 0.0, 0.0
	for i := column; i < len(m.Data); i += w {
		if x := float64(m.Data[i]); x == x {
			n++
			largest = max(largest, math.Abs(x))
		}
	}
	if n == 0 || largest == 0 || math.IsInf(largest, 0) {
		return 0, 0
	}
	_, exp := math.Frexp(largest)
	step := math.Ldexp(1, exp-40)
	var sum, squares int64
	for i := column; i < len(m.Data); i += w {
		if x := float64(m.Data[i]) / step; x == x {
			sum += int64(x)
			squares += int64(x * x / (1 << 40))
		}
	}
	mean = float64(sum) / n
	sd = math.Sqrt(max(0, float64(squares)*(1<<40)/n-mean*mean))
	return mean * step, sd * step
}

// rankColumn replaces a column's values by their rank: 0 for the largest to 1 for the smallest.
// Equal values share the mean of their ranks.
func (m *Matrix) rankColumn(column int) {
	w := len(m.Columns)
	var rows []int
	for row := range m.N {
		if !isNaN(m.Data[row*w+column]) {
			rows = append(rows, row)
		}
	}
	value := func(row int) float32 { return m.Data[row*w+column] }
	slices.SortFunc(rows, func(a, b int) int { return cmp.Compare(value(b), value(a)) })
	ranks := make([]float32, len(rows))
	for i := 0; i < len(rows); {
		j := i
		for j < len(rows) && value(rows[j]) == value(rows[i]) {
			j++
		}
		rank := float32(0)
		if len(rows) > 1 {
			rank = float32(i+j-1) / 2 / float32(len(rows)-1)
		}
		for k := i; k < j; k++ {
			ranks[k] = rank
		}
		i = j
	}
	for k, row := range rows {
		m.Data[row*w+column] = ranks[k]
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

// Hash identifies the matrix, whatever the order of its rows. candidates are the rows' items.
// Serving records it, and replay checks its own matrix against it.
//
// It is the sum, over the rows, of xxHash64 of the row's float32 bits, seeded by the item's id.
func (m *Matrix) Hash(candidates []Candidate) (sum uint64) {
	if len(m.Columns) == 0 {
		return 0
	}
	var d xxhash.Digest
	for i := range m.N {
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
