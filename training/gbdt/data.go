package gbdt

/*
#include "lightgbm.h"
*/
import "C"

import (
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// maxGroupRows is the longest list that LightGBM's ranking objectives take.
const maxGroupRows = 10_000

// Dataset is lists of rows with labels. Train reads it and keeps nothing of it.
//
// The rows of a list should be in random order: among equal gains a trainer may favour the first.
type Dataset struct {
	Rows        []float32 // N x Features, row-major; NaN = missing
	NumFeatures int
	Labels      []float32 // N gains, finite and >= 0: 0 for what was passed over
	Groups      []int32   // rows of each list, in order; they sum to N
	Weights     []float32 // N weights > 0; nil = 1 everywhere
	// Positions is the place (from 0) at which each row was shown; nil = unknown. With it the ranking
	// objectives learn how much a place adds to a click and take it out (Unbiased LambdaMART, Hu et al.
	// 2019, in LightGBM's form); serving needs no position.
	Positions []int32
}

// validate names the first part that is wrong.
func (d *Dataset) validate(name string) error {
	n := len(d.Labels)
	if n == 0 || d.NumFeatures < 1 || n > math.MaxInt32 || d.NumFeatures > math.MaxInt32 || len(d.Rows) != n*d.NumFeatures {
		return fmt.Errorf("trees: %s.Rows has %d cells, not %d rows x %d features", name, len(d.Rows), n, d.NumFeatures)
	}
	total := 0
	for i, g := range d.Groups {
		if g < 1 || g > maxGroupRows {
			return fmt.Errorf("trees: %s.Groups: list %d has %d rows; a list has 1 to %d", name, i, g, maxGroupRows)
		}
		total += int(g)
	}
	if total != n {
		return fmt.Errorf("trees: %s.Groups sum to %d, there are %d rows", name, total, n)
	}
	if d.Weights != nil && len(d.Weights) != n || d.Positions != nil && len(d.Positions) != n {
		return fmt.Errorf("trees: %s has %d rows, %d weights and %d positions", name, n, len(d.Weights), len(d.Positions))
	}
	for i, x := range d.Labels {
		if !(x >= 0 && x <= math.MaxFloat32) {
			return fmt.Errorf("trees: %s.Labels: row %d is %g; a gain is finite and not negative", name, i, x)
		}
	}
	for i, w := range d.Weights {
		if !(w > 0 && w <= math.MaxFloat32) {
			return fmt.Errorf("trees: %s.Weights: row %d is %g; a weight is finite and above 0", name, i, w)
		}
	}
	for i, p := range d.Positions {
		if p < 0 || p >= maxGroupRows {
			return fmt.Errorf("trees: %s.Position: row %d is %d; a place is 0 to %d", name, i, p, maxGroupRows-1)
		}
	}
	return nil
}

// validateCategories says whether the columns hold categories only: NaN or integers from 0.
func (d *Dataset) validateCategories(name string, columns []int) error {
	for _, c := range columns {
		for i := c; i < len(d.Rows); i += d.NumFeatures {
			if x := d.Rows[i]; x == x && !(x >= 0 && x < maxCategory && x == float32(int32(x))) {
				return fmt.Errorf("trees: %s.Rows: row %d of column %d is %g; a category is an integer from 0 to %d", name, i/d.NumFeatures, c, x, maxCategory-1)
			}
		}
	}
	return nil
}

// maxCategory is what ranker/blend reads at most, and far above what a one-hot set of a schema has.
const maxCategory = 1 << 16

// objectiveLabels turns gains into what the objective reads, and returns LightGBM's label_gain if it needs one.
func objectiveLabels(objective string, gains, all []float32) (out, table []float32, err error) {
	out = make([]float32, len(gains))
	switch objective {
	case Lambdarank: // the place of the gain in the table of gains
		table = slices.Clone(all)
		slices.Sort(table)
		table = slices.Compact(table)
		if len(table) > maxDistinctGains {
			return nil, nil, fmt.Errorf("trees: Labels hold %d different gains; %s takes %d", len(table), objective, maxDistinctGains)
		}
		for i, g := range gains {
			place, _ := slices.BinarySearch(table, g)
			out[i] = float32(place)
		}
	case XENDCG: // reads a label as the gain 2^label - 1
		for i, g := range gains {
			out[i] = float32(math.Round(math.Log2(1 + float64(g))))
			if g > 0 {
				out[i] = min(max(out[i], 1), 30)
			}
		}
	case Binary:
		for i, g := range gains {
			if g > 0 {
				out[i] = 1
			}
		}
	default:
		copy(out, gains)
	}
	return out, table, nil
}

// maxDistinctGains bounds the distinct gains of lambdarank: as many as there may be actions, and none.
const maxDistinctGains = 33

// nativeDataset is rows that LightGBM holds.
type nativeDataset struct {
	lib    *Library
	handle unsafe.Pointer
}

func (d *nativeDataset) free() { C.lgbm_free(d.lib.functions[datasetFree], d.handle) }

// newNativeDataset hands the rows over. A validation set is binned like its reference, the training set.
func (l *Library) newNativeDataset(d *Dataset, labels []float32, parameters string, reference *nativeDataset) (*nativeDataset, error) {
	ds := &nativeDataset{lib: l}
	var ref unsafe.Pointer
	if reference != nil {
		ref = reference.handle
	}
	err := l.call("making a data set", func() C.int {
		return withCString(parameters, func(p *C.char) C.int {
			return C.lgbm_dataset(l.functions[datasetCreateFromMat], (*C.float)(unsafe.SliceData(d.Rows)),
				C.int32_t(len(d.Labels)), C.int32_t(d.NumFeatures), p, ref, &ds.handle)
		})
	})
	if err != nil {
		return nil, err
	}
	for _, set := range []func() error{
		func() error { return setField(ds, "label", labels, typeFloat32) },
		func() error { return setField(ds, "group", d.Groups, typeInt32) },
		func() error { return setField(ds, "weight", d.Weights, typeFloat32) },
		func() error { return setField(ds, "position", d.Positions, typeInt32) },
	} {
		if err := set(); err != nil {
			ds.free()
			return nil, err
		}
	}
	return ds, nil
}

// LightGBM's numbers of the types of fields.
const (
	typeFloat32 = 0
	typeFloat64 = 1
	typeInt32   = 2
)

// setField sets a field; an empty one is left alone.
func setField[T float32 | float64 | int32](ds *nativeDataset, name string, values []T, typ int) error {
	if len(values) == 0 {
		return nil
	}
	return ds.lib.call("setting "+name, func() C.int {
		return withCString(name, func(n *C.char) C.int {
			return C.lgbm_set_field(ds.lib.functions[datasetSetField], ds.handle, n, unsafe.Pointer(unsafe.SliceData(values)),
				C.int(len(values)), C.int(typ))
		})
	})
}
