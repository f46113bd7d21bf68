package replay

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"relish/ranker"
)

// A dataset is an Arrow IPC file with one row for each shown item, list after list:
//
//	list      uint64   the sequence of the list's record
//	item      string
//	gain      float32  0 if no interaction followed
//	position  int32    where it was shown, from 0; -1 in a sampled list
//	column.*  float32  one column for each column of the schema, NaN for a missing value
//
// It has no user ids.

const (
	// batchRows is about the number of rows in a batch. It bounds the memory of writer and reader.
	batchRows = 1 << 16
	// fixedColumns is the number of columns before those of the schema.
	fixedColumns = 4
)

// DatasetWriter writes a dataset. It is not safe for concurrent use.
type DatasetWriter struct {
	file  *os.File
	ipc   *ipc.FileWriter
	batch *array.RecordBuilder
	width int // columns of the schema
	rows  int // in the batch
}

// CreateDataset creates a dataset file. It replaces an existing one.
func CreateDataset(path string, columns []ranker.Column) (*DatasetWriter, error) {
	fields := []arrow.Field{
		{Name: "list", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "item", Type: arrow.BinaryTypes.String},
		{
			Name: "gain",
			Type: arrow.PrimitiveTypes.Float32,
		},
		{Name: "position", Type: arrow.PrimitiveTypes.Int32},
	}
	for _, c := range columns {
		fields = append(
			fields,
			arrow.Field{Name: "column." + c.Name, Type: arrow.PrimitiveTypes.Float32},
		)
	}
	schema := arrow.NewSchema(fields, nil)
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	w, err := ipc.NewFileWriter(f, ipc.WithSchema(schema))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &DatasetWriter{
		file:  f,
		ipc:   w,
		batch: array.NewRecordBuilder(memory.DefaultAllocator, schema),
		width: len(columns),
	}, nil
}

// Add writes one list. The rows of m and the positions, where the items were shown, are aligned
// with the example's candidates.
func (w *DatasetWriter) Add(x *Example, positions []int32, m *ranker.Matrix) error {
	if len(m.Columns) != w.width || m.N != len(x.Request.Candidates) {
		return fmt.Errorf(
			"dataset: the matrix has %d x %d cells, want %d x %d",
			m.N,
			len(m.Columns),
			len(x.Request.Candidates),
			w.width,
		)
	}
	for i := range m.N {
		w.batch.Field(0).(*array.Uint64Builder).Append(x.Seq)
		w.batch.Field(1).(*array.StringBuilder).Append(x.Request.Candidates[i].ID)
		w.batch.Field(2).(*array.Float32Builder).Append(x.Gains[i])
		w.batch.Field(3).(*array.Int32Builder).Append(positions[i])
		for k, value := range m.Row(i) {
			w.batch.Field(fixedColumns + k).(*array.Float32Builder).Append(value)
		}
	}
	if w.rows += m.N; w.rows >= batchRows {
		return w.flush()
	}
	return nil
}

func (w *DatasetWriter) flush() error {
	rec := w.batch.NewRecord()
	defer rec.Release()
	w.rows = 0
	return w.ipc.Write(rec)
}

// Close writes the last batch and closes the file.
func (w *DatasetWriter) Close() error {
	var err error
	if w.rows > 0 {
		err = w.flush()
	}
	w.batch.Release()
	return errors.Join(err, w.ipc.Close(), w.file.Close())
}

// Rows is a part of a dataset in memory: N rows, those of each list together.
type Rows struct {
	Width     int       // columns of the schema
	Cells     []float32 // N x Width, row-major
	Gains     []float32 // by row
	Positions []int32   // by row
	ListSizes []int32   // by list: its rows
	ListSeqs  []uint64  // by list: its sequence
}

// ReadDataset reads the lists for which keep returns true, in the order of the file.
func ReadDataset(path string, keep func(seq uint64) bool) (*Rows, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := ipc.NewFileReader(f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	out := &Rows{Width: len(r.Schema().Fields()) - fixedColumns}
	for {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out.appendRecord(rec, keep)
	}
}

func (r *Rows) appendRecord(rec arrow.Record, keep func(uint64) bool) {
	seqs := rec.Column(0).(*array.Uint64).Uint64Values()
	gains := rec.Column(2).(*array.Float32).Float32Values()
	positions := rec.Column(3).(*array.Int32).Int32Values()
	cells := make([][]float32, r.Width)
	for k := range cells {
		cells[k] = rec.Column(fixedColumns + k).(*array.Float32).Float32Values()
	}
	for i, seq := range seqs {
		if !keep(seq) {
			continue
		}
		if n := len(r.ListSeqs); n == 0 || r.ListSeqs[n-1] != seq {
			r.ListSeqs, r.ListSizes = append(r.ListSeqs, seq), append(r.ListSizes, 0)
		}
		r.ListSizes[len(r.ListSizes)-1]++
		r.Gains, r.Positions = append(r.Gains, gains[i]), append(r.Positions, positions[i])
		for k := range cells {
			r.Cells = append(r.Cells, cells[k][i])
		}
	}
}
