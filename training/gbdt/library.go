// Package gbdt trains the scorer: gradient-boosted decision trees that order lists (LambdaMART),
// with LightGBM's C library. The result is LightGBM's model text, which ranker/scorer evaluates
// without that library.
//
// The library is opened at run time with dlopen, from the assets folder (lightgbm/lib_lightgbm.so).
// A binary that only serves starts without it.
//
// Columns have indices but no names here; the schema hash of the bundle guards their meaning.
// LightGBM copies the training rows into bins, about one byte per cell. Its messages are discarded.
// A fatal one is returned as an error; LightGBM also prints it to standard error.
//
// The package starts no goroutines. LightGBM's own threads live as long as the process.
package gbdt

/*
#cgo LDFLAGS: -ldl
#include "lightgbm.h"
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"
)

// Library is LightGBM's C library. It is safe for concurrent use. It stays loaded until the process
// ends.
type Library struct {
	functions [functionCount]unsafe.Pointer
}

type libFunction int

const (
	getLastError libFunction = iota
	registerLogCallback
	datasetCreateFromMat
	datasetSetField
	datasetFree
	boosterCreate
	boosterLoad
	boosterFree
	boosterMerge
	boosterAddValid
	boosterUpdate
	boosterGetPredict
	boosterSave
	boosterImportance
	boosterPredict
	fastInit
	fastPredict
	fastFree
	functionCount
)

var symbols = [functionCount]string{
	"LGBM_GetLastError", "LGBM_RegisterLogCallback",
	"LGBM_DatasetCreateFromMat", "LGBM_DatasetSetField", "LGBM_DatasetFree",
	"LGBM_BoosterCreate", "LGBM_BoosterLoadModelFromString", "LGBM_BoosterFree",
	"LGBM_BoosterMerge",
	"LGBM_BoosterAddValidData", "LGBM_BoosterUpdateOneIter", "LGBM_BoosterGetPredict",
	"LGBM_BoosterSaveModelToString", "LGBM_BoosterFeatureImportance", "LGBM_BoosterPredictForMat",
	"LGBM_BoosterPredictForMatSingleRowFastInit", "LGBM_BoosterPredictForMatSingleRowFast",
	"LGBM_FastConfigFree",
}

// Open loads the library at path. make build fetches the library, which needs the package libgomp1.
func Open(path string) (*Library, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("gbdt: no LightGBM library: %w; run make build, or name its "+
			"folder with --assets", err)
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	runtime.LockOSThread() // dlerror belongs to the thread
	defer runtime.UnlockOSThread()
	handle := C.dlopen(name, C.RTLD_NOW|C.RTLD_LOCAL)
	if handle == nil {
		return nil, fmt.Errorf("gbdt: opening LightGBM: %s; install the package libgomp1",
			C.GoString(C.dlerror()))
	}
	l := &Library{}
	for f, symbol := range symbols {
		s := C.CString(symbol)
		l.functions[f] = C.dlsym(handle, s)
		C.free(unsafe.Pointer(s))
		if l.functions[f] == nil {
			return nil, fmt.Errorf("gbdt: %s has no function %s: it is not a LightGBM 4 library",
				path, symbol)
		}
	}
	return l, nil
}

// call runs one function of the library. what says in the error what was being done. LightGBM's
// error text and its log callback belong to the thread, so call keeps the thread.
func (l *Library) call(what string, f func() C.int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	C.lgbm_silence(l.functions[registerLogCallback])
	if f() == 0 {
		return nil
	}
	return fmt.Errorf("gbdt: %s: LightGBM: %s",
		what, C.GoString(C.lgbm_last_error(l.functions[getLastError])))
}

// withCString calls f with s as a C string, which is freed afterwards.
func withCString(s string, f func(*C.char) C.int) C.int {
	c := C.CString(s)
	defer C.free(unsafe.Pointer(c))
	return f(c)
}
