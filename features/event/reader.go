package event

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"

	"relish/ranker"
)

// MaxLine bounds one event's line; a longer one is refused and the reading goes on after it.
const MaxLine = 8 << 20

// Line is one event of a file, or why it is none.
type Line struct {
	Line  int // from 1
	Event ranker.Event
	Err   *ranker.EventError
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
		br := bufio.NewReaderSize(in, 1<<16)
		if bom, _ := br.Peek(3); string(bom) == "\xef\xbb\xbf" { // some spreadsheets put one first
			_, _ = br.Discard(3)
		}
		switch r.format {
		case "native":
			r.err = eachLine(br, 1, func(line []byte, _ int) (ranker.Event, *ranker.EventError) { return DecodeNative(line) }, yield)
		case "metarank":
			r.err = eachLine(br, 1, func(line []byte, _ int) (ranker.Event, *ranker.EventError) { return DecodeMetarank(line) }, yield)
		case "csv":
			r.err = eachRow(br, yield)
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

// eachLine decodes line after line, of which br is at the n-th; empty ones are passed over.
func eachLine(br *bufio.Reader, n int, decode func(line []byte, n int) (ranker.Event, *ranker.EventError), yield func(Line) bool) error {
	var buf []byte
	for ; ; n++ {
		line, tooLong, err := readLine(br, buf[:0])
		buf = line
		if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 || tooLong {
			l := Line{Line: n}
			if tooLong {
				l.Err = tooLarge("", MaxLine, "bytes")
			} else if l.Event, l.Err = decode(trimmed, n); l.Err == nil {
				l.Err = Validate(&l.Event)
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
