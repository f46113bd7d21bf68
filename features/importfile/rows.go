package importfile

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"relish/internal/suggest"
	"relish/ranker"
)

// TextColumns reads the given columns of a CSV file, or of a file of JSON objects, as texts without
// blanks around them. It calls use with each row and its line, from 1; bad says why a row has no
// values. An error of use ends the reading and is returned.
//
// Of the options it reads Format, Separator and Columns, which maps the names to columns of the
// file.
func TextColumns(
	name string, in io.Reader, columns []string, opt Options,
	use func(line int, values []string, bad *ranker.EventError) error,
) error {
	stream, err := decompress(in)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer stream.close()
	if err := readTexts(name, stream, columns, opt, use); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: the file is truncated; copy or export it again", err)
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func readTexts(
	name string, in *stream, columns []string, opt Options,
	use func(line int, values []string, bad *ranker.EventError) error,
) error {
	for key := range opt.Columns {
		if find(columns, key) < 0 {
			return fmt.Errorf("columns are mapped to %s; there is no %q%s",
				strings.Join(columns, " and "), key, suggest.DidYouMean(key, columns))
		}
	}
	format, err := newReader(name, nil, opt).detect(in)
	if err != nil {
		return err
	}
	var t table
	switch format {
	case CSV:
		if t, err = newCSVTable(in, opt.Separator); err != nil {
			return err
		}
		for _, column := range columns {
			if _, err := position(t, column, opt.Columns); err != nil {
				return err
			}
		}
	case JSON:
		t = newJSONTable(in)
	default:
		return errors.New("this is a Parquet file; write it as CSV or JSON")
	}
	for {
		row, err := t.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		values := make([]string, len(columns))
		for i, column := range columns {
			at, err := position(t, column, opt.Columns)
			if err == nil && at < len(row.cells) && row.bad == nil {
				values[i] = row.cells[at].trimmed()
			}
		}
		if err := use(row.line, values, row.bad); err != nil {
			return err
		}
	}
}

// position returns where a column of the table is.
func position(t table, name string, mapped map[string]string) (int, error) {
	column := name
	if m, ok := mapped[name]; ok {
		column = m
	}
	if at := find(t.columns(), column); at >= 0 {
		return at, nil
	}
	return 0, fmt.Errorf("there is no column %q; the columns are %s%s. Name it with --columns "+
		"%s=COLUMN", column, list(t.columns()), suggest.DidYouMean(column, t.columns()), name)
}
