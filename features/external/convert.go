package external

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"relish/features"
	"relish/features/event"
	"relish/internal/arrowfile"
)

// Bounds of an external table.
const (
	maxTableColumns = 64
	maxTableRows    = 10_000_000
	maxColumnName   = 64
)

// ConvertTable converts the external table in the file in to Relish's own form in the file out:
// float32 columns, and user ids hashed by features.UserHash. The input is an Arrow IPC file. Its
// column "user" or "item" holds the ids, strings or integers. Each other column holds numbers or
// booleans, where null and NaN stand for a missing value. If ConvertTable fails, out does not
// exist.
//
// The Arrow library trusts the lengths that a file declares. Convert files of unknown origin in a
// process with a memory limit (package sandbox).
func ConvertTable(in, out string) (info arrowfile.Info, err error) {
	if err := checkMagic(in); err != nil {
		return arrowfile.Info{}, err
	}
	c := &converter{dir: filepath.Dir(out), name: filepath.Base(out)}
	err = arrowfile.Read(filepath.Dir(in), filepath.Base(in), nil, c.record)
	if err == nil && c.w == nil {
		err = errors.New("the table has no rows")
	}
	if err == nil {
		if info, err = c.w.Close(); err == nil {
			return info, nil
		}
	} else if c.w != nil {
		c.w.Abandon()
	}
	return arrowfile.Info{}, errors.Join(err, removeIfExists(out))
}

func removeIfExists(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// checkMagic looks for the magic bytes at both ends of an Arrow IPC file.
func checkMagic(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	magic := []byte("ARROW1")
	head, tail := make([]byte, len(magic)), make([]byte, len(magic))
	if st.Size() < int64(2*len(magic)) {
		return fmt.Errorf("the file has %d bytes and is not an Arrow IPC file", st.Size())
	}
	_, headErr := f.ReadAt(head, 0)
	_, tailErr := f.ReadAt(tail, st.Size()-int64(len(magic)))
	switch err := errors.Join(headErr, tailErr); {
	case err != nil:
		return err
	case !bytes.Equal(head, magic):
		return errors.New("not an Arrow IPC file; write one with pyarrow.ipc.new_file " +
			"(the stream format and Parquet are not supported)")
	case !bytes.Equal(tail, magic):
		return errors.New("the Arrow IPC file is truncated; copy it again")
	}
	return nil
}

// converter reads the record batches of an external file and writes Relish's form.
type converter struct {
	dir, name string
	w         *arrowfile.Writer
	key       int // column of the ids
	hash      bool
	values    []int // columns of values
	rows      int
	seen      map[string]int
}

// open checks the schema and creates the output.
func (c *converter) open(s *arrow.Schema) (err error) {
	c.key = -1
	fields := []arrow.Field{{}}
	seen := map[string]bool{}
	for i, f := range s.Fields() {
		switch {
		case seen[f.Name]:
			return fmt.Errorf("column %q occurs twice", f.Name)
		case f.Name == features.KeyUser || f.Name == features.KeyItem:
			if c.key >= 0 {
				return errors.New(
					`the table has the id columns "user" and "item"; keep one of them`,
				)
			}
			c.key, c.hash = i, f.Name == features.KeyUser
			fields[0] = arrow.Field{Name: f.Name, Type: arrow.BinaryTypes.String}
		case !numeric(f.Type):
			return fmt.Errorf("column %q has type %s; use numbers or booleans", f.Name, f.Type)
		case f.Name == "" || len(f.Name) > maxColumnName || !utf8.ValidString(f.Name):
			return fmt.Errorf(
				"the name of column %d must be 1 to %d bytes of UTF-8", i, maxColumnName,
			)
		default:
			c.values = append(c.values, i)
			fields = append(fields, arrow.Field{Name: f.Name, Type: arrow.PrimitiveTypes.Float32})
		}
		seen[f.Name] = true
	}
	switch {
	case c.key < 0:
		return errors.New(`the table has no id column; name it "user" or "item"`)
	case len(c.values) == 0:
		return errors.New("the table has no column of values")
	case len(c.values) > maxTableColumns:
		return fmt.Errorf(
			"the table has %d columns of values; keep at most %d", len(c.values), maxTableColumns,
		)
	}
	c.seen = map[string]int{}
	c.w, err = arrowfile.Create(c.dir, c.name, arrow.NewSchema(fields, nil))
	return err
}

func numeric(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.BOOL,
		arrow.INT8,
		arrow.INT16,
		arrow.INT32,
		arrow.INT64,
		arrow.UINT8,
		arrow.UINT16,
		arrow.UINT32,
		arrow.UINT64,
		arrow.FLOAT16,
		arrow.FLOAT32,
		arrow.FLOAT64:
		return true
	}
	return false
}

func (c *converter) record(rec arrow.Record) error {
	if c.w == nil {
		if err := c.open(rec.Schema()); err != nil {
			return err
		}
	}
	if c.rows+int(rec.NumRows()) > maxTableRows {
		return fmt.Errorf("the table has more than %d rows", maxTableRows)
	}
	for i := range int(rec.NumRows()) {
		if err := c.row(rec, i); err != nil {
			return fmt.Errorf("row %d: %w", c.rows, err)
		}
		c.rows++
	}
	return nil
}

func (c *converter) row(rec arrow.Record, i int) error {
	id, err := idAt(rec.Column(c.key), i)
	if err != nil {
		return err
	}
	if err := event.CheckID(id); err != nil {
		return fmt.Errorf("the id %w", err)
	}
	if c.hash {
		id = features.UserHash(id)
	}
	if first, twice := c.seen[id]; twice {
		return fmt.Errorf("has the same id as row %d; keep one of them", first)
	}
	c.seen[id] = c.rows
	c.w.AppendString(0, id)
	for k, col := range c.values {
		x := numberAt(rec.Column(col), i)
		if math.Abs(x) > math.MaxFloat32 {
			return fmt.Errorf(
				"column %q has the value %g, which float32 cannot hold", rec.ColumnName(col), x,
			)
		}
		c.w.Field(k + 1).(*array.Float32Builder).Append(float32(x))
	}
	return c.w.EndRow()
}

// idAt returns an id: a string unchanged, an integer in decimal.
func idAt(col arrow.Array, i int) (string, error) {
	if d, ok := col.(*array.Dictionary); ok && !d.IsNull(i) {
		return idAt(d.Dictionary(), d.GetValueIndex(i))
	}
	if col.IsNull(i) {
		return "", errors.New("the id is null")
	}
	switch a := col.(type) {
	case *array.String:
		return arrowfile.CloneString(a, i), nil
	case *array.LargeString:
		return string([]byte(a.Value(i))), nil
	case *array.Int64:
		return strconv.FormatInt(a.Value(i), 10), nil
	case *array.Int32:
		return strconv.FormatInt(int64(a.Value(i)), 10), nil
	case *array.Uint64:
		return strconv.FormatUint(a.Value(i), 10), nil
	case *array.Uint32:
		return strconv.FormatUint(uint64(a.Value(i)), 10), nil
	}
	return "", fmt.Errorf("the ids have type %s; use strings or integers", col.DataType())
}

// numberAt returns a value, NaN if it is missing.
func numberAt(col arrow.Array, i int) float64 {
	if col.IsNull(i) {
		return math.NaN()
	}
	switch a := col.(type) {
	case *array.Boolean:
		if a.Value(i) {
			return 1
		}
		return 0
	case *array.Int8:
		return float64(a.Value(i))
	case *array.Int16:
		return float64(a.Value(i))
	case *array.Int32:
		return float64(a.Value(i))
	case *array.Int64:
		return float64(a.Value(i))
	case *array.Uint8:
		return float64(a.Value(i))
	case *array.Uint16:
		return float64(a.Value(i))
	case *array.Uint32:
		return float64(a.Value(i))
	case *array.Uint64:
		return float64(a.Value(i))
	case *array.Float16:
		return float64(a.Value(i).Float32())
	case *array.Float32:
		return float64(a.Value(i))
	case *array.Float64:
		return a.Value(i)
	}
	return math.NaN() // open has rejected all other types
}
