package gbdt

/*
#include "lightgbm.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unsafe"
)

// Result is a trained model with its validation metrics.
type Result struct {
	// Model is LightGBM's text format, up to the best round. The trees of Params.InitModel come
	// first.
	Model  []byte
	Rounds int // trees that were added and kept
	// ValidationNDCG is the validation NDCG@10 after each round; empty without a validation set.
	ValidationNDCG []float64
	InitialNDCG    float64 // validation NDCG@10 before the first round
	// GainImportance is, per column, the sum of the gains of its splits, InitModel included.
	GainImportance []float64
}

// Train trains on train and stops early by valid, which may be nil.
//
// progress, if not nil, is called after every round with its number, from 1, and the validation
// NDCG@10, 0 without a validation set. When ctx ends, Train returns its error after the current
// round. Equal data, parameters and seed give equal trees, with any number of threads.
func (l *Library) Train(
	ctx context.Context, train, valid *Dataset, p Params, progress func(round int, ndcg float64),
) (*Result, error) {
	if err := errors.Join(train.validate("train"), p.validate(train.NumFeatures)); err != nil {
		return nil, err
	}
	if err := train.validateCategories("train", p.CategoricalFeatures); err != nil {
		return nil, err
	}
	all := train.Labels
	if valid != nil {
		if err := valid.validate("valid"); err != nil {
			return nil, err
		}
		if err := valid.validateCategories("valid", p.CategoricalFeatures); err != nil {
			return nil, err
		}
		if valid.NumFeatures != train.NumFeatures {
			return nil, fmt.Errorf("gbdt: valid has %d features, train has %d",
				valid.NumFeatures, train.NumFeatures)
		}
		all = slices.Concat(all, valid.Labels)
	}
	t := &trainer{lib: l, params: p, columns: train.NumFeatures}
	defer t.free()
	if err := t.setUp(train, valid, all); err != nil {
		return nil, err
	}
	return t.run(ctx, progress)
}

// trainer is one training under way. It owns LightGBM's objects.
type trainer struct {
	lib       *Library
	params    Params
	columns   int
	datasets  []*nativeDataset
	booster   *Booster
	initTrees int // trees of Params.InitModel
	valid     *validator
	scores    []float64 // by validation row, of the current model
}

func (t *trainer) free() {
	if t.booster != nil {
		t.booster.Close()
	}
	for _, ds := range slices.Backward(t.datasets) {
		ds.free()
	}
}

// setUp copies the data into LightGBM and creates the booster.
func (t *trainer) setUp(train, valid *Dataset, all []float32) error {
	y, gains, err := objectiveLabels(t.params.Objective, train.Labels, all)
	if err != nil {
		return err
	}
	text := t.params.lightGBMParams(t.columns, gains)
	ds, err := t.lib.newNativeDataset(train, y, text, nil)
	if err != nil {
		return err
	}
	t.datasets = append(t.datasets, ds)
	if valid != nil {
		if t.valid, err = newValidator(valid); err != nil {
			return err
		}
		if y, _, err = objectiveLabels(t.params.Objective, valid.Labels, all); err != nil {
			return err
		}
		vs, err := t.lib.newNativeDataset(valid, y, text, ds)
		if err != nil {
			return err
		}
		t.datasets = append(t.datasets, vs)
		t.scores = make([]float64, len(valid.Labels))
	}
	var start *Booster
	if t.params.InitModel != nil {
		if start, err = t.lib.LoadBooster(t.params.InitModel); err != nil {
			return err
		}
		defer start.Close()
		t.initTrees = start.numTrees
		for i, d := range []*Dataset{train, valid}[:len(t.datasets)] {
			scores, err := start.Predict(d.Rows, d.NumFeatures)
			if err != nil {
				return err
			}
			for k, offset := range d.Offsets {
				scores[k] += offset
			}
			if err := setField(t.datasets[i], "init_score", scores, typeFloat64); err != nil {
				return err
			}
		}
	}
	return t.createBooster(text, start)
}

func (t *trainer) createBooster(text string, start *Booster) error {
	b := &Booster{lib: t.lib}
	err := t.lib.call("starting the training", func() C.int {
		return withCString(text, func(p *C.char) C.int {
			return C.lgbm_booster(t.lib.functions[boosterCreate], t.datasets[0].handle, p,
				&b.handle)
		})
	})
	if err != nil {
		return err
	}
	t.booster = b
	if start != nil {
		err = t.lib.call("taking the initial model", func() C.int {
			return C.lgbm_pair(t.lib.functions[boosterMerge], b.handle, start.handle)
		})
	}
	if err == nil && t.valid != nil {
		err = t.lib.call("taking the validation set", func() C.int {
			return C.lgbm_pair(t.lib.functions[boosterAddValid], b.handle, t.datasets[1].handle)
		})
	}
	return err
}

// run trains until the early stop and returns the model of the best round.
func (t *trainer) run(ctx context.Context, progress func(int, float64)) (*Result, error) {
	r := &Result{}
	best, err := t.measure()
	if err != nil {
		return nil, err
	}
	r.InitialNDCG = best
	for round := 1; round <= t.params.MaxRounds; round++ {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("gbdt: training ended after %d rounds: %w", round-1, err)
		}
		finished := C.int(0)
		err := t.lib.call("training", func() C.int {
			return C.lgbm_update(t.lib.functions[boosterUpdate], t.booster.handle, &finished)
		})
		if err != nil {
			return nil, err
		}
		if finished != 0 { // no split improves the model
			break
		}
		ndcg, err := t.measure()
		if err != nil {
			return nil, err
		}
		if t.valid == nil {
			r.Rounds = round
		} else {
			r.ValidationNDCG = append(r.ValidationNDCG, ndcg)
			if ndcg > best {
				best, r.Rounds = ndcg, round
			}
		}
		if progress != nil {
			progress(round, ndcg)
		}
		if t.valid != nil && round-r.Rounds >= t.params.EarlyStoppingRounds {
			break
		}
	}
	return r, t.exportResult(r)
}

// measure returns the validation NDCG@10 of the current model, 0 without a validation set.
func (t *trainer) measure() (float64, error) {
	if t.valid == nil {
		return 0, nil
	}
	n := C.int64_t(0)
	err := t.lib.call("validating", func() C.int {
		return C.lgbm_get_predict(t.lib.functions[boosterGetPredict], t.booster.handle, 1, &n,
			(*C.double)(unsafe.SliceData(t.scores)))
	})
	if err != nil {
		return 0, err
	}
	return t.valid.measure(t.scores)
}

// exportResult fills in the model up to the best round, and its importances.
func (t *trainer) exportResult(r *Result) (err error) {
	kept := t.initTrees + r.Rounds
	if kept == 0 {
		return errors.New("gbdt: no tree orders the validation lists better than chance, or no " +
			"split improves the model: collect more lists with clicks, or add fields to the items")
	}
	if r.Model, err = t.booster.modelText(kept); err != nil {
		return err
	}
	r.GainImportance = make([]float64, t.columns)
	return t.lib.call("reading importances", func() C.int {
		return C.lgbm_importance(t.lib.functions[boosterImportance], t.booster.handle, C.int(kept),
			(*C.double)(unsafe.SliceData(r.GainImportance)))
	})
}
