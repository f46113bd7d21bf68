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

// A dataset is an Arrow IPC file with one row per shown candidate, list after list:
//
//	list      uint64   the sequence of the list's record
//	item      string
//	gain      float32  0: nothing followed
//	position  int32    where it was shown, from 0; -1 for a made list
//	then one float32 column per column of the schema, NaN for a missing cell
//
// It names no user. Rows are gathered into batches of batchRows, so that neither side holds more than that.
const batchRows = 1 << 16

const fixedColumns = 4

// DatasetWriter writes a dataset. It is not safe for concurrent use.
type DatasetWriter struct {
	file  *os.File
	ipc   *ipc.FileWriter
	b     *array.RecordBuilder
	width int
	rows  int
}

// CreateDataset makes the file, over one that is there.
func CreateDataset(path string, columns []ranker.Column) (*DatasetWriter, error) {
	fields := []arrow.Field{{Name: "list", Type: arrow.PrimitiveTypes.Uint64}, {Name: "item", Type: arrow.BinaryTypes.String},
		{Name: "gain", Type: arrow.PrimitiveTypes.Float32}, {Name: "position", Type: arrow.PrimitiveTypes.Int32}}
	for _, c := range columns {
		fields = append(fields, arrow.Field{Name: "column." + c.Name, Type: arrow.PrimitiveTypes.Float32})
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
	return &DatasetWriter{file: f, ipc: w, b: array.NewRecordBuilder(memory.DefaultAllocator, schema), width: len(columns)}, nil
}

// Add writes one list: the case's items with their matrix rows. positions are where they were shown, aligned.
func (w *DatasetWriter) Add(c *Example, positions []int32, m *ranker.Matrix) error {
	if len(m.Columns) != w.width || m.N != len(c.Request.Candidates) {
		return fmt.Errorf("a matrix of %d x %d where %d x %d belongs", m.N, len(m.Columns), len(c.Request.Candidates), w.width)
	}
	for i := range m.N {
		w.b.Field(0).(*array.Uint64Builder).Append(c.Seq)
		w.b.Field(1).(*array.StringBuilder).Append(c.Request.Candidates[i].ID)
		w.b.Field(2).(*array.Float32Builder).Append(c.Gains[i])
		w.b.Field(3).(*array.Int32Builder).Append(positions[i])
		for k, x := range m.Row(i) {
			w.b.Field(fixedColumns + k).(*array.Float32Builder).Append(x)
		}
	}
	if w.rows += m.N; w.rows >= batchRows {
		return w.flush()
	}
	return nil
}

func (w *DatasetWriter) flush() error {
	rec := w.b.NewRecord()
	defer rec.Release()
	w.rows = 0
	return w.ipc.Write(rec)
}

// Close writes what is left and closes the file.
func (w *DatasetWriter) Close() error {
	var err error
	if w.rows > 0 {
		err = w.flush()
	}
	w.b.Release()
	return errors.Join(err, w.ipc.Close(), w.file.Close())
}

// Rows are a part of a dataset in memory.
type Rows struct {
	Width     int
	Cells     []float32 // N x Width
	Gains     []float32
	Positions []int32
	ListSizes []int32  // rows of each list
	ListSeqs  []uint64 // by list
}

// ReadDataset reads the lists for which keep holds; their rows are together, in the order of the file.
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
