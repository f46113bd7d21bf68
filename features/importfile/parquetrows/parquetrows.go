// Package parquetrows writes the rows of a Parquet file as JSON, for package importfile.
//
// It reads the columns of the file themselves. Package pqarrow, which makes Arrow arrays of them,
// would link gRPC into the binary. The Parquet library trusts much of what a file says: call Write
// in a process with limits on memory and time, see package sandbox.
package parquetrows

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/go-json-experiment/json/jsontext"
)

// Write writes the rows of the Parquet file at path: one line with a JSON array of the names of the
// columns, and then one line with a JSON array of values for each row.
//
// A value is a number, a text, a boolean, or a list of them. A date or a timestamp is a text in
// ISO 8601. The members of a struct are columns of their own, named struct.member. A missing value
// is null, and a value of any other type is an empty object.
func Write(path string, out io.Writer) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the Parquet file is damaged: %v", p)
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	properties := parquet.NewReaderProperties(memory.DefaultAllocator)
	properties.BufferedStreamEnabled = true // pages are read one by one, not whole columns
	r, err := file.NewParquetReader(f, file.WithReadProps(properties))
	if err != nil {
		return damaged(err)
	}
	defer r.Close()
	w := bufio.NewWriterSize(out, 1<<16)
	columns := newColumns(r.MetaData().Schema)
	if len(columns) == 0 {
		return errors.New("the Parquet file has no columns")
	}
	line := []byte{'['}
	for i, c := range columns {
		line = appendText(appendComma(line, i), c.name)
	}
	if _, err := w.Write(append(line, "]\n"...)); err != nil {
		return err
	}
	for g := range r.NumRowGroups() {
		if err := writeGroup(w, r.RowGroup(g), columns); err != nil {
			return err
		}
	}
	return w.Flush()
}

func damaged(err error) error { return fmt.Errorf("the Parquet file is damaged: %w", err) }

// writeGroup writes the rows of a row group.
func writeGroup(w *bufio.Writer, group *file.RowGroupReader, columns []*column) error {
	for i, c := range columns {
		chunk, err := group.Column(i)
		if err != nil {
			return damaged(err)
		}
		if err := c.open(chunk); err != nil {
			return damaged(err)
		}
	}
	var line []byte
	for row := range group.NumRows() {
		line = append(line[:0], '[')
		for i, c := range columns {
			var err error
			if line, err = c.appendRow(appendComma(line, i)); err != nil {
				return fmt.Errorf("the Parquet file is damaged: column %q, row %d of its group: %w",
					c.name, row+1, err)
			}
		}
		if _, err := w.Write(append(line, "]\n"...)); err != nil {
			return err
		}
	}
	return nil
}

// appendComma appends a comma before every value but the first.
func appendComma(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return b
}

// appendText appends a text. Bytes that are no UTF-8 become the replacement character.
func appendText(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, strings.ToValidUTF8(s, "\ufffd"))
	return b
}
