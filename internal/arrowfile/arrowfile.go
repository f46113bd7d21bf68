// Package arrowfile writes and reads Arrow IPC files together with their digests.
//
// The Arrow library trusts every length that a file declares. Verify therefore compares the size
// and the SHA-256 of a file with the recorded ones before anything in it is decoded.
package arrowfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/go-json-experiment/json"
)

// batchRows is the number of rows of a record batch: a few MB, so that readers need not hold a
// whole file in memory.
const batchRows = 1 << 16

// Info describes a finished file.
type Info struct {
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // in hex
}

// ---- Writing ----

// Writer writes one file and computes its digest. For each row the caller appends one value to each
// column and then calls EndRow. It is not safe for concurrent use.
type Writer struct {
	*array.RecordBuilder
	file    *os.File
	sum     hash.Hash
	out     *ipc.FileWriter
	pending int // rows since the last batch
	info    Info
}

// Create creates the file dir/name, or truncates it. The caller must call Close or Abandon.
func Create(dir, name string, schema *arrow.Schema) (*Writer, error) {
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	w := &Writer{
		RecordBuilder: array.NewRecordBuilder(memory.DefaultAllocator, schema),
		file:          f, sum: sha256.New(), info: Info{Name: name},
	}
	w.out, err = ipc.NewFileWriter(&hashingFile{f: f, sum: w.sum}, ipc.WithSchema(schema))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// AppendString appends v to the string column i.
func (w *Writer) AppendString(i int, v string) { w.Field(i).(*array.StringBuilder).Append(v) }

// AppendInt appends v to the int64 column i.
func (w *Writer) AppendInt(i int, v int64) { w.Field(i).(*array.Int64Builder).Append(v) }

// AppendBool appends v to the boolean column i.
func (w *Writer) AppendBool(i int, v bool) { w.Field(i).(*array.BooleanBuilder).Append(v) }

// AppendJSON appends v as JSON to the string column i. Equal values give equal text.
func (w *Writer) AppendJSON(i int, v any) error {
	data, err := json.Marshal(v, json.Deterministic(true))
	w.AppendString(i, string(data))
	return err
}

// EndRow ends a row.
func (w *Writer) EndRow() error {
	w.info.Rows++
	if w.pending++; w.pending < batchRows {
		return nil
	}
	return w.flush()
}

func (w *Writer) flush() error {
	if w.pending == 0 {
		return nil
	}
	w.pending = 0
	rec := w.NewRecord()
	defer rec.Release()
	return w.out.Write(rec)
}

// Close finishes the file, makes it durable and returns its description.
func (w *Writer) Close() (Info, error) {
	defer w.Release()
	writeErr := errors.Join(w.flush(), w.out.Close(), w.file.Sync())
	st, statErr := w.file.Stat()
	if err := errors.Join(writeErr, statErr, w.file.Close()); err != nil {
		return Info{}, err
	}
	w.info.Bytes, w.info.SHA256 = st.Size(), hex.EncodeToString(w.sum.Sum(nil))
	return w.info, nil
}

// Abandon closes an unfinished file. The caller removes it.
func (w *Writer) Abandon() {
	w.Release()
	_ = w.file.Close()
}

// hashingFile hashes what is written. The Arrow library seeks only to learn its position, so the
// hash covers the file from front to back.
type hashingFile struct {
	f   *os.File
	sum hash.Hash
	at  int64
}

func (h *hashingFile) Write(p []byte) (int, error) {
	n, err := h.f.Write(p)
	h.sum.Write(p[:n])
	h.at += int64(n)
	return n, err
}

func (h *hashingFile) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return 0, errors.New("an Arrow file is written from front to back")
	}
	return h.at, nil
}

// ---- Reading ----

// Verify compares a file in dir with its description. It must succeed before Read is called.
func Verify(dir string, want Info) error {
	f, err := os.Open(filepath.Join(dir, want.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != want.Bytes {
		return fmt.Errorf(
			"%s has %d bytes instead of %d: it is truncated or another file; copy it again",
			want.Name, st.Size(), want.Bytes,
		)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want.SHA256 {
		return fmt.Errorf("%s has SHA-256 %s instead of %s: it was changed; copy it again",
			want.Name, got, want.SHA256)
	}
	return nil
}

// Read calls each with the record batches of a verified file. It fails if schema is not nil and the
// file has another one. A panic of the Arrow library becomes an error.
func Read(dir, name string, schema *arrow.Schema, each func(arrow.Record) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: the Arrow reader failed: %v", name, p)
		}
	}()
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := ipc.NewFileReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer r.Close()
	if schema != nil && !r.Schema().Equal(schema) {
		return fmt.Errorf("%s has another schema than this version writes:\n%s", name, r.Schema())
	}
	for i := range r.NumRecords() {
		rec, err := r.Record(i)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := each(rec); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// Strings returns the string column i of a record with a known schema.
func Strings(r arrow.Record, i int) *array.String { return r.Column(i).(*array.String) }

// Ints returns the int64 column i of a record with a known schema.
func Ints(r arrow.Record, i int) *array.Int64 { return r.Column(i).(*array.Int64) }

// Bools returns the boolean column i of a record with a known schema.
func Bools(r arrow.Record, i int) *array.Boolean { return r.Column(i).(*array.Boolean) }

// CloneString copies a string out of its batch. The string itself would keep the batch in memory.
func CloneString(c *array.String, i int) string { return strings.Clone(c.Value(i)) }
