// Package trees trains the blend: gradient-boosted trees that order lists (LambdaMART), by LightGBM's C
// library. What it makes, LightGBM's model text, is served by ranker/blend without that library.
//
// The library is opened at run time by dlopen, from the assets folder (lightgbm/lib_lightgbm.so): a
// binary that only serves starts without it. Columns have positions and no names here; the schema hash
// of the bundle guards what they mean. LightGBM holds the training rows binned, about one byte a cell,
// beside the caller's. Its messages are discarded; a fatal one is returned as an error, and LightGBM
// prints it to standard error as well.
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

// Library is LightGBM's opened C library. It is safe for concurrent use, and stays loaded: its threads
// live as long as the process.
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
	"LGBM_BoosterCreate", "LGBM_BoosterLoadModelFromString", "LGBM_BoosterFree", "LGBM_BoosterMerge",
	"LGBM_BoosterAddValidData", "LGBM_BoosterUpdateOneIter", "LGBM_BoosterGetPredict",
	"LGBM_BoosterSaveModelToString", "LGBM_BoosterFeatureImportance", "LGBM_BoosterPredictForMat",
	"LGBM_BoosterPredictForMatSingleRowFastInit", "LGBM_BoosterPredictForMatSingleRowFast", "LGBM_FastConfigFree",
}

// Open loads the library at path. It is fetched by make build; it needs libgomp1.
func Open(path string) (*Library, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("trees: no LightGBM library: %w; run make build, or name its folder with --assets", err)
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	runtime.LockOSThread() // dlerror is the thread's
	defer runtime.UnlockOSThread()
	handle := C.dlopen(name, C.RTLD_NOW|C.RTLD_LOCAL)
	if handle == nil {
		return nil, fmt.Errorf("trees: opening LightGBM: %s; it needs the package libgomp1", C.GoString(C.dlerror()))
	}
	l := &Library{}
	for f, symbol := range symbols {
		s := C.CString(symbol)
		l.functions[f] = C.dlsym(handle, s)
		C.free(unsafe.Pointer(s))
		if l.functions[f] == nil {
			return nil, fmt.Errorf("trees: %s has no %s: it is no LightGBM 4 library", path, symbol)
		}
	}
	return l, nil
}

// call runs one function of the library. Its error belongs to the thread, and so does the log callback.
func (l *Library) call(what string, f func() C.int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	C.lgbm_silence(l.functions[registerLogCallback])
	if f() == 0 {
		return nil
	}
	return fmt.Errorf("trees: %s: LightGBM: %s", what, C.GoString(C.lgbm_last_error(l.functions[getLastError])))
}

// withCString calls f with s as a C string.
func withCString(s string, f func(*C.char) C.int) C.int {
	c := C.CString(s)
	defer C.free(unsafe.Pointer(c))
	return f(c)
}
