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

// The file of a trained signal is flat and little-endian: the magic, the kind, a format version,
// and then the parts in a fixed order. Each part is a count (uint64) and that many values. The
// bundle's manifest has the file's digest, so Encode wrote what is read here. The reader still
// trusts no count and no value.
const fileMagic = "RLMT"

// fileVersion returns the format version of a kind's file.
func fileVersion(kind string) int {
	switch kind {
	case KindResidualGP, KindContentPrior:
		return 4
	case KindLexical:
		return 2
	}
	return 1
}

// oldestFileVersion returns the oldest format version of a kind's file that is read.
func oldestFileVersion(kind string) int {
	switch kind {
	case KindResidualGP, KindContentPrior:
		return 3 // without ContentFeatures.FieldLimits
	}
	return 1
}

// errMalformedFile is wrapped by every error of a file that Encode did not write.
var errMalformedFile = errors.New("malformed signal file; copy the bundle again or train a new one")

// otherVersion is the error of an intact file that another version of Relish wrote.
func otherVersion(version, own int) error {
	const text = "the signal file has format version %d, which %s version of relish wrote; this " +
		"one reads %d: %s"
	if version < own {
		return fmt.Errorf(text, version, "an older", own, "train a new bundle")
	}
	return fmt.Errorf(text, version, "a newer", own, "use a newer relish, or train a new bundle")
}

// malformed returns an error that wraps errMalformedFile.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMalformedFile, fmt.Sprintf(format, args...))
}

// fileWriter writes the parts of a file.
type fileWriter struct{ buf []byte }

func newFileWriter(kind string) *fileWriter {
	w := &fileWriter{buf: []byte(fileMagic)}
	w.text(kind)
	w.count(fileVersion(kind))
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

// fileReader reads what fileWriter wrote. After the first error, which err keeps, every read
// returns the zero value.
type fileReader struct {
	data    []byte
	version int // format version of the file
	err     error
}

func newFileReader(kind string, data []byte) *fileReader {
	rest, ok := bytes.CutPrefix(data, []byte(fileMagic))
	r := &fileReader{data: rest}
	if !ok {
		r.err = malformed("it does not begin with %q", fileMagic)
		return r
	}
	if got := r.text(); r.err == nil && got != kind {
		r.err = malformed("its kind is %q, expected %q", got, kind)
	}
	oldest, newest := oldestFileVersion(kind), fileVersion(kind)
	r.version = r.count(1)
	if r.err == nil && (r.version < oldest || r.version > newest) {
		r.err = otherVersion(r.version, newest)
	}
	return r
}

// take returns the next n bytes.
func (r *fileReader) take(n int) []byte {
	if r.err == nil && n > len(r.data) {
		r.err = malformed("it is truncated")
	}
	if r.err != nil {
		return nil
	}
	out := r.data[:n]
	r.data = r.data[n:]
	return out
}

// count reads a count of values that take size bytes each at least.
func (r *fileReader) count(size int) int {
	raw := r.take(8)
	if raw == nil {
		return 0
	}
	n := binary.LittleEndian.Uint64(raw)
	if size > 1 && n > uint64(len(r.data)/size) || n > math.MaxInt32 {
		r.err = malformed("a count is %d", n)
		return 0
	}
	return int(n)
}

// maxDim bounds the dimensions that a file may ask for.
const maxDim = 4096

// dim reads a dimension, 0 to maxDim.
func (r *fileReader) dim() int {
	n := r.count(1)
	if r.err == nil && n > maxDim {
		r.err = malformed("a dimension is %d, the maximum is %d", n, maxDim)
		return 0
	}
	return n
}

func (r *fileReader) text() string { return string(r.take(r.count(1))) }

func (r *fileReader) strings() []string {
	out := make([]string, r.count(8))
	for i := range out {
		out[i] = r.text()
	}
	return out
}

// number reads a finite number.
func (r *fileReader) number() float64 {
	raw := r.take(8)
	if raw == nil {
		return 0
	}
	x := math.Float64frombits(binary.LittleEndian.Uint64(raw))
	if x-x != 0 {
		r.err = malformed("a number is not finite")
	}
	return x
}

// list reads the bytes of values of four bytes each. want is their number, -1 for any.
func (r *fileReader) list(want int) []byte {
	n := r.count(4)
	raw := r.take(4 * n)
	if r.err == nil && want >= 0 && n != want {
		r.err = malformed("a list has %d values, expected %d", n, want)
	}
	if r.err != nil {
		return nil
	}
	return raw
}

// floats reads finite values. want is their number, -1 for any.
func (r *fileReader) floats(want int) []float32 {
	raw := r.list(want)
	out := make([]float32, len(raw)/4)
	for i := range out {
		x := math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		if x-x != 0 {
			r.err = malformed("a value is not finite")
		}
		out[i] = x
	}
	return out
}

// boundedFloats is floats for values of at least minimum.
func (r *fileReader) boundedFloats(want int, minimum float32) []float32 {
	out := r.floats(want)
	for _, x := range out {
		if x < minimum {
			r.err = malformed("a value is %g, the minimum is %g", x, minimum)
		}
	}
	return out
}

// ints reads values from lowest to limit-1. want is their number, -1 for any.
func (r *fileReader) ints(want, lowest, limit int) []int32 {
	raw := r.list(want)
	out := make([]int32, len(raw)/4)
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
		if int(out[i]) < lowest || int(out[i]) >= limit {
			r.err = malformed("value %d is not from %d to %d", out[i], lowest, limit-1)
		}
	}
	return out
}

// rowOffsets reads where each of the n rows of a sparse matrix begins among its entries.
func (r *fileReader) rowOffsets(n, entries int) []int32 {
	first := r.ints(n+1, 0, entries+1)
	for i := 1; r.err == nil && i < len(first); i++ {
		if first[i] < first[i-1] {
			r.err = malformed("its row offsets are not in ascending order")
		}
	}
	if r.err == nil && (first[0] != 0 || int(first[n]) != entries) {
		r.err = malformed("its row offsets do not cover the %d entries", entries)
	}
	return first
}

// items reads the ids of an item table, which must be distinct. It returns shared if that has the
// same ids.
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
		if _, repeated := seen[id]; repeated {
			r.err = malformed("item %q repeats", id)
		}
		seen[id] = struct{}{}
	}
	return ranker.NewItemTable(ids)
}

// end returns the first error. Bytes that are left are an error too.
func (r *fileReader) end() error {
	if r.err == nil && len(r.data) > 0 {
		r.err = malformed("%d bytes follow its end", len(r.data))
	}
	return r.err
}
