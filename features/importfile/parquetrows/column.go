package parquetrows

import (
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

// column reads one column of a Parquet file, row by row.
//
// Parquet stores the values of a column that are there, and beside them levels for every place. The
// definition level says how much of the path to the value is there; the value is if the level is
// the highest. The repetition level is 0 where a row begins, and higher within a list.
type column struct {
	name        string
	descriptor  *schema.Column
	highest     int16 // definition level of a value
	repeated    int16 // definition level of a member of a list; 0: the column has no lists
	present     int16 // definition level from which on the outermost list is there
	unsupported bool  // lists of lists

	chunk     levelReader
	levels    [2][]int16 // definition and repetition levels of the batch
	at, count int        // place in the batch, and its number of places
}

// batch is the number of places that are read at once.
const batch = 1024

// levelReader reads batches of one column chunk.
type levelReader interface {
	// read reads the next places of one page and returns how many it read; 0 at the end.
	read(definitions, repetitions []int16) (int, error)
	// appendNext appends the next value of the batch.
	appendNext(b []byte) []byte
}

// newColumns returns the columns of a schema, in the order of the file.
func newColumns(s *schema.Schema) []*column {
	columns := make([]*column, s.NumColumns())
	for i := range columns {
		d := s.Column(i)
		c := &column{
			descriptor: d, highest: d.MaxDefinitionLevel(),
			unsupported: d.MaxRepetitionLevel() > 1,
		}
		c.name, c.present, c.repeated = describePath(d.SchemaNode())
		c.levels = [2][]int16{make([]int16, batch), make([]int16, batch)}
		columns[i] = c
	}
	return columns
}

// describePath returns the name of a column, which leaves out the nodes that only make up a list.
// It returns the definition levels from which on the outermost list that the column is in is there,
// and of a member of the innermost one.
func describePath(leaf schema.Node) (name string, present, repeated int16) {
	var path []schema.Node // from the top, without the root
	for n := leaf; n.Parent() != nil; n = n.Parent() {
		path = append([]schema.Node{n}, path...)
	}
	var parts []string
	level := int16(0)
	for i, n := range path {
		if n.RepetitionType() != parquet.Repetitions.Required {
			level++
		}
		isMember := n.RepetitionType() == parquet.Repetitions.Repeated
		if isMember && repeated == 0 {
			present = level - 1
		}
		if isMember {
			repeated = level
		}
		// A list is a group with one repeated node, which has one member.
		inList := i > 0 && isMember || i > 1 &&
			path[i-1].RepetitionType() == parquet.Repetitions.Repeated && onlyMember(path[i-1])
		if !inList {
			parts = append(parts, n.Name())
		}
	}
	return strings.Join(parts, "."), present, repeated
}

func onlyMember(n schema.Node) bool {
	g, ok := n.(*schema.GroupNode)
	return ok && g.NumFields() == 1
}

// open begins with a column chunk.
func (c *column) open(chunk file.ColumnChunkReader) (err error) {
	c.at, c.count = 0, 0
	c.chunk, err = newLevelReader(chunk, c.descriptor)
	return err
}

// fill reads the next batch if this one is used up. more is false at the end of the chunk.
func (c *column) fill() (more bool, err error) {
	if c.at < c.count {
		return true, nil
	}
	c.at = 0
	c.count, err = c.chunk.read(c.levels[0], c.levels[1])
	return c.count > 0, err
}

// definition returns the definition level at the current place.
func (c *column) definition() int16 {
	if c.highest == 0 {
		return 0
	}
	return c.levels[0][c.at]
}

// appendRow appends the column's value of the next row.
func (c *column) appendRow(b []byte) ([]byte, error) {
	more, err := c.fill()
	if err != nil {
		return b, err
	}
	if !more {
		return b, io.ErrUnexpectedEOF
	}
	if c.repeated == 0 {
		b = c.appendPlace(b)
		c.at++
		return b, nil
	}
	switch level := c.definition(); {
	case level < c.present:
		c.at++
		return append(b, "null"...), nil
	case level == c.present:
		c.at++
		return append(b, "[]"...), nil
	case c.unsupported:
		return c.skipRow(append(b, "{}"...))
	}
	return c.appendList(b)
}

// appendPlace appends the value at the current place.
func (c *column) appendPlace(b []byte) []byte {
	if c.definition() < c.highest {
		return append(b, "null"...)
	}
	return c.chunk.appendNext(b)
}

// appendList appends the list of one row, which has members.
func (c *column) appendList(b []byte) ([]byte, error) {
	b = append(b, '[')
	for i := 0; ; i++ {
		b = c.appendPlace(appendComma(b, i))
		c.at++
		more, err := c.fill()
		if err != nil {
			return b, err
		}
		if !more || c.levels[1][c.at] == 0 {
			return append(b, ']'), nil
		}
	}
}

// skipRow leaves out the rest of a row.
func (c *column) skipRow(b []byte) ([]byte, error) {
	for {
		if c.definition() == c.highest {
			c.chunk.appendNext(nil)
		}
		c.at++
		more, err := c.fill()
		if err != nil || !more || c.levels[1][c.at] == 0 {
			return b, err
		}
	}
}

// typedReader reads a column chunk whose values are T.
type typedReader[T any] struct {
	chunk interface {
		ReadBatchInPage(n int64, values []T, definitions, repetitions []int16) (int64, int, error)
	}
	values   []T
	next     int // value of the batch
	appendTo func([]byte, T) []byte
}

func (r *typedReader[T]) read(definitions, repetitions []int16) (int, error) {
	r.next = 0
	n, _, err := r.chunk.ReadBatchInPage(batch, r.values, definitions, repetitions)
	return int(n), err
}

func (r *typedReader[T]) appendNext(b []byte) []byte {
	v := r.values[r.next]
	r.next++
	return r.appendTo(b, v)
}

// newLevelReader returns a reader of the chunk, whose values are written by their logical type.
func newLevelReader(chunk file.ColumnChunkReader, d *schema.Column) (levelReader, error) {
	logical := d.LogicalType()
	switch r := chunk.(type) {
	case *file.BooleanColumnChunkReader:
		return &typedReader[bool]{r, make([]bool, batch), 0, appendBool}, nil
	case *file.Int32ColumnChunkReader:
		return &typedReader[int32]{r, make([]int32, batch), 0, int32Writer(logical)}, nil
	case *file.Int64ColumnChunkReader:
		return &typedReader[int64]{r, make([]int64, batch), 0, int64Writer(logical)}, nil
	case *file.Int96ColumnChunkReader:
		return &typedReader[parquet.Int96]{r, make([]parquet.Int96, batch), 0, appendInt96}, nil
	case *file.Float32ColumnChunkReader:
		return &typedReader[float32]{r, make([]float32, batch), 0, appendFloat32}, nil
	case *file.Float64ColumnChunkReader:
		return &typedReader[float64]{r, make([]float64, batch), 0, appendFloat64}, nil
	case *file.ByteArrayColumnChunkReader:
		write := bytesWriter(logical)
		return &typedReader[parquet.ByteArray]{
			r, make([]parquet.ByteArray, batch), 0,
			func(b []byte, v parquet.ByteArray) []byte { return write(b, v) },
		}, nil
	case *file.FixedLenByteArrayColumnChunkReader:
		write := fixedWriter(logical)
		return &typedReader[parquet.FixedLenByteArray]{
			r, make([]parquet.FixedLenByteArray, batch), 0,
			func(b []byte, v parquet.FixedLenByteArray) []byte { return write(b, v) },
		}, nil
	}
	return nil, fmt.Errorf("column %q has a type that cannot be read", d.Name())
}
