package snapshot

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
)

// Bounds of an imported table.
const (
	maxTableColumns = 64
	maxTableRows    = 10_000_000
	maxColumnName   = 64
)

// ConvertTable reads a table that was computed elsewhere, an Arrow IPC file with a column "user" or "item"
// of ids (strings or integers) and further columns of numbers or booleans (null and NaN are missing),
// and writes it in Relish's own form: float32 columns, users' ids hashed. The error tells what is wrong
// with the file; nothing is left of a refused one.
//
// The Arrow library trusts the lengths that a file declares. Files of unknown origin belong into a
// process of their own, with a limit on its memory.
func ConvertTable(in, out string) (info FileInfo, err error) {
	if err := checkMagic(in); err != nil {
		return FileInfo{}, err
	}
	c := &converter{dir: filepath.Dir(out), name: filepath.Base(out)}
	err = read(filepath.Dir(in), filepath.Base(in), nil, c.record)
	if err == nil && c.w == nil {
		err = errors.New("the table has no rows")
	}
	if err == nil {
		if info, err = c.w.close(); err == nil {
			return info, nil
		}
	} else if c.w != nil {
		c.w.abandon()
	}
	return FileInfo{}, errors.Join(err, removeIfExists(out))
}

func removeIfExists(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// checkMagic looks for the marks at both ends of an Arrow IPC file.
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
		return fmt.Errorf("%d bytes are no Arrow IPC file", st.Size())
	}
	_, headErr := f.ReadAt(head, 0)
	_, tailErr := f.ReadAt(tail, st.Size()-int64(len(magic)))
	switch err := errors.Join(headErr, tailErr); {
	case err != nil:
		return err
	case !bytes.Equal(head, magic):
		return errors.New("not an Arrow IPC file (pyarrow: ipc.new_file; the stream format and Parquet are others)")
	case !bytes.Equal(tail, magic):
		return errors.New("the Arrow IPC file is cut off: its end is missing")
	}
	return nil
}

// converter takes record batches of the outside file and writes ours.
type converter struct {
	dir, name string
	w         *fileWriter
	key       int // column of the ids
	hash      bool
	values    []int // columns of values
	rows      int
	seen      map[string]int
}

// open checks the schema and begins our file.
func (c *converter) open(s *arrow.Schema) (err error) {
	c.key = -1
	fields := []arrow.Field{{}}
	seen := map[string]bool{}
	for i, f := range s.Fields() {
		switch {
		case seen[f.Name]:
			return fmt.Errorf("column %q stands twice", f.Name)
		case f.Name == features.KeyUser || f.Name == features.KeyItem:
			if c.key >= 0 {
				return errors.New(`there must be one id column, "user" or "item", not both`)
			}
			c.key, c.hash = i, f.Name == features.KeyUser
			fields[0] = arrow.Field{Name: f.Name, Type: arrow.BinaryTypes.String}
		case !numeric(f.Type):
			return fmt.Errorf("column %q has type %s; columns are numbers or booleans", f.Name, f.Type)
		case f.Name == "" || len(f.Name) > maxColumnName || !utf8.ValidString(f.Name):
			return fmt.Errorf("column %d: a name is 1 to %d bytes of UTF-8", i, maxColumnName)
		default:
			c.values = append(c.values, i)
			fields = append(fields, arrow.Field{Name: f.Name, Type: arrow.PrimitiveTypes.Float32})
		}
		seen[f.Name] = true
	}
	switch {
	case c.key < 0:
		return errors.New(`no column is named "user" or "item": one of them must hold the ids`)
	case len(c.values) == 0:
		return errors.New("there is no column of values")
	case len(c.values) > maxTableColumns:
		return fmt.Errorf("%d columns of values; at most %d are possible", len(c.values), maxTableColumns)
	}
	c.seen = map[string]int{}
	c.w, err = create(c.dir, c.name, arrow.NewSchema(fields, nil))
	return err
}

func numeric(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.BOOL, arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64,
		arrow.FLOAT16, arrow.FLOAT32, arrow.FLOAT64:
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
		return fmt.Errorf("more than %d rows", maxTableRows)
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
		return fmt.Errorf("has the id of row %d; there must be one row per id", first)
	}
	c.seen[id] = c.rows
	c.w.appendString(0, id)
	for k, col := range c.values {
		x := numberAt(rec.Column(col), i)
		if math.Abs(x) > math.MaxFloat32 {
			return fmt.Errorf("column %q has the value %g, which is not finite as a float32", rec.ColumnName(col), x)
		}
		c.w.Field(k + 1).(*array.Float32Builder).Append(float32(x))
	}
	return c.w.endRow()
}

// idAt returns an id: a string as it is, an integer in decimal.
func idAt(col arrow.Array, i int) (string, error) {
	if d, ok := col.(*array.Dictionary); ok && !d.IsNull(i) {
		return idAt(d.Dictionary(), d.GetValueIndex(i))
	}
	if col.IsNull(i) {
		return "", errors.New("the id is null")
	}
	switch a := col.(type) {
	case *array.String:
		return cloneString(a, i), nil
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
	return "", fmt.Errorf("ids have type %s; they are strings or integers", col.DataType())
}

// numberAt returns a value, NaN for a missing one.
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
	return math.NaN() // open has refused any other type
}

// LoadTable reads a file that ConvertTable wrote. Nothing of it is decoded unless its SHA-256 is sum.
func LoadTable(path, sum string) (*features.ExternalTable, error) {
	dir, name := filepath.Split(path)
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := verify(dir, FileInfo{Name: name, Bytes: st.Size(), SHA256: sum}); err != nil {
		return nil, err
	}
	var key string
	var ids, names []string
	var values [][]float32
	err = read(dir, name, nil, func(rec arrow.Record) error {
		if names == nil {
			fields := rec.Schema().Fields()
			key = fields[0].Name
			for _, f := range fields[1:] {
				names = append(names, f.Name)
			}
			values = make([][]float32, len(names))
		}
		col := stringColumn(rec, 0)
		for i := range int(rec.NumRows()) {
			ids = append(ids, cloneString(col, i))
		}
		for k := range values {
			values[k] = append(values[k], rec.Column(k+1).(*array.Float32).Float32Values()...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return features.NewExternalTable(key, ids, names, values)
}
