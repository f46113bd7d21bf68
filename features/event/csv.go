package event

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"relish/internal/suggest"
	"relish/ranker"
)

// csvColumns are the columns of a CSV file of interactions. The first three are required.
var csvColumns = []string{"user", "item", "action", "time", "id", "session", "value", "impression"}

// csvRows decodes the rows of a CSV file of interactions. A row is one line: a value cannot contain
// a line break, so an unclosed quote damages only its own line.
type csvRows struct {
	at   map[string]int // column name -> position
	n    int            // number of columns
	line bytes.Reader
	br   *bufio.Reader
}

func eachRow(br *bufio.Reader, yield func(Line) bool) error {
	head, tooLong, err := readLine(br, nil)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("csv: read the header row: %w", err)
	}
	r := csvRows{br: bufio.NewReader(nil)}
	cells, bad := r.split(bytes.TrimSpace(head))
	if bad != nil || tooLong {
		return fmt.Errorf("csv: the first line must be a header row; the known columns are %s",
			strings.Join(csvColumns, ", "))
	}
	if r.at, err = columns(cells); err != nil {
		return err
	}
	r.n = len(cells)
	return eachLine(br, 2, r.event, yield)
}

func (r *csvRows) split(line []byte) ([]string, *ranker.EventError) {
	r.line.Reset(line)
	r.br.Reset(&r.line)
	cells, err := csv.NewReader(r.br).Read()
	var pe *csv.ParseError
	switch {
	case errors.As(err, &pe):
		return nil, &ranker.EventError{
			Code:    "malformed",
			Message: fmt.Sprintf("not a CSV row: column %d: %v", pe.Column, pe.Err),
		}
	case err != nil:
		return nil, &ranker.EventError{Code: "malformed", Message: "not a CSV row"}
	}
	return cells, nil
}

func columns(header []string) (map[string]int, error) {
	at := map[string]int{}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(name))
		if !slices.Contains(csvColumns, name) {
			return nil, unknownColumn(name)
		}
		if _, twice := at[name]; twice {
			return nil, fmt.Errorf("csv: column %q occurs twice in the header row", name)
		}
		at[name] = i
	}
	for _, c := range csvColumns[:3] {
		if _, ok := at[c]; !ok {
			return nil, fmt.Errorf("csv: the header row lacks the column %q", c)
		}
	}
	return at, nil
}

func unknownColumn(name string) error {
	known := strings.Join(csvColumns, ", ")
	switch hint := suggest.DidYouMean(name, csvColumns); {
	case strings.ContainsAny(name, ";\t"):
		return fmt.Errorf("csv: unknown column %.40q; separate columns with commas; columns are %s",
			name, known)
	case hint != "":
		return fmt.Errorf("csv: unknown column %.40q%s", name, hint)
	}
	return fmt.Errorf("csv: unknown column %.40q; columns are %s", name, known)
}

func (r *csvRows) event(line []byte, n int) (ranker.Event, *ranker.EventError) {
	row, bad := r.split(line)
	if bad != nil {
		return ranker.Event{}, bad
	}
	if len(row) != r.n {
		return ranker.Event{}, &ranker.EventError{
			Code:    "malformed",
			Message: fmt.Sprintf("has %d columns, but the header row has %d", len(row), r.n),
		}
	}
	get := func(name string) string {
		if i, ok := r.at[name]; ok {
			return row[i]
		}
		return ""
	}
	e := ranker.Event{
		Kind:         ranker.EventInteraction,
		ID:           get("id"),
		UserID:       get("user"),
		ItemID:       get("item"),
		Action:       get("action"),
		Session:      get("session"),
		ImpressionID: get("impression"),
	}
	if e.ID == "" {
		// The same row of the same file gets the same id, so a second import changes nothing.
		e.ID = fmt.Sprintf("csv-%d-%016x", n, xxhash.Sum64String(strings.Join(row, "\x00")))
	}
	if s := get("time"); s != "" {
		ms, err := ParseTime(s)
		if err != nil {
			return e, invalid("/time", err.Error())
		}
		e.Time = ms
	}
	if s := get("value"); s != "" {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return e, invalid("/value", "must be a number")
		}
		e.Value = &v
	}
	return e, nil
}
