package importfile

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"relish/ranker"
)

// csvTable reads a CSV file with a header row. A quoted value may span lines. A quote that is not
// closed damages only its own line.
type csvTable struct {
	lines     lineReader
	separator rune
	names     []string
}

// separators are tried in this order.
var separators = []rune{',', ';', '\t', '|'}

// maxRowLines bounds the lines of one row: how far the end of a quoted value is looked for.
const maxRowLines = 200

// newCSVTable reads the header row. The separator 0 is detected by it.
func newCSVTable(in *stream, separator rune) (*csvTable, error) {
	t := &csvTable{lines: lineReader{in: in.Reader}, separator: separator}
	head, err := t.lines.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err != nil || head.tooLong || !utf8.Valid(head.text) {
		return nil, errors.New("the first line must be a header row with the names of the columns")
	}
	candidates := separators
	if separator != 0 {
		candidates = []rune{separator}
	}
	for _, s := range candidates {
		names, bad := split(head.text, s)
		if bad == nil && len(names) > len(t.names) {
			t.names, t.separator = names, s
		}
	}
	if t.names == nil {
		return nil, fmt.Errorf("the header row %.100q is not a row of CSV", head.text)
	}
	return t, checkHeader(t.names)
}

// checkHeader trims the names of the columns. It refuses a row of values.
func checkHeader(names []string) error {
	seen := map[string]bool{}
	for i, name := range names {
		name = strings.TrimSpace(name)
		if _, ok := fieldNumber(name); ok {
			return fmt.Errorf("the first line looks like a row of values, not like a header row: "+
				"%.100s. Put a line with the names of the columns before it",
				strings.Join(names, ", "))
		}
		if seen[name] && name != "" {
			return fmt.Errorf("column %.40q occurs twice in the header row", name)
		}
		names[i], seen[name] = name, true
	}
	return nil
}

func (t *csvTable) columns() []string { return t.names }

func (t *csvTable) next() (tableRow, error) {
	first, err := t.lines.next()
	if err != nil {
		return tableRow{}, err
	}
	row := tableRow{line: first.number, size: len(first.text)}
	if first.tooLong {
		row.bad = tooLong()
		return row, nil
	}
	row.cells, row.bad, err = t.cells(first)
	return row, err
}

// cells returns the cells of the row that begins with first, or the reason why it has none.
func (t *csvTable) cells(first line) ([]cell, *ranker.EventError, error) {
	values, bad := t.split(first.text)
	if bad != nil && bytes.Count(first.text, quote)%2 == 1 {
		joined, err := t.spanning(first)
		if err != nil {
			return nil, nil, err
		}
		if joined != nil {
			values, bad = joined, nil
		}
	}
	if bad != nil {
		return nil, bad, nil
	}
	cells := make([]cell, len(t.names))
	for i := range cells {
		if v := values[i]; v != "" {
			cells[i] = cell{kind: untyped, text: v}
		}
	}
	return cells, nil, nil
}

var quote = []byte{'"'}

// spanning returns the values of a row that begins with first and whose quoted value spans lines.
// It is nil, and the lines stay to be read, if they do not form a row.
func (t *csvTable) spanning(first line) (values []string, err error) {
	joined, more := bytes.Clone(first.text), []line(nil)
	for len(more) < maxRowLines {
		next, err := t.lines.nextRaw()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		more = append(more, next)
		if next.tooLong || len(joined)+len(next.text) > MaxRow {
			break
		}
		joined = append(append(joined, '\n'), next.text...)
		if bytes.Count(next.text, quote)%2 == 1 {
			if values, bad := t.split(joined); bad == nil {
				return values, nil
			}
			break
		}
	}
	t.lines.unread(more)
	return nil, nil
}

// split splits a row and checks the number of its values.
func (t *csvTable) split(row []byte) ([]string, *ranker.EventError) {
	values, bad := split(row, t.separator)
	if bad == nil {
		bad = t.checkWidth(&values)
	}
	if bad != nil && t.separator == '\t' {
		// Many tools write tab-separated values without quoting.
		plain := strings.Split(string(row), "\t")
		if t.checkWidth(&plain) == nil && utf8.Valid(row) {
			return plain, nil
		}
	}
	return values, bad
}

// checkWidth compares the number of values with that of the columns. Empty values at the end may be
// too many or too few.
func (t *csvTable) checkWidth(values *[]string) *ranker.EventError {
	v, n := *values, len(t.names)
	for len(v) > n && strings.TrimSpace(v[len(v)-1]) == "" {
		v = v[:len(v)-1]
	}
	*values = v
	if len(v) != n {
		return malformed("has %d columns, but the header row has %d", len(v), n)
	}
	return nil
}

// split splits one row of CSV.
func split(row []byte, separator rune) ([]string, *ranker.EventError) {
	if !utf8.Valid(row) {
		return nil, malformed("is not UTF-8: convert the file, for example by " +
			"iconv -f WINDOWS-1252 -t UTF-8")
	}
	if !bytes.Contains(row, quote) {
		return strings.Split(string(row), string(separator)), nil
	}
	r := csv.NewReader(bytes.NewReader(row))
	r.Comma = separator
	values, err := r.Read()
	var pe *csv.ParseError
	switch {
	case errors.As(err, &pe):
		return nil, malformed("not a CSV row: column %d: %v", pe.Column, pe.Err)
	case err != nil:
		return nil, malformed("not a CSV row")
	}
	return values, nil
}

func malformed(format string, args ...any) *ranker.EventError {
	return &ranker.EventError{Code: "malformed", Message: fmt.Sprintf(format, args...)}
}

func tooLong() *ranker.EventError {
	return &ranker.EventError{
		Code: "too_large", Message: fmt.Sprintf("must have at most %d bytes", MaxRow),
	}
}

// ---- Lines ----

// line is one line without its end.
type line struct {
	number  int
	text    []byte
	tooLong bool // text is not the whole line
}

// lineReader reads lines that may be given back.
type lineReader struct {
	in     *bufio.Reader
	number int
	again  []line
}

// next returns the next line that is not blank, io.EOF after the last.
func (r *lineReader) next() (line, error) {
	for {
		l, err := r.nextRaw()
		if err != nil || l.tooLong || len(bytes.TrimSpace(l.text)) > 0 {
			return l, err
		}
	}
}

// nextRaw returns the next line, which may be blank. An error carries the number of the line.
func (r *lineReader) nextRaw() (line, error) {
	if len(r.again) > 0 {
		l := r.again[0]
		r.again = r.again[1:]
		return l, nil
	}
	r.number++
	l := line{number: r.number}
	for {
		part, err := r.in.ReadSlice('\n')
		switch {
		case l.tooLong:
		case len(l.text)+len(part) > MaxRow:
			l.tooLong, l.text = true, nil
		default:
			l.text = append(l.text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(l.text) == 0 && !l.tooLong:
			return l, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return l, fmt.Errorf("line %d: %w", r.number, err)
		}
		l.text = bytes.TrimRight(l.text, "\r\n")
		return l, nil
	}
}

func (r *lineReader) unread(lines []line) { r.again = append(lines, r.again...) }
