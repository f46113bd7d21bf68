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
	// XENDCG is a smooth bound of NDCG with random gains (Bruch 2021). It is fast and robust.
	XENDCG = "rank_xendcg"
	// Lambdarank weighs pairs by the change of NDCG if they are swapped (Burges 2010).
	Lambdarank = "lambdarank"
	// Binary is the log loss of each row by itself: was the item chosen or not.
	Binary = "binary"
)

// Params are the hyperparameters. Start from DefaultParams. Most have LightGBM's names.
type Params struct {
	Objective       string  // XENDCG, Lambdarank or Binary
	NumLeaves       int     // per tree at most, 2 to 128, which ranker/scorer evaluates fast
	MaxRounds       int     // trees at most, 1 to 10,000
	MinDataInLeaf   int     // training rows, 1 or more
	LearningRate    float64 // factor on each tree's output, above 0 to 1
	LambdaL2        float64 // L2 regularisation of leaf values, 0 or more
	FeatureFraction float64 // share of the columns that each tree may use, above 0 to 1
	BaggingFraction float64 // share of the rows that each tree is trained on, above 0 to 1
	// EarlyStoppingRounds ends the training after that many rounds without a better validation
	// NDCG@10. The trees of the best round are kept. Without a validation set, all MaxRounds are
	// trained.
	EarlyStoppingRounds int
	// MonotoneConstraints has a sign per column: +1 if the score must not fall as the column grows,
	// -1 if it must not rise, 0 for no constraint. nil = 0 for all columns.
	MonotoneConstraints []int8
	// CategoricalFeatures are the columns whose values are categories, not numbers: integers from
	// 0.
	CategoricalFeatures []int
	// IgnoredColumns are columns that no tree may use.
	IgnoredColumns []int
	Seed           uint64
	Threads        int // 0 = GOMAXPROCS
	// InitModel is a model over the same columns whose training continues: its trees stay, and new
	// trees are added. nil = train from scratch.
	InitModel []byte
	// ExtraParams are LightGBM parameters ("name=value") that have no field here. They override the
	// fields.
	ExtraParams []string
}

// DefaultParams returns parameters for logs of ten thousand to some million rows. Trees are small,
// the learning rate is low and regularisation is strong, because behaviour columns are noisy.
func DefaultParams() Params {
	return Params{
		Objective:           Lambdarank,
		NumLeaves:           15,
		MaxRounds:           500,
		MinDataInLeaf:       50,
		LearningRate:        0.07,
		LambdaL2:            5,
		FeatureFraction:     0.6,
		BaggingFraction:     0.8,
		EarlyStoppingRounds: 30,
		Seed:                1,
	}
}

// validate returns an error for each wrong parameter, joined. columns is the number of columns.
func (p *Params) validate(columns int) error {
	var wrong []error
	need := func(ok bool, name string, value any, what string) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("gbdt: %s is %v; it is %s", name, value, what))
		}
	}
	isShare := func(x float64) bool { return x > 0 && x <= 1 }
	need(p.Objective == XENDCG || p.Objective == Lambdarank || p.Objective == Binary,
		"Objective", p.Objective, XENDCG+", "+Lambdarank+" or "+Binary)
	need(p.NumLeaves >= 2 && p.NumLeaves <= 128, "NumLeaves", p.NumLeaves, "2 to 128")
	need(p.MaxRounds >= 1 && p.MaxRounds <= 10_000, "MaxRounds", p.MaxRounds, "1 to 10000")
	need(p.MinDataInLeaf >= 1, "MinDataInLeaf", p.MinDataInLeaf, "1 or more")
	need(isShare(p.LearningRate), "LearningRate", p.LearningRate, "above 0 to 1")
	need(p.LambdaL2 >= 0 && isFinite(p.LambdaL2), "LambdaL2", p.LambdaL2, "0 or more")
	need(isShare(p.FeatureFraction), "FeatureFraction", p.FeatureFraction, "above 0 to 1")
	need(isShare(p.BaggingFraction), "BaggingFraction", p.BaggingFraction, "above 0 to 1")
	need(p.EarlyStoppingRounds >= 1, "EarlyStoppingRounds", p.EarlyStoppingRounds, "1 or more")
	need(p.Threads >= 0, "Threads", p.Threads, "0 or more")
	need(p.MonotoneConstraints == nil || len(p.MonotoneConstraints) == columns,
		"the number of MonotoneConstraints", len(p.MonotoneConstraints),
		fmt.Sprint(columns, ", one per column"))
	for _, sign := range p.MonotoneConstraints {
		need(sign >= -1 && sign <= 1, "MonotoneConstraints", sign, "-1, 0 or 1 for each column")
	}
	for _, c := range p.CategoricalFeatures {
		need(c >= 0 && c < columns, "CategoricalFeatures", c,
			fmt.Sprint("a column below ", columns))
	}
	for _, c := range p.IgnoredColumns {
		need(c >= 0 && c < columns, "IgnoredColumns", c, fmt.Sprint("a column below ", columns))
	}
	return errors.Join(wrong...)
}

// lightGBMParams returns the parameters as LightGBM reads them. Of two with the same name, LightGBM
// takes the first. labelGains is the value of label_gain, nil without one. The seed and histograms
// by column make equal runs give equal trees, with any number of threads. Histograms by row are
// sums over one part of the rows for each thread, so they round differently with another number.
func (p *Params) lightGBMParams(columns int, labelGains []float32) string {
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
		// bagging_by_query is not set: with it, two threads on a busy machine gave different models
		// for the same seed.
	}
	set("seed", p.Seed%(1<<31))
	set("deterministic", true)
	set("force_col_wise", true)
	set("num_threads", threads)
	if len(p.MonotoneConstraints) > 0 {
		set("monotone_constraints", join(p.MonotoneConstraints))
	}
	if len(p.CategoricalFeatures) > 0 {
		set("categorical_feature", join(p.CategoricalFeatures))
	}
	if len(labelGains) > 0 {
		set("label_gain", join(labelGains))
	}
	if len(p.IgnoredColumns) > 0 {
		set("feature_contri", join(p.featureContri(columns)))
	}
	return strings.Join(all, " ")
}

// featureContri returns a factor on the gain of each column. An ignored column has the factor 0, so
// no split uses it.
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
