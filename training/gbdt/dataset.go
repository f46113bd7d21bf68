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

// maxGroupRows is the largest number of rows in a list of LightGBM's ranking objectives.
const maxGroupRows = 10_000

// Dataset is N rows with labels, grouped into ranking lists. Train reads it and does not keep it.
//
// The rows of a list should be in random order: among equal gains a trainer may favour the first.
type Dataset struct {
	Rows        []float32 // N x NumFeatures, row-major; NaN = missing
	NumFeatures int
	Labels      []float32 // N gains, finite and >= 0; 0 for an item that was not chosen
	Groups      []int32   // number of rows of each list, in order; they sum to N
	Weights     []float32 // N weights > 0; nil = 1 for all rows
	// Offsets are N finite numbers that are added to the scores while training, and are no part of
	// the model: what is known to move the log-odds of a label besides the columns. nil = 0.
	Offsets []float64
}

// validate returns an error for the first part that is wrong. name is the dataset's name in it.
func (d *Dataset) validate(name string) error {
	n := len(d.Labels)
	if n == 0 || n > math.MaxInt32 || d.NumFeatures < 1 || d.NumFeatures > math.MaxInt32 ||
		len(d.Rows) != n*d.NumFeatures {
		return fmt.Errorf("gbdt: %s.Rows has %d cells, not %d rows x %d features",
			name, len(d.Rows), n, d.NumFeatures)
	}
	total := 0
	for i, g := range d.Groups {
		if g < 1 || g > maxGroupRows {
			return fmt.Errorf("gbdt: %s.Groups: list %d has %d rows; a list has 1 to %d",
				name, i, g, maxGroupRows)
		}
		total += int(g)
	}
	if total != n {
		return fmt.Errorf("gbdt: %s.Groups sum to %d, there are %d rows", name, total, n)
	}
	if d.Weights != nil && len(d.Weights) != n || d.Offsets != nil && len(d.Offsets) != n {
		return fmt.Errorf("gbdt: %s has %d rows, %d weights and %d offsets",
			name, n, len(d.Weights), len(d.Offsets))
	}
	for i, x := range d.Labels {
		if !(x >= 0 && x <= math.MaxFloat32) {
			return fmt.Errorf("gbdt: %s.Labels: row %d is %g; a gain is finite and not negative",
				name, i, x)
		}
	}
	for i, w := range d.Weights {
		if !(w > 0 && w <= math.MaxFloat32) {
			return fmt.Errorf("gbdt: %s.Weights: row %d is %g; a weight is finite and above 0",
				name, i, w)
		}
	}
	for i, x := range d.Offsets {
		if !isFinite(x) {
			return fmt.Errorf("gbdt: %s.Offsets: row %d is %g; an offset is finite", name, i, x)
		}
	}
	return nil
}

// validateCategories returns an error if one of the columns has a value that is no category:
// neither NaN nor an integer from 0.
func (d *Dataset) validateCategories(name string, columns []int) error {
	for _, c := range columns {
		for i := c; i < len(d.Rows); i += d.NumFeatures {
			x := d.Rows[i]
			isCategory := x >= 0 && x < maxCategory && x == float32(int32(x))
			if !isCategory && !math.IsNaN(float64(x)) {
				return fmt.Errorf("gbdt: %s.Rows: row %d of column %d is %g; a category is an "+
					"integer from 0 to %d", name, i/d.NumFeatures, c, x, maxCategory-1)
			}
		}
	}
	return nil
}

// maxCategory bounds categories. ranker/scorer reads no larger ones, and no schema has as many.
const maxCategory = 1 << 16

// objectiveLabels turns gains into the labels that the objective reads. all are the gains of
// training and validation. table is LightGBM's label_gain, nil if the objective needs none.
func objectiveLabels(objective string, gains, all []float32) (out, table []float32, err error) {
	out = make([]float32, len(gains))
	switch objective {
	case Lambdarank: // the index of the gain in the table of distinct gains
		table = slices.Clone(all)
		slices.Sort(table)
		table = slices.Compact(table)
		if len(table) > maxDistinctGains {
			return nil, nil, fmt.Errorf("gbdt: Labels has %d different gains; %s takes at most %d",
				len(table), objective, maxDistinctGains)
		}
		for i, g := range gains {
			index, _ := slices.BinarySearch(table, g)
			out[i] = float32(index)
		}
	case XENDCG: // LightGBM reads a label as the gain 2^label - 1
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

// maxDistinctGains bounds the distinct gains of lambdarank: 0, and some for each action.
const maxDistinctGains = 1000

// nativeDataset is a dataset in LightGBM's memory. Its owner calls free.
type nativeDataset struct {
	lib    *Library
	handle unsafe.Pointer
}

func (d *nativeDataset) free() { C.lgbm_free(d.lib.functions[datasetFree], d.handle) }

// newNativeDataset copies a dataset into LightGBM. A validation set is binned like its reference,
// the training set; the reference of the training set is nil.
func (l *Library) newNativeDataset(
	d *Dataset,
	labels []float32,
	parameters string,
	reference *nativeDataset,
) (*nativeDataset, error) {
	ds := &nativeDataset{lib: l}
	var ref unsafe.Pointer
	if reference != nil {
		ref = reference.handle
	}
	err := l.call("making a dataset", func() C.int {
		return withCString(parameters, func(p *C.char) C.int {
			return C.lgbm_dataset(l.functions[datasetCreateFromMat],
				(*C.float)(unsafe.SliceData(d.Rows)), C.int32_t(len(d.Labels)),
				C.int32_t(d.NumFeatures), p, ref, &ds.handle)
		})
	})
	if err != nil {
		return nil, err
	}
	for _, set := range []func() error{
		func() error { return setField(ds, "label", labels, typeFloat32) },
		func() error { return setField(ds, "group", d.Groups, typeInt32) },
		func() error { return setField(ds, "weight", d.Weights, typeFloat32) },
		func() error { return setField(ds, "init_score", d.Offsets, typeFloat64) },
	} {
		if err := set(); err != nil {
			ds.free()
			return nil, err
		}
	}
	return ds, nil
}

// LightGBM's constants for the types of fields.
const (
	typeFloat32 = 0
	typeFloat64 = 1
	typeInt32   = 2
)

// setField sets a field of the dataset, unless values is empty.
func setField[T float32 | float64 | int32](
	ds *nativeDataset,
	name string,
	values []T,
	typ int,
) error {
	if len(values) == 0 {
		return nil
	}
	return ds.lib.call("setting "+name, func() C.int {
		return withCString(name, func(n *C.char) C.int {
			return C.lgbm_set_field(ds.lib.functions[datasetSetField], ds.handle, n,
				unsafe.Pointer(unsafe.SliceData(values)), C.int(len(values)), C.int(typ))
		})
	})
}
