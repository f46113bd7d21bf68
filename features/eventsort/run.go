package eventsort

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"relish/features/event"
)

// A run is a temporary file of sorted records. Each record stands behind its length as a uvarint.
// The file exists as long as its process, so its format has no version.
type run struct{ path string }

const (
	runPrefix = "sort-"
	runBuffer = 1 << 18
)

func isRun(name string) bool { return strings.HasPrefix(name, runPrefix) }

func runPath(dir, name string) string { return filepath.Join(dir, name) }

// writeRun writes sorted records to a new file in dir, which it creates.
func writeRun(dir string, entries iter.Seq2[entry, error]) (_ *run, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, runPrefix)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, runBuffer)
	var head []byte
	for e, err := range entries {
		if err != nil {
			return nil, err
		}
		head = binary.AppendUvarint(head[:0], uint64(len(e.packed)))
		if _, err := w.Write(head); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.packed); err != nil {
			return nil, err
		}
	}
	return &run{f.Name()}, w.Flush()
}

func (r *run) remove() error { return os.Remove(r.path) }

// entries yields the records of the file.
func (r *run) entries() iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		f, err := os.Open(r.path)
		if err != nil {
			yield(entry{}, err)
			return
		}
		defer f.Close()
		in := bufio.NewReaderSize(f, runBuffer)
		for {
			size, err := binary.ReadUvarint(in)
			if errors.Is(err, io.EOF) {
				return
			}
			var e entry
			if err == nil {
				e, err = readEntry(in, int(size))
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func readEntry(in io.Reader, size int) (e entry, err error) {
	e.packed = make([]byte, size)
	if _, err := io.ReadFull(in, e.packed); err != nil {
		return e, err
	}
	e.order, _, err = unpackOrder(e.packed)
	return e, err
}

// pack returns a record's place, its arrival, and then its event as in the log.
func pack(o *event.Order, rec *event.Record) ([]byte, error) {
	b := binary.AppendVarint(nil, o.Time)
	b = append(b, o.Rank)
	b = binary.LittleEndian.AppendUint64(b, o.Hash)
	b = binary.AppendUvarint(b, o.Seq)
	b = binary.AppendUvarint(b, uint64(len(o.Replica)))
	b = append(b, o.Replica...)
	b = binary.AppendVarint(b, rec.Arrival)
	return event.AppendLog(b, &rec.Event)
}

var errTruncated = errors.New("a temporary file is damaged")

// unpackOrder returns the place and what stands after it.
func unpackOrder(b []byte) (o event.Order, rest []byte, err error) {
	var n int
	if o.Time, n = binary.Varint(b); n <= 0 || len(b) < n+9 {
		return o, nil, errTruncated
	}
	o.Rank, o.Hash, b = b[n], binary.LittleEndian.Uint64(b[n+1:]), b[n+9:]
	if o.Seq, n = binary.Uvarint(b); n <= 0 {
		return o, nil, errTruncated
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return o, nil, errTruncated
	}
	o.Replica = string(b[n : n+int(size)])
	return o, b[n+int(size):], nil
}

func unpack(b []byte) (event.Record, error) {
	o, b, err := unpackOrder(b)
	arrival, n := binary.Varint(b)
	if err != nil || n <= 0 {
		return event.Record{}, errTruncated
	}
	rec := event.Record{Seq: o.Seq, Arrival: arrival, Replica: o.Replica}
	rec.Event, err = event.DecodeLog(b[n:])
	return rec, err
}
