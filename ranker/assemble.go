package ranker

import (
	"cmp"
	"math"
	"slices"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// Assemble makes the feature matrix of one request, and is the only code that does: online and in
// replay. It takes over state.Columns, fills in what the matchers found (blocks is aligned with
// matchers; each N x its columns, nil = missing) and the request's own columns, and finishes every
// feature: clamp to its range, missing indicator, standing within the list, default.
func Assemble(schema *Schema, req *Request, state *RequestState, matchers []Signal, blocks [][]float32) *Matrix {
	m := &Matrix{N: len(req.Candidates), Columns: schema.Columns(), Data: state.Columns}
	for i := range schema.features {
		f := &schema.features[i]
		at := schema.firstColumn[i]
		switch f.Kind {
		case KindSignal:
			m.fillSignal(f.Column, at, matchers, blocks)
		case KindRetrieval:
			for row := range m.N {
				if c := &req.Candidates[row]; c.HasScore && c.Score != 0 { // 0 is none in the log, and so here
					m.Data[row*len(m.Columns)+at] = c.Score
				}
			}
		case KindPosition:
			// A service that decides the order has no position as an input: the first place for all.
			for row := range m.N {
				m.Data[row*len(m.Columns)+at] = 0
			}
		}
		m.finishFeature(f, at, schema.width(i))
	}
	return m
}

func (m *Matrix) fillSignal(column string, at int, matchers []Signal, blocks [][]float32) {
	for k, matcher := range matchers {
		names := matcher.Columns()
		from := slices.Index(names, column)
		if from < 0 || blocks[k] == nil {
			continue
		}
		for row := range m.N {
			m.Data[row*len(m.Columns)+at] = blocks[k][row*len(names)+from]
		}
	}
}

// finishFeature applies the feature's options to its columns, width of them from at on.
func (m *Matrix) finishFeature(f *Feature, at, width int) {
	values := width
	if f.Missing {
		values--
	}
	w := len(m.Columns)
	if f.Min != nil || f.Max != nil || f.Missing {
		m.clampColumns(f, at, width, values)
	}
	if f.WithinList != "" {
		m.withinList(f.WithinList, at)
	}
	fill := canonicalNaN
	if f.Default != nil {
		fill = float32(*f.Default)
	}
	for row := range m.N {
		for i := range values {
			if cell := &m.Data[row*w+at+i]; isNaN(*cell) {
				*cell = fill
			}
		}
	}
}

// clampColumns clamps the columns of values to the feature's range, and says where all of them are missing.
func (m *Matrix) clampColumns(f *Feature, at, width, values int) {
	w := len(m.Columns)
	for row := range m.N {
		cells := m.Data[row*w+at : row*w+at+width]
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

// canonicalNaN is the one NaN that stands for "missing", so that equal matrices have equal bits.
var canonicalNaN = float32(math.NaN())

// Row returns row i, which aliases Data.
func (m *Matrix) Row(i int) []float32 {
	w := len(m.Columns)
	return m.Data[i*w : (i+1)*w : (i+1)*w]
}

func isNaN(x float32) bool { return x != x }

// withinList replaces a column by the values' standing in their list; missing ones stay missing.
func (m *Matrix) withinList(how string, at int) {
	w := len(m.Columns)
	if how == "rank" {
		m.rankColumn(at)
		return
	}
	mean, sd := m.moments(at)
	for i := at; i < len(m.Data); i += w {
		x := float64(m.Data[i])
		switch {
		case math.IsNaN(x):
		case how == "zscore" && sd > 1e-9:
			m.Data[i] = float32((x - mean) / sd)
		case how == "zscore":
			m.Data[i] = 0
		case mean != 0:
			m.Data[i] = float32(x / mean)
		default:
			m.Data[i] = canonicalNaN
		}
	}
}

// moments returns a column's mean and standard deviation over the values that are there. The order of the
// rows does not matter to the last bit, so that a list replayed in another order has the same columns: values
// are summed as integers, in steps of 2^-40 of the largest.
func (m *Matrix) moments(at int) (mean, sd float64) {
	w := len(m.Columns)
	n, largest := 0.0, 0.0
	for i := at; i < len(m.Data); i += w {
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
	for i := at; i < len(m.Data); i += w {
		if x := float64(m.Data[i]) / step; x == x {
			sum += int64(x)
			squares += int64(x * x / (1 << 40))
		}
	}
	mean = float64(sum) / n
	sd = math.Sqrt(max(0, float64(squares)*(1<<40)/n-mean*mean))
	return mean * step, sd * step
}

// rankColumn puts 0 for the list's largest value up to 1 for its smallest; equal values share the
// mean of their places.
func (m *Matrix) rankColumn(at int) {
	w := len(m.Columns)
	var rows []int
	for row := range m.N {
		if !isNaN(m.Data[row*w+at]) {
			rows = append(rows, row)
		}
	}
	value := func(k int) float32 { return m.Data[rows[k]*w+at] }
	slices.SortFunc(rows, func(a, b int) int { return cmp.Compare(m.Data[b*w+at], m.Data[a*w+at]) })
	places := make([]float32, len(rows))
	for i := 0; i < len(rows); {
		j := i
		for j < len(rows) && value(j) == value(i) {
			j++
		}
		place := float32(0)
		if len(rows) > 1 {
			place = float32(i+j-1) / 2 / float32(len(rows)-1)
		}
		for k := i; k < j; k++ {
			places[k] = place
		}
		i = j
	}
	for k, row := range rows {
		m.Data[row*w+at] = places[k]
	}
}

// Hash identifies the matrix, whatever the order of its rows: the sum of xxHash64 over each row's float32 bits,
// seeded by the item's id. It is what parity between serving and replay is checked by. candidates are the rows'.
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
