package ranker

import (
	"cmp"
	"math"
	"slices"
)

// ReplayedList is the list that the candidates of a replayed request were scored in. Within-list
// features are computed over that list, not over the candidates alone.
type ReplayedList struct {
	// Others are the list's other candidates. They are scored with the request's candidates, and
	// they get no row in the matrix and no rank.
	Others []Candidate
	// Stats are what the impression recorded of the list, see ScoredList.Stats. They belong to
	// Items, the impression's items, and to the schema with the hash SchemaHash. For any other
	// schema, and if they are nil, the statistics are computed.
	Stats      []float64
	Items      []string
	SchemaHash string
}

// Scored returns the candidates whose state decides the schema's features: the request's
// candidates, followed by the other candidates of a replayed list if a feature compares the values
// within the list.
func (r *Request) Scored(schema *Schema) []Candidate {
	if r.List == nil || len(r.List.Others) == 0 || !schema.compares {
		return r.Candidates
	}
	return slices.Concat(r.Candidates, r.List.Others)
}

// listStats are the recorded statistics of a list, read feature by feature. Without any, statistics
// are computed from the matrix.
type listStats struct {
	values []float64
	items  []string
	known  bool
}

func (l *ReplayedList) statsFor(schema *Schema) listStats {
	if l == nil || l.Stats == nil || l.SchemaHash != schema.Hash() {
		return listStats{}
	}
	return listStats{l.Stats, l.Items, true}
}

// next returns the next n values, NaN for those that are not there.
func (l *listStats) next(n int) []float64 {
	out := make([]float64, n)
	read := copy(out, l.values)
	for i := range out[read:] {
		out[read+i] = math.NaN()
	}
	l.values = l.values[read:]
	return out
}

// ranks returns the next ranks, one for each candidate, NaN for one that is not among the items.
func (l *listStats) ranks(scored []Candidate) []float32 {
	byItem := map[string]float64{}
	for i, rank := range l.next(len(l.items)) {
		byItem[l.items[i]] = rank
	}
	out := make([]float32, len(scored))
	for i := range scored {
		rank, recorded := byItem[scored[i].ID]
		if out[i] = float32(rank); !recorded {
			out[i] = canonicalNaN
		}
	}
	return out
}

// statsOfList returns the statistics of the list that the matrix was assembled from, for the rows
// of an impression's items; see ScoredList.Stats.
func (m *Matrix) statsOfList(schema *Schema, rows []int) []float64 {
	out := make([]float64, 0, 2*len(m.moments))
	moments := m.moments
	for i := range schema.features {
		switch schema.features[i].WithinList {
		case "":
		case "rank":
			for _, row := range rows {
				out = append(out, float64(m.Row(row)[schema.firstColumn[i]]))
			}
		default:
			out = append(out, moments[0].mean, moments[0].sd)
			moments = moments[1:]
		}
	}
	return out
}

// listMoments are the mean and the standard deviation of a column within its list.
type listMoments struct{ mean, sd float64 }

// withinList replaces a column's values by how they compare within the list. Missing values stay
// missing. If all values are equal, every z-score is 0; if their mean is 0, every ratio is missing.
func (m *Matrix) withinList(
	transform string, column int, scored []Candidate, known *listStats,
) {
	w := len(m.Columns)
	for i := column; i < len(m.Data); i += w {
		// One infinite value would hide all others.
		if math.IsInf(float64(m.Data[i]), 0) {
			m.Data[i] = canonicalNaN
		}
	}
	if transform == "rank" {
		var ranks []float32
		if known.known {
			ranks = known.ranks(scored)
		}
		m.rankColumn(column, ranks)
		return
	}
	var l listMoments
	if known.known {
		values := known.next(2)
		l = listMoments{values[0], values[1]}
	} else {
		l = m.momentsOf(column)
	}
	m.moments = append(m.moments, l)
	for i := column; i < len(m.Data); i += w {
		x := float64(m.Data[i])
		switch {
		case math.IsNaN(x):
		case transform == "zscore" && l.sd > 1e-9:
			m.Data[i] = float32((x - l.mean) / l.sd)
		case transform == "zscore":
			m.Data[i] = 0
		case l.mean != 0:
			m.Data[i] = float32(x / l.mean)
		default:
			m.Data[i] = canonicalNaN
		}
	}
}

// momentsOf returns the moments of a column's values that are not missing.
//
// The order of the rows does not change a bit of the result, so that a list that is replayed in
// another order has the same matrix. Values are therefore summed as integers, in steps of 2^-40 of
// the largest.
func (m *Matrix) momentsOf(column int) listMoments {
	w := len(m.Columns)
	n, largest := 0.0, 0.0
	for i := column; i < len(m.Data); i += w {
		if x := float64(m.Data[i]); x == x {
			n++
			largest = max(largest, math.Abs(x))
		}
	}
	if n == 0 || largest == 0 {
		return listMoments{}
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
	mean := float64(sum) / n
	sd := math.Sqrt(max(0, float64(squares)*(1<<40)/n-mean*mean))
	return listMoments{mean * step, sd * step}
}

// rankColumn replaces a column's values by their rank: 0 for the largest to 1 for the smallest.
// Equal values share the mean of their ranks. known are the recorded ranks by row, nil: none are.
func (m *Matrix) rankColumn(column int, known []float32) {
	w := len(m.Columns)
	var rows []int
	for row := range m.N {
		cell := &m.Data[row*w+column]
		switch {
		case isNaN(*cell):
		case known != nil:
			*cell = known[row]
		default:
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
