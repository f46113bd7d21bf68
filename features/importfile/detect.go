package importfile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding/unicode"
)

// Bounds of the sample, the first rows of a file.
const (
	sampleRows  = 1000
	sampleBytes = 4 << 20
)

// stream is the text of a file.
type stream struct {
	*bufio.Reader
	close func()
}

const bufferBytes = 64 << 10

// maxWindow bounds the memory of a zstd decoder.
const maxWindow = 128 << 20

// decompress detects gzip, zstd and UTF-16 by the first bytes. It removes a byte order mark.
func decompress(in io.Reader) (*stream, error) {
	s := &stream{bufio.NewReaderSize(in, bufferBytes), func() {}}
	magic, err := s.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		zr, err := gzip.NewReader(s.Reader)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		s.Reader = bufio.NewReaderSize(zr, bufferBytes)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		zr, err := zstd.NewReader(
			s.Reader, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow),
		)
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		s.Reader, s.close = bufio.NewReaderSize(zr, bufferBytes), zr.Close
	}
	switch mark, _ := s.Peek(3); {
	case bytes.HasPrefix(mark, []byte("\xef\xbb\xbf")):
		_, _ = s.Discard(len("\xef\xbb\xbf"))
	case bytes.HasPrefix(mark, []byte("\xff\xfe")), bytes.HasPrefix(mark, []byte("\xfe\xff")):
		// Spreadsheets write UTF-16 as "Unicode text".
		utf16 := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder()
		s.Reader = bufio.NewReaderSize(utf16.Reader(s.Reader), bufferBytes)
	}
	if s.hasOldLineEnds() {
		s.Reader = bufio.NewReaderSize(oldLineEnds{s.Reader}, bufferBytes)
	}
	return s, nil
}

// hasOldLineEnds reports whether lines end with a carriage return alone, as old spreadsheets write.
func (s *stream) hasOldLineEnds() bool {
	for _, size := range []int{512, bufferBytes} {
		head, _ := s.Peek(size)
		if at := bytes.IndexAny(head, "\r\n"); at >= 0 {
			return head[at] == '\r' && at+1 < len(head) && !bytes.ContainsRune(head, '\n')
		}
	}
	return false
}

// oldLineEnds replaces carriage returns by line feeds.
type oldLineEnds struct{ in io.Reader }

func (r oldLineEnds) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	for i, b := range p[:n] {
		if b == '\r' {
			p[i] = '\n'
		}
	}
	return n, err
}

// magics are the first bytes of formats that are not text.
var magics = []struct{ bytes, hint string }{
	{"ARROW1", "an Arrow file: import feature columns with --format arrow --name NAME, and " +
		"events as Parquet, CSV or JSON"},
	{"PK\x03\x04", "a zip archive or a spreadsheet: unpack it, or save it as CSV"},
	{"SQLite format 3", "an SQLite database: export its tables as CSV"},
	{"\x89HDF", "an HDF5 file: write it as Parquet or CSV"},
}

const parquetMagic = "PAR1"

// detect returns the format of the file: the one that was asked for, or else the one that its
// content looks like.
func (r *Reader) detect(in *stream) (Format, error) {
	head, err := in.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	content := bytes.TrimLeft(head, " \t\r\n")
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.bytes)) {
			return "", fmt.Errorf("this is %s", m.hint)
		}
	}
	parquet := bytes.HasPrefix(head, []byte(parquetMagic))
	switch {
	case parquet && r.opt.Format != Auto && r.opt.Format != Parquet:
		return "", errors.New("this is a Parquet file; leave out --format")
	case r.opt.Format == Parquet && !parquet:
		return "", errors.New("this is not a Parquet file; leave out --format")
	case r.opt.Format != Auto:
		return r.opt.Format, nil
	case parquet:
		return Parquet, nil
	case len(content) == 0:
		return "", errors.New("the file is empty")
	case content[0] == '{' || content[0] == '[':
		return JSON, nil
	case bytes.IndexByte(head, 0) >= 0:
		return "", errors.New("this is not a text file, nor Parquet; write it as CSV, JSON or " +
			"Parquet")
	}
	// JSON that begins wrongly is not CSV either: the messages about its lines help more.
	name := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(r.name), ".gz"), ".zst")
	switch filepath.Ext(name) {
	case ".json", ".jsonl", ".ndjson":
		return JSON, nil
	}
	return CSV, nil
}
