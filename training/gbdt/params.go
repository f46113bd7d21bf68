package gbdt

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
)

// Objectives.
const (
	XENDCG     = "rank_xendcg" // a smooth bound of NDCG with random gains (Bruch 2021): fast, forgiving
	Lambdarank = "lambdarank"  // pairs weighed by what swapping them does to NDCG (Burges 2010)
	Binary     = "binary"      // was it chosen at all: log loss of each row by itself
)

// Params say how to train. Start from Defaults.
type Params struct {
	Objective       string  // XENDCG, Lambdarank or Binary
	NumLeaves       int     // of a tree at most, 2 to 128: what ranker/blend evaluates fast
	MaxRounds       int     // trees at most, 1 to 10,000
	MinDataInLeaf   int     // training rows in a leaf at least, from 1
	LearningRate    float64 // what a tree's say is multiplied with, above 0 to 1
	LambdaL2        float64 // regularisation of the leaves' values, from 0
	FeatureFraction float64 // share of the columns that a tree may use, above 0 to 1
	BaggingFraction float64 // share of the rows that a tree is made from, above 0 to 1
	// EarlyStoppingRounds is after how many rounds without a better validation NDCG@10 the training ends. The best
	// round's trees are kept. Without a validation set all MaxRounds are trained.
	EarlyStoppingRounds int
	// MonotoneConstraints has a sign per column: +1 where the score must not fall as the column grows, -1 where it
	// must not rise, 0 where anything goes. nil = 0 everywhere.
	MonotoneConstraints []int8
	// CategoricalFeatures are the columns whose values are categories, not numbers: integers from 0.
	CategoricalFeatures []int
	// IgnoredColumns are columns that no tree may use.
	IgnoredColumns []int
	Seed           uint64
	Threads        int // 0 = as many as Go uses
	// InitModel is a model that is trained on, over the same columns: its trees stay as they are and new ones
	// are added to them. nil = from nothing.
	InitModel []byte
	// ExtraParams are LightGBM parameters ("name=value") for what has no field here. They win over the fields.
	ExtraParams []string
}

// DefaultParams returns parameters that suit logs of ten thousand to some million rows: small trees, slowly
// added, strongly regularised, since behaviour columns are noisy.
func DefaultParams() Params {
	return Params{Objective: Lambdarank, NumLeaves: 15, MaxRounds: 500, MinDataInLeaf: 50, LearningRate: 0.07, LambdaL2: 5,
		FeatureFraction: 0.6, BaggingFraction: 0.8, EarlyStoppingRounds: 30, Seed: 1}
}

// validate names every parameter that is wrong, for rows of the given number of columns.
func (p *Params) validate(columns int) error {
	var wrong []error
	need := func(ok bool, name string, value any, what string) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("trees: %s is %v; it is %s", name, value, what))
		}
	}
	share := func(x float64) bool { return x > 0 && x <= 1 }
	need(p.Objective == XENDCG || p.Objective == Lambdarank || p.Objective == Binary, "Objective", p.Objective,
		XENDCG+", "+Lambdarank+" or "+Binary)
	need(p.NumLeaves >= 2 && p.NumLeaves <= 128, "Leaves", p.NumLeaves, "2 to 128")
	need(p.MaxRounds >= 1 && p.MaxRounds <= 10_000, "MaxRounds", p.MaxRounds, "1 to 10000")
	need(p.MinDataInLeaf >= 1, "MinLeaf", p.MinDataInLeaf, "1 or more")
	need(share(p.LearningRate), "LearningRate", p.LearningRate, "above 0 to 1")
	need(p.LambdaL2 >= 0 && p.LambdaL2-p.LambdaL2 == 0, "L2", p.LambdaL2, "0 or more")
	need(share(p.FeatureFraction), "FeatureFraction", p.FeatureFraction, "above 0 to 1")
	need(share(p.BaggingFraction), "Bagging", p.BaggingFraction, "above 0 to 1")
	need(p.EarlyStoppingRounds >= 1, "Patience", p.EarlyStoppingRounds, "1 or more")
	need(p.Threads >= 0, "Threads", p.Threads, "0 or more")
	need(p.MonotoneConstraints == nil || len(p.MonotoneConstraints) == columns, "Monotone", len(p.MonotoneConstraints), fmt.Sprint(columns, " signs"))
	for _, m := range p.MonotoneConstraints {
		need(m >= -1 && m <= 1, "Monotone", m, "-1, 0 or 1 for each column")
	}
	for _, c := range p.CategoricalFeatures {
		need(c >= 0 && c < columns, "Categorical", c, fmt.Sprint("a column below ", columns))
	}
	for _, c := range p.IgnoredColumns {
		need(c >= 0 && c < columns, "Drop", c, fmt.Sprint("a column below ", columns))
	}
	return errors.Join(wrong...)
}

// lightGBMParams is LightGBM's form of the parameters; it takes the first of two that have the same name. One seed
// and one way of building histograms make equal runs equal.
func (p *Params) lightGBMParams(columns int, gains []float32) string {
	threads := p.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	all := append([]string(nil), p.ExtraParams...)
	set := func(name string, value any) { all = append(all, fmt.Sprint(name, "=", value)) }
	set("verbosity", -1)
	set("metric", "none")
	set("objective", p.Objective)
	set("num_leaves", p.NumLeaves)
	set("min_data_in_leaf", p.MinDataInLeaf)
	set("learning_rate", p.LearningRate)
	set("lambda_l2", p.LambdaL2)
	set("feature_fraction", p.FeatureFraction)
	if p.BaggingFraction < 1 {
		set("bagging_fraction", p.BaggingFraction)
		set("bagging_freq", 1)
		// Not bagging_by_query: with two threads on a busy machine it gave one seed several models.
	}
	set("seed", p.Seed%(1<<31))
	set("deterministic", true)
	set("force_row_wise", true)
	set("num_threads", threads)
	if len(p.MonotoneConstraints) > 0 {
		set("monotone_constraints", join(p.MonotoneConstraints))
	}
	if len(p.CategoricalFeatures) > 0 {
		set("categorical_feature", join(p.CategoricalFeatures))
	}
	if len(gains) > 0 {
		set("label_gain", join(gains))
	}
	if len(p.IgnoredColumns) > 0 {
		set("feature_contri", join(p.featureContri(columns)))
	}
	return strings.Join(all, " ")
}

// featureContri are factors of the columns' gains: a dropped one gains nothing and is never chosen.
func (p *Params) featureContri(columns int) []int {
	factors := make([]int, columns)
	for i := range factors {
		factors[i] = 1
	}
	for _, c := range p.IgnoredColumns {
		factors[c] = 0
	}
	return factors
}

func join[T int | int8 | float32](values []T) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatFloat(float64(v), 'g', -1, 32))
	}
	return b.String()
}
