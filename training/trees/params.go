package trees

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
	Leaves          int     // of a tree at most, 2 to 128: what ranker/blend evaluates fast
	MaxRounds       int     // trees at most, 1 to 10,000
	MinLeaf         int     // training rows in a leaf at least, from 1
	LearningRate    float64 // what a tree's say is multiplied with, above 0 to 1
	L2              float64 // regularisation of the leaves' values, from 0
	FeatureFraction float64 // share of the columns that a tree may use, above 0 to 1
	Bagging         float64 // share of the rows that a tree is made from, above 0 to 1
	// Patience is after how many rounds without a better validation NDCG@10 the training ends. The best
	// round's trees are kept. Without a validation set all MaxRounds are trained.
	Patience int
	// Monotone has a sign per column: +1 where the score must not fall as the column grows, -1 where it
	// must not rise, 0 where anything goes. nil = 0 everywhere.
	Monotone []int8
	// Categorical are the columns whose values are categories, not numbers: integers from 0.
	Categorical []int
	// Drop are columns that no tree may use.
	Drop    []int
	Seed    uint64
	Threads int // 0 = as many as Go uses
	// Start is a model that is trained on, over the same columns: its trees stay as they are and new ones
	// are added to them. nil = from nothing.
	Start []byte
	// Extra are LightGBM parameters ("name=value") for what has no field here. They win over the fields.
	Extra []string
}

// Defaults returns parameters that suit logs of ten thousand to some million rows: small trees, slowly
// added, strongly regularised, since behaviour columns are noisy.
func Defaults() Params {
	return Params{Objective: Lambdarank, Leaves: 15, MaxRounds: 500, MinLeaf: 50, LearningRate: 0.07, L2: 5,
		FeatureFraction: 0.6, Bagging: 0.8, Patience: 30, Seed: 1}
}

// check names every parameter that is wrong, for rows of the given number of columns.
func (p *Params) check(columns int) error {
	var wrong []error
	need := func(ok bool, name string, value any, what string) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("trees: %s is %v; it is %s", name, value, what))
		}
	}
	share := func(x float64) bool { return x > 0 && x <= 1 }
	need(p.Objective == XENDCG || p.Objective == Lambdarank || p.Objective == Binary, "Objective", p.Objective,
		XENDCG+", "+Lambdarank+" or "+Binary)
	need(p.Leaves >= 2 && p.Leaves <= 128, "Leaves", p.Leaves, "2 to 128")
	need(p.MaxRounds >= 1 && p.MaxRounds <= 10_000, "MaxRounds", p.MaxRounds, "1 to 10000")
	need(p.MinLeaf >= 1, "MinLeaf", p.MinLeaf, "1 or more")
	need(share(p.LearningRate), "LearningRate", p.LearningRate, "above 0 to 1")
	need(p.L2 >= 0 && p.L2-p.L2 == 0, "L2", p.L2, "0 or more")
	need(share(p.FeatureFraction), "FeatureFraction", p.FeatureFraction, "above 0 to 1")
	need(share(p.Bagging), "Bagging", p.Bagging, "above 0 to 1")
	need(p.Patience >= 1, "Patience", p.Patience, "1 or more")
	need(p.Threads >= 0, "Threads", p.Threads, "0 or more")
	need(p.Monotone == nil || len(p.Monotone) == columns, "Monotone", len(p.Monotone), fmt.Sprint(columns, " signs"))
	for _, m := range p.Monotone {
		need(m >= -1 && m <= 1, "Monotone", m, "-1, 0 or 1 for each column")
	}
	for _, c := range p.Categorical {
		need(c >= 0 && c < columns, "Categorical", c, fmt.Sprint("a column below ", columns))
	}
	for _, c := range p.Drop {
		need(c >= 0 && c < columns, "Drop", c, fmt.Sprint("a column below ", columns))
	}
	return errors.Join(wrong...)
}

// text is LightGBM's form of the parameters; it takes the first of two that have the same name. One seed
// and one way of building histograms make equal runs equal.
func (p *Params) text(columns int, gains []float32) string {
	threads := p.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	all := append([]string(nil), p.Extra...)
	set := func(name string, value any) { all = append(all, fmt.Sprint(name, "=", value)) }
	set("verbosity", -1)
	set("metric", "none")
	set("objective", p.Objective)
	set("num_leaves", p.Leaves)
	set("min_data_in_leaf", p.MinLeaf)
	set("learning_rate", p.LearningRate)
	set("lambda_l2", p.L2)
	set("feature_fraction", p.FeatureFraction)
	if p.Bagging < 1 {
		set("bagging_fraction", p.Bagging)
		set("bagging_freq", 1)
		// Not bagging_by_query: with two threads on a busy machine it gave one seed several models.
	}
	set("seed", p.Seed%(1<<31))
	set("deterministic", true)
	set("force_row_wise", true)
	set("num_threads", threads)
	if len(p.Monotone) > 0 {
		set("monotone_constraints", join(p.Monotone))
	}
	if len(p.Categorical) > 0 {
		set("categorical_feature", join(p.Categorical))
	}
	if len(gains) > 0 {
		set("label_gain", join(gains))
	}
	if len(p.Drop) > 0 {
		set("feature_contri", join(p.contributions(columns)))
	}
	return strings.Join(all, " ")
}

// contributions are factors of the columns' gains: a dropped one gains nothing and is never chosen.
func (p *Params) contributions(columns int) []int {
	factors := make([]int, columns)
	for i := range factors {
		factors[i] = 1
	}
	for _, c := range p.Drop {
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
