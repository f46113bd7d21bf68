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

// MaxLine bounds the line of one event in bytes. A Reader reports a longer line as an error and
// goes on with the next.
const MaxLine = 8 << 20

// Line is one event of a file, or the reason why the line has none.
type Line struct {
	Line  int // line number, from 1
	Event ranker.Event
	Err   *ranker.EventError
}

// Reader reads a file of events. Call All once, then Err. It is not safe for concurrent use.
type Reader struct {
	in     io.Reader
	format string
	err    error
}

// NewReader returns a Reader of events in the format native, metarank or csv. The input is plain,
// gzip or zstd; its first bytes tell which.
func NewReader(in io.Reader, format string) *Reader { return &Reader{in: in, format: format} }

// Err returns the error that ended All early, nil if All read the whole file.
func (r *Reader) Err() error { return r.err }

// All yields the file's events in order. An invalid event has Line.Err set. Only an error of the
// input ends All early, see Err.
func (r *Reader) All() iter.Seq[Line] {
	return func(yield func(Line) bool) {
		in, done, err := decompress(r.in)
		if err != nil {
			r.err = err
			return
		}
		defer done()
		br := bufio.NewReaderSize(in, 1<<16)
		if start, _ := br.Peek(len(byteOrderMark)); string(start) == byteOrderMark {
			_, _ = br.Discard(len(byteOrderMark))
		}
		switch r.format {
		case "native":
			r.err = eachLine(br, 1, ignoreLine(DecodeNative), yield)
		case "metarank":
			r.err = eachLine(br, 1, ignoreLine(DecodeMetarank), yield)
		case "csv":
			r.err = eachRow(br, yield)
		default:
			r.err = fmt.Errorf("unknown format %q; use native, metarank or csv", r.format)
		}
	}
}

// byteOrderMark is what some spreadsheets write at the start of a file.
const byteOrderMark = "\xef\xbb\xbf"

// lineDecoder decodes the line with the given number.
type lineDecoder func(line []byte, number int) (ranker.Event, *ranker.EventError)

func ignoreLine(decode func([]byte) (ranker.Event, *ranker.EventError)) lineDecoder {
	return func(line []byte, _ int) (ranker.Event, *ranker.EventError) { return decode(line) }
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
		zr, err := zstd.NewReader(
			br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20),
		)
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		return zr, zr.Close, nil
	}
	return br, func() {}, nil
}

// eachLine decodes the lines of br, the first of which has the number n. It skips empty lines.
func eachLine(br *bufio.Reader, n int, decode lineDecoder, yield func(Line) bool) error {
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

// readLine appends the next line to buf. It skips a line that is longer than MaxLine.
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
