package signals

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// QueryHistory compares the search text with the search texts for which the candidate was chosen
// before:
//
//	query_history.max     the highest cosine
//	query_history.mean    mean of the highest cosines, at most 5
//	query_history.kernel  smoothed maximum, log of the sum of exp(cosine/.05), times .05: it grows
//	                      with the number of similar texts
//	query_history.center  cosine with the mean of those texts
//
// The columns are missing without a search text, and for a candidate that was chosen for none. A
// request costs one product for each search text of its candidates. QueryHistory is read-only once
// built and safe for concurrent use.
type QueryHistory struct {
	Items *ranker.ItemTable
	Dim   int // length of a vector
	// First is where each item's texts begin in Vectors, in rows of Dim, and one more: their end.
	First   []int32
	Vectors []float32 // of the search texts, each of unit length

	centers []float32 // by item: unit-length mean of its rows, 0 without any
	longest int32     // rows of the item with the most rows
}

var _ TrainedSignal = (*QueryHistory)(nil)

// KindQueryHistory is the kind of QueryHistory in bundles.
const KindQueryHistory = "query_history"

const (
	maxMeanQueries    = 5
	queryTemperature  = 0.05
	maxQueryComponent = 1.001 // of a vector of unit length, with rounding
)

var queryHistoryColumns = []string{
	"query_history.max", "query_history.mean", "query_history.kernel", "query_history.center",
}

// NewQueryHistory returns the signal. rows are the texts' unit-length vectors, sorted by item;
// first says where each item's rows begin, and has one more value, their end. It keeps first.
func NewQueryHistory(items *ranker.ItemTable, first []int32, rows [][]float32) *QueryHistory {
	q := &QueryHistory{Items: items, First: first, Dim: len(rows[0])}
	for _, row := range rows {
		q.Vectors = append(q.Vectors, row...)
	}
	q.setCenters()
	return q
}

func (q *QueryHistory) setCenters() {
	q.centers = make([]float32, q.Items.Len()*q.Dim)
	for item := range q.Items.Len() {
		center := q.center(int32(item))
		q.longest = max(q.longest, q.First[item+1]-q.First[item])
		for row := q.First[item]; row < q.First[item+1]; row++ {
			vek32.Add_Inplace(center, q.row(row))
		}
		if norm := vek32.Norm(center); norm > 1e-6 {
			vek32.MulNumber_Inplace(center, 1/norm)
		}
	}
}

func (q *QueryHistory) row(i int32) []float32 { return q.Vectors[int(i)*q.Dim : int(i+1)*q.Dim] }

func (q *QueryHistory) center(item int32) []float32 {
	return q.centers[int(item)*q.Dim : int(item+1)*q.Dim]
}

// Kind implements TrainedSignal.
func (*QueryHistory) Kind() string { return KindQueryHistory }

// Columns implements ranker.Signal.
func (*QueryHistory) Columns() []string { return queryHistoryColumns }

// maxQuickRows is how many rows of 384 numbers are compared in 20 µs.
const maxQuickRows = 400

// InMemory implements ranker.InMemory. It is false if one item has so many texts that comparing
// them may take longer than 20 µs.
func (q *QueryHistory) InMemory() bool { return q.longest <= maxQuickRows }

// Compute implements ranker.Signal. It returns an error if the search text's vector has another
// length than those of the training, because it comes from another encoder.
func (q *QueryHistory) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	fillMissing(out)
	if in.QueryVector == nil {
		return nil
	}
	if err := checkLengths([][]float32{in.QueryVector}, q.Dim); err != nil {
		return fmt.Errorf("signal %s: %w", KindQueryHistory, err)
	}
	rows := newRowSet(q.Dim)
	defer rows.free()
	candidates := in.ItemIndices(q.Items).Candidates
	for _, item := range candidates {
		if item < 0 || q.First[item] == q.First[item+1] {
			continue
		}
		for i := q.First[item]; i < q.First[item+1]; i++ {
			rows.add(q.row(i))
		}
		rows.add(q.center(item))
	}
	if len(rows.rows) == 0 {
		return nil
	}
	products := rows.dots(in.QueryVector)
	for i, item := range candidates {
		if item < 0 || q.First[item] == q.First[item+1] {
			continue
		}
		n := q.First[item+1] - q.First[item]
		row := out[i*len(queryHistoryColumns):]
		row[3] = products[n]
		row[0], row[1], row[2] = summarizeCosines(products[:n])
		products = products[n+1:]
	}
	return nil
}

// summarizeCosines returns the highest cosine, the mean of the highest ones, and their smoothed
// maximum. It changes the order of the cosines.
func summarizeCosines(cosines []float32) (highest, mean, kernel float32) {
	highest = slices.Max(cosines)
	sum := 0.0
	for _, x := range cosines {
		sum += math.Exp(float64(x-highest) / queryTemperature)
	}
	top := cosines
	if len(cosines) > maxMeanQueries {
		slices.Sort(cosines)
		top = cosines[len(cosines)-maxMeanQueries:]
	}
	return highest, vek32.Sum(top) / float32(len(top)),
		highest + float32(queryTemperature*math.Log(sum))
}

// Encode implements TrainedSignal.
func (q *QueryHistory) Encode() []byte {
	w := newFileWriter(KindQueryHistory)
	w.strings(q.Items.IDs())
	w.count(q.Dim)
	w.floats(q.Vectors)
	w.ints(q.First)
	return w.buf
}

func decodeQueryHistory(
	data []byte, shared *ranker.ItemTable,
) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindQueryHistory, data)
	q := &QueryHistory{Items: r.items(shared)}
	q.Dim = r.dim()
	q.Vectors = r.boundedFloats(-1, -maxQueryComponent)
	if r.err == nil && (q.Dim == 0 || len(q.Vectors) == 0 || len(q.Vectors)%q.Dim != 0 ||
		slices.Max(q.Vectors) > maxQueryComponent) {
		r.err = malformed("the vectors of the search texts have no rows of %d numbers up to 1",
			q.Dim)
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	q.First = r.rowOffsets(q.Items.Len(), len(q.Vectors)/q.Dim)
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	q.setCenters()
	return q, q.Items, nil
}
