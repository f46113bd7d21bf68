package event

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
)

// MaxLine bounds one event's line; a longer one is refused and the reading goes on after it.
const MaxLine = 8 << 20

// Line is one event of a file, or why it is none.
type Line struct {
	Line  int // from 1
	Event Event
	Err   *Error
}

// Reader reads a file of events. Use All once, then Err.
type Reader struct {
	in     io.Reader
	format string
	err    error
}

// NewReader reads events of the format native, metarank or csv from in: plain, gzip or zstd, known by
// the first bytes.
func NewReader(in io.Reader, format string) *Reader { return &Reader{in: in, format: format} }

// Err returns the error that ended All early, nil at a clean end of the file.
func (r *Reader) Err() error { return r.err }

// All yields the file's events in order. Wrong ones come with Err set; only a failure to read on
// ends it early (see Err).
func (r *Reader) All() iter.Seq[Line] {
	return func(yield func(Line) bool) {
		in, done, err := decompress(r.in)
		if err != nil {
			r.err = err
			return
		}
		defer done()
		switch r.format {
		case "native":
			r.err = eachLine(in, DecodeNative, yield)
		case "metarank":
			r.err = eachLine(in, DecodeMetarank, yield)
		case "csv":
			r.err = eachRow(in, yield)
		default:
			r.err = fmt.Errorf("format %q is unknown; it is native, metarank or csv", r.format)
		}
	}
}

func decompress(in io.Reader) (io.Reader, func(), error) {
	br := bufio.NewReaderSize(in, 1<<16)
	magic, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, nil, fmt.Errorf("gzip: %w", err)
		}
		return zr, func() { zr.Close() }, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		return zr, zr.Close, nil
	}
	return br, func() {}, nil
}

func eachLine(in io.Reader, decode func([]byte) (Event, *Error), yield func(Line) bool) error {
	br := bufio.NewReaderSize(in, 1<<16)
	var buf []byte
	for n := 1; ; n++ {
		line, tooLong, err := readLine(br, buf[:0])
		buf = line
		if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 || tooLong {
			l := Line{Line: n}
			if tooLong {
				l.Err = tooLarge("", MaxLine, "bytes")
			} else if l.Event, l.Err = decode(trimmed); l.Err == nil {
				l.Err = l.Event.Validate()
			}
			if !yield(l) {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
}

// readLine appends the next line to buf, or skips it when it is longer than MaxLine.
func readLine(br *bufio.Reader, buf []byte) (line []byte, tooLong bool, err error) {
	for {
		part, err := br.ReadSlice('\n')
		if len(buf)+len(part) > MaxLine {
			tooLong, buf = true, buf[:0]
		} else if !tooLong {
			buf = append(buf, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return buf, tooLong, err
		}
	}
}

// csvColumns are the columns a CSV of interactions may have; the first three it must have.
var csvColumns = []string{"user", "item", "action", "time", "id", "session", "value", "impression"}

func eachRow(in io.Reader, yield func(Line) bool) error {
	cr := csv.NewReader(in)
	cr.ReuseRecord = true
	header, err := cr.Read()
	if err != nil {
		return fmt.Errorf("csv: the header row: %w", err)
	}
	at, err := columns(header)
	if err != nil {
		return err
	}
	for {
		row, err := cr.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var l Line
		var pe *csv.ParseError
		switch {
		case errors.As(err, &pe):
			l = Line{Line: pe.StartLine, Err: &Error{Code: "malformed", Message: "csv: " + pe.Err.Error()}}
		case err != nil:
			return err
		default:
			l.Line, _ = cr.FieldPos(0)
			if l.Event, l.Err = rowEvent(row, at, l.Line); l.Err == nil {
				l.Err = l.Event.Validate()
			}
		}
		if !yield(l) {
			return nil
		}
	}
}

func columns(header []string) (map[string]int, error) {
	at := map[string]int{}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(name))
		known := false
		for _, c := range csvColumns {
			known = known || c == name
		}
		if !known {
			return nil, fmt.Errorf("csv: column %q is unknown; columns are %s", name, strings.Join(csvColumns, ", "))
		}
		at[name] = i
	}
	for _, c := range csvColumns[:3] {
		if _, ok := at[c]; !ok {
			return nil, fmt.Errorf("csv: column %q is missing in the header row", c)
		}
	}
	return at, nil
}

func rowEvent(row []string, at map[string]int, line int) (Event, *Error) {
	get := func(name string) string {
		if i, ok := at[name]; ok {
			return strings.Clone(row[i])
		}
		return ""
	}
	e := Event{Kind: Interaction, ID: get("id"), UserID: get("user"), ItemID: get("item"), Action: get("action"),
		Session: get("session"), ImpressionID: get("impression")}
	if e.ID == "" {
		// The same row of the same file gives the same id, so importing it again changes nothing.
		e.ID = fmt.Sprintf("csv-%d-%016x", line, xxhash.Sum64String(strings.Join(row, "\x00")))
	}
	if s := get("time"); s != "" {
		ms, err := ParseTime(s)
		if err != nil {
			return e, &Error{Code: "invalid_field", Pointer: "/time", Message: err.Error()}
		}
		e.Time = ms
	}
	if s := get("value"); s != "" {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return e, &Error{Code: "invalid_field", Pointer: "/value", Message: "must be a number"}
		}
		e.Value = &v
	}
	return e, nil
}
