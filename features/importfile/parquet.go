package importfile

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// parquetTable reads what package parquetrows writes: a JSON array of the names of the columns, and
// then one JSON array of values for each row. The writer is another process, so nothing in it is
// trusted.
type parquetTable struct {
	lines lineReader
	names []string
}

func newParquetTable(in io.Reader) (*parquetTable, error) {
	s, err := decompress(in)
	if err != nil {
		return nil, err
	}
	t := &parquetTable{lines: lineReader{in: s.Reader}}
	head, err := t.lines.next()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the Parquet file has no columns")
	}
	if err != nil {
		return nil, err
	}
	c := jsonCell(jsontext.Value(head.text))
	if head.tooLong || c.kind != texts || len(c.list) == 0 {
		return nil, errors.New("the Parquet file has no columns that can be read")
	}
	t.names = c.list
	return t, nil
}

func (t *parquetTable) columns() []string { return t.names }

func (t *parquetTable) next() (tableRow, error) {
	l, err := t.lines.next()
	if err != nil {
		return tableRow{}, err
	}
	row := tableRow{line: l.number - 1, size: len(l.text)}
	if l.tooLong {
		row.bad = tooLong()
		return row, nil
	}
	values, err := jsonValues(l.text)
	if err != nil || len(values) != len(t.names) {
		return row, fmt.Errorf("row %d of the Parquet file cannot be read", row.line)
	}
	row.cells = make([]cell, len(values))
	for i, v := range values {
		row.cells[i] = jsonCell(v)
	}
	return row, nil
}
