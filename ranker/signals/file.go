package signals

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"relish/ranker"
)

// A matcher's file is flat and little-endian: the magic, the kind, a format version, and then its parts in a fixed
// order, each a count (uint64) with that many values. The bundle's manifest has its digest, so what is read here was
// written by Encode; the reader still trusts no count and no value.
const (
	fileMagic   = "RLMT"
	fileVersion = 1
)

var errMalformedFile = errors.New("the matcher's file is not what this version writes")

type fileWriter struct{ buf []byte }

func newFileWriter(kind string) *fileWriter {
	w := &fileWriter{buf: []byte(fileMagic)}
	w.text(kind)
	w.count(fileVersion)
	return w
}

func (w *fileWriter) count(n int) { w.buf = binary.LittleEndian.AppendUint64(w.buf, uint64(n)) }

func (w *fileWriter) text(s string) {
	w.count(len(s))
	w.buf = append(w.buf, s...)
}

func (w *fileWriter) strings(list []string) {
	w.count(len(list))
	for _, s := range list {
		w.text(s)
	}
}

func (w *fileWriter) number(x float64) {
	w.buf = binary.LittleEndian.AppendUint64(w.buf, math.Float64bits(x))
}

func (w *fileWriter) floats(x []float32) {
	w.count(len(x))
	for _, v := range x {
		w.buf = binary.LittleEndian.AppendUint32(w.buf, math.Float32bits(v))
	}
}

func (w *fileWriter) ints(x []int32) {
	w.count(len(x))
	for _, v := range x {
		w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(v))
	}
}

type fileReader struct {
	data []byte
	err  error
}

func newFileReader(kind string, data []byte) *fileReader {
	rest, ok := bytes.CutPrefix(data, []byte(fileMagic))
	r := &fileReader{data: rest}
	if !ok {
		r.err = errMalformedFile
		return r
	}
	if got := r.text(); r.err == nil && got != kind {
		r.err = fmt.Errorf("%w: it is of kind %q, not %q", errMalformedFile, got, kind)
	}
	if v := r.count(1); r.err == nil && v != fileVersion {
		r.err = fmt.Errorf("%w: its format is %d, this server reads %d", errMalformedFile, v, fileVersion)
	}
	return r
}

// take returns the next n bytes.
func (r *fileReader) take(n int) []byte {
	if r.err == nil && n > len(r.data) {
		r.err = fmt.Errorf("%w: it is cut off", errMalformedFile)
	}
	if r.err != nil {
		return nil
	}
	out := r.data[:n]
	r.data = r.data[n:]
	return out
}

// count reads a count of values of at least size bytes each.
func (r *fileReader) count(size int) int {
	raw := r.take(8)
	if raw == nil {
		return 0
	}
	n := binary.LittleEndian.Uint64(raw)
	if size > 1 && n > uint64(len(r.data)/size) || n > math.MaxInt32 {
		r.err = fmt.Errorf("%w: a count of %d", errMalformedFile, n)
		return 0
	}
	return int(n)
}

func (r *fileReader) text() string { return string(r.take(r.count(1))) }

func (r *fileReader) strings() []string {
	out := make([]string, r.count(8))
	for i := range out {
		out[i] = r.text()
	}
	return out
}

func (r *fileReader) number() float64 {
	raw := r.take(8)
	if raw == nil {
		return 0
	}
	x := math.Float64frombits(binary.LittleEndian.Uint64(raw))
	if x-x != 0 {
		r.err = fmt.Errorf("%w: a number is not finite", errMalformedFile)
	}
	return x
}

// list reads the bytes of values of four bytes each, want of them unless that is negative; none after an error.
func (r *fileReader) list(want int) []byte {
	n := r.count(4)
	raw := r.take(4 * n)
	if r.err == nil && want >= 0 && n != want {
		r.err = fmt.Errorf("%w: %d values where %d belong", errMalformedFile, n, want)
	}
	if r.err != nil {
		return nil
	}
	return raw
}

// floats reads finite values, want of them unless that is negative.
func (r *fileReader) floats(want int) []float32 {
	raw := r.list(want)
	out := make([]float32, len(raw)/4)
	for i := range out {
		x := math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		if x-x != 0 {
			r.err = fmt.Errorf("%w: a value is not finite", errMalformedFile)
		}
		out[i] = x
	}
	return out
}

// boundedFloats reads as floats does; no value may be below least.
func (r *fileReader) boundedFloats(want int, least float32) []float32 {
	out := r.floats(want)
	for _, x := range out {
		if x < least {
			r.err = fmt.Errorf("%w: a value of %g, where %g is the least", errMalformedFile, x, least)
		}
	}
	return out
}

// ints reads values from lowest to below limit, want of them unless that is negative.
func (r *fileReader) ints(want, lowest, limit int) []int32 {
	raw := r.list(want)
	out := make([]int32, len(raw)/4)
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
		if int(out[i]) < lowest || int(out[i]) >= limit {
			r.err = fmt.Errorf("%w: a value is out of range", errMalformedFile)
		}
	}
	return out
}

// rowOffsets reads where each of n rows of a sparse table with the given number of entries starts.
func (r *fileReader) rowOffsets(n, entries int) []int32 {
	first := r.ints(n+1, 0, entries+1)
	for i := 1; r.err == nil && i < len(first); i++ {
		if first[i] < first[i-1] {
			r.err = fmt.Errorf("%w: its rows are out of order", errMalformedFile)
		}
	}
	if r.err == nil && (first[0] != 0 || int(first[n]) != entries) {
		r.err = fmt.Errorf("%w: its rows do not cover their entries", errMalformedFile)
	}
	return first
}

// items reads the ids of a table, which are distinct.
func (r *fileReader) items(shared *ranker.ItemTable) *ranker.ItemTable {
	ids := r.strings()
	if r.err != nil {
		return ranker.NewItemTable(nil)
	}
	if shared != nil && slices.Equal(shared.IDs(), ids) {
		return shared
	}
	seen := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		if _, twice := seen[id]; twice {
			r.err = fmt.Errorf("%w: an item stands twice", errMalformedFile)
		}
		seen[id] = struct{}{}
	}
	return ranker.NewItemTable(ids)
}

// end checks that nothing is left.
func (r *fileReader) end() error {
	if r.err == nil && len(r.data) > 0 {
		r.err = fmt.Errorf("%w: %d bytes follow its end", errMalformedFile, len(r.data))
	}
	return r.err
}
