package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// batchRows is how many rows a record batch has: a few MB, so that readers need not hold a file whole.
const batchRows = 1 << 16

// FileInfo is what the manifest says of a file.
type FileInfo struct {
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// fileWriter writes one Arrow IPC file and keeps its digest.
type fileWriter struct {
	*array.RecordBuilder
	f    *os.File
	sum  hash.Hash
	out  *ipc.FileWriter
	n    int
	info FileInfo
}

func create(dir, name string, schema *arrow.Schema) (*fileWriter, error) {
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	w := &fileWriter{f: f, sum: sha256.New(), info: FileInfo{Name: name}, RecordBuilder: array.NewRecordBuilder(memory.DefaultAllocator, schema)}
	// The library seeks only to learn where it is, so that hashing what passes is enough.
	w.out, err = ipc.NewFileWriter(&hashingFile{f: f, sum: w.sum}, ipc.WithSchema(schema))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// hashingFile is a file that is written front to back and hashed on the way.
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
		return 0, errors.New("an Arrow file is written front to back")
	}
	return h.at, nil
}

// endRow is called after each row's values were appended.
func (w *fileWriter) endRow() error {
	w.info.Rows++
	if w.n++; w.n < batchRows {
		return nil
	}
	return w.flush()
}

func (w *fileWriter) flush() error {
	if w.n == 0 {
		return nil
	}
	w.n = 0
	rec := w.NewRecord()
	defer rec.Release()
	return w.out.Write(rec)
}

// close finishes the file, makes it durable and returns what the manifest says of it.
func (w *fileWriter) close() (FileInfo, error) {
	defer w.Release()
	err := errors.Join(w.flush(), w.out.Close(), w.f.Sync())
	st, statErr := w.f.Stat()
	if err = errors.Join(err, statErr, w.f.Close()); err != nil {
		return FileInfo{}, err
	}
	w.info.Bytes, w.info.SHA256 = st.Size(), hex.EncodeToString(w.sum.Sum(nil))
	return w.info, nil
}

// abandon closes a file that will not be finished.
func (w *fileWriter) abandon() {
	w.Release()
	_ = w.f.Close()
}

// verify checks a file against the manifest before anybody decodes it: the library trusts every length that a
// file declares.
func verify(dir string, want FileInfo) error {
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
		return fmt.Errorf("%s has %d bytes, its manifest says %d: it is cut off or another file", want.Name, st.Size(), want.Bytes)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want.SHA256 {
		return fmt.Errorf("%s has SHA-256 %s, its manifest says %s: it was changed", want.Name, got, want.SHA256)
	}
	return nil
}

// read calls each with the record batches of a verified file whose schema is the wanted one.
func read(dir, name string, schema *arrow.Schema, each func(arrow.Record) error) (err error) {
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
