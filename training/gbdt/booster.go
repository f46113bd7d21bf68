package gbdt

/*
#include "lightgbm.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"unsafe"
)

// Booster is a model that LightGBM holds. It is for comparisons with ranker/scorer and for reports
// over many rows. It is safe for concurrent use until Close.
type Booster struct {
	lib      *Library
	handle   unsafe.Pointer
	numTrees int
}

// LoadBooster reads a model's text. The caller closes the booster.
func (l *Library) LoadBooster(model []byte) (*Booster, error) {
	b := &Booster{lib: l}
	n := C.int(0)
	err := l.call("reading a model", func() C.int {
		return withCString(string(model), func(text *C.char) C.int {
			return C.lgbm_load(l.functions[boosterLoad], text, &n, &b.handle)
		})
	})
	b.numTrees = int(n)
	return b, err
}

// Close frees the model. No other call may be under way or follow.
func (b *Booster) Close() { C.lgbm_free(b.lib.functions[boosterFree], b.handle) }

// LightGBM's constants for kinds of prediction.
const (
	predictRaw           = 1
	predictContributions = 3
)

// Predict returns the raw score of each row. rows is N x columns, row-major, NaN = missing.
func (b *Booster) Predict(rows []float32, columns int) ([]float64, error) {
	return b.predict(rows, columns, predictRaw, 1)
}

// Contributions returns N x (columns + 1) values: the contribution of each column to the row's raw
// score (TreeSHAP), and last the base, which is the mean over the training rows.
func (b *Booster) Contributions(rows []float32, columns int) ([]float64, error) {
	return b.predict(rows, columns, predictContributions, columns+1)
}

func (b *Booster) predict(rows []float32, columns, kind, width int) ([]float64, error) {
	n, err := rowCount(rows, columns)
	if err != nil {
		return nil, err
	}
	out := make([]float64, n*width)
	written := C.int64_t(0)
	err = b.lib.call("predicting", func() C.int {
		threads := fmt.Sprint("num_threads=", runtime.GOMAXPROCS(0))
		return withCString(threads, func(p *C.char) C.int {
			return C.lgbm_predict(b.lib.functions[boosterPredict], b.handle,
				(*C.float)(unsafe.SliceData(rows)), C.int32_t(n), C.int32_t(columns),
				C.int(kind), p, &written, (*C.double)(unsafe.SliceData(out)))
		})
	})
	return out, err
}

// PredictSingleRows is Predict by the library's fast path for single rows, on one thread. A server
// without ranker/scorer would call it. out has one element per row.
func (b *Booster) PredictSingleRows(rows []float32, columns int, out []float64) error {
	n, err := rowCount(rows, columns)
	if err != nil {
		return err
	}
	if len(out) != n {
		return fmt.Errorf("gbdt: out has %d elements for %d rows; it needs one per row",
			len(out), n)
	}
	f := &b.lib.functions
	return b.lib.call("predicting", func() C.int {
		return withCString("num_threads=1", func(p *C.char) C.int {
			return C.lgbm_predict_rows(f[fastInit], f[fastPredict], f[fastFree], b.handle,
				(*C.float)(unsafe.SliceData(rows)), C.int32_t(n), C.int32_t(columns), p,
				(*C.double)(unsafe.SliceData(out)))
		})
	})
}

func rowCount(rows []float32, columns int) (int, error) {
	if columns < 1 || len(rows) == 0 || len(rows)%columns != 0 {
		return 0, fmt.Errorf("gbdt: %d cells do not make rows of %d columns", len(rows), columns)
	}
	return len(rows) / columns, nil
}

// threadsLine is the only line of a model's text that depends on the machine.
var threadsLine = regexp.MustCompile(`\n\[num_threads: \d+\]`)

// modelText returns the model of the first rounds trees in LightGBM's text format, without the
// number of threads, so that equal trees give equal texts.
func (b *Booster) modelText(rounds int) ([]byte, error) {
	room := C.int64_t(1 << 16)
	for range 2 { // the second time with the size that the first call asked for
		buf := make([]byte, room)
		n := C.int64_t(0)
		err := b.lib.call("writing the model", func() C.int {
			return C.lgbm_save(b.lib.functions[boosterSave], b.handle, C.int(rounds), room, &n,
				(*C.char)(unsafe.Pointer(unsafe.SliceData(buf))))
		})
		if err != nil {
			return nil, err
		}
		if n <= room {
			return threadsLine.ReplaceAll(buf[:n-1], nil), nil // without the final zero
		}
		room = n
	}
	return nil, errors.New("gbdt: the model grew while it was written; report this as a bug")
}
