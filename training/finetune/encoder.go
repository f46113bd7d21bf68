// Package encoder goes on training a text encoder, so that the vector of what a user did lately points at the text of
// what he does next.
//
// A batch is some users' histories. Each of its texts is encoded once, several texts to a row (pack), by the encoder's
// own network written for GoMLX (network). At each place of a history, the recency-weighted mean of the texts so far
// must be nearer to the next text than to the others of the batch (objective). The weights are averaged as they move
// (run). A tenth of the items takes no part: on histories that lead to one of them, the tuned encoder is compared with
// the one it came from (guard), and only if it is better there is it worth having: it has then learned the language of
// the catalogue, and not its items by heart.
//
// What comes out (Result) is the encoder's own file with other weights, and the same as 8-bit integers, which is what a
// CPU serves. All other tables that are learned from text vectors have to be learned again.
package finetune

import (
	"errors"
	"fmt"
	"time"

	"relish/embeddings/onnx"
	"relish/internal/stats"
)

// Objectives: what is a query, and what is its target.
const (
	NextItem  = "next-item"  // what a user did, and the text of what he does next
	TitleText = "title-text" // an item's title, and the rest of its text: needs no users
)

// Objectives are all of them.
var Objectives = []string{NextItem, TitleText}

// Config says what is trained and how. Default fills it; every number is checked.
type Config struct {
	Objective string
	// Layers is how many of the network's layers are trained, from the top; what is below is computed once for each
	// text. 0: all layers, and the embeddings.
	Layers int
	// LoRARank, if not 0, leaves the matrices as they are and trains a correction of this rank to each (Hu et al. 2021,
	// LoRA), which is added to them at the end.
	LoRARank int

	BatchTokens   int     // tokens of a training step
	HistoryLength int     // items of a history that are read
	HistoryDecay  float64 // what an item weighs less than the next newer one
	Temperature   float64 // that similarities are divided by
	LogQ          float64 // 0: a text's score leaves out how popular it is, since popular ones are negatives more often; 1: it is in it; between: between

	LearningRate       float64
	WarmUpSteps        int     // steps until the learning rate is reached; then it stays
	MaxGradNorm        float64 // the largest norm of a step's gradient
	EMADecay           float64 // share of the averaged weights that a step leaves as it is
	HoldoutShare       float64 // share of the items that take no part, for the guard
	EvalEvery          int     // steps between two looks at the guard
	EarlyStoppingEvals int     // looks without a better one until training ends
	MaxSteps           int     // at most
	TimeLimit          time.Duration
	Seed               uint64

	// Progress, if not nil, is told at each look.
	Progress func(Evaluation)
}

// DefaultConfig is one configuration for all sets, measured in docs/quality.md.
func DefaultConfig() Config {
	return Config{
		Objective:   NextItem,
		BatchTokens: 1536, HistoryLength: 10, HistoryDecay: 0.8, Temperature: 0.05,
		LearningRate: 1.5e-4, WarmUpSteps: 20, MaxGradNorm: 1, EMADecay: 0.99,
		HoldoutShare: 0.1, EvalEvery: 100, EarlyStoppingEvals: 3, MaxSteps: 2000, TimeLimit: 10 * time.Minute, Seed: 1,
	}
}

// Evaluation is how far training is.
type Evaluation struct {
	Step    int
	Loss    float64 // mean since the point before, NaN at the first
	NDCG    float64 // at 10, of the guard's texts among 99 others
	Elapsed time.Duration
}

// Result is a tuned encoder.
type Result struct {
	FP32, Int8   *onnx.EncoderFiles
	Evaluations  []Evaluation
	KeptStep     int // the weights' age
	Pairs        int // queries with a target that training had
	Texts        int // distinct ones
	Validation   Validation
	Quantisation Quantisation
	Duration     time.Duration
}

// Validation says what tuning was worth on items that took no part: NDCG at 10 of the right text among 99 others.
type Validation struct {
	Cases           int
	Base, FineTuned stats.Interval // of the encoder that it began with, and of the tuned one
	Difference      stats.Interval // paired
	Int8            stats.Interval // paired, of the tuned one's 8-bit form to the one that it began with
}

// Better reports whether the tuned encoder is worth having, in both of its forms.
func (g *Validation) Better() bool { return g.Difference.Low > 0 && g.Int8.Low > 0 }

// Quantisation says what the 8-bit file loses and gains.
type Quantisation struct {
	Difference                         stats.Interval // paired, of the guard's NDCG, to the tuned encoder's
	MinCosine                          float64        // between a text's two vectors
	MeanCosine                         float64
	Bytes, BytesFP32                   int64
	TextsPerSecond, TextsPerSecondFP32 float64 // encoded in a second, on one thread
}

// ErrTooLittleData says that there is too little to learn from.
var ErrTooLittleData = errors.New("encoder: too few texts or histories to tune on")

// validate reports all that is wrong with the configuration.
func (c *Config) validate() error {
	var wrong []error
	in := func(name string, v, low, high float64) {
		if !(v >= low && v <= high) {
			wrong = append(wrong,
				fmt.Errorf("encoder: %s is %v; it is %v to %v", name, v, low, high))
		}
	}
	if c.Objective != NextItem && c.Objective != TitleText {
		wrong = append(
			wrong,
			fmt.Errorf("encoder: the objective %q is unknown; it is one of %v", c.Objective,
				Objectives),
		)
	}
	in("Layers", float64(c.Layers), 0, 100)
	in("Rank", float64(c.LoRARank), 0, 256)
	in("Slots", float64(c.BatchTokens), 128, 1<<20)
	in("History", float64(c.HistoryLength), 1, 100)
	in("Decay", c.HistoryDecay, 0.01, 1)
	in("Temperature", c.Temperature, 1e-3, 10)
	in("LogQ", c.LogQ, 0, 1)
	in("LearningRate", c.LearningRate, 1e-9, 1)
	in("WarmUp", float64(c.WarmUpSteps), 0, 1e6)
	in("Clip", c.MaxGradNorm, 1e-6, 1e6)
	in("Averaging", c.EMADecay, 0, 0.99999)
	in("HoldOut", c.HoldoutShare, 0.01, 0.5)
	in("Every", float64(c.EvalEvery), 1, 1e6)
	in("Patience", float64(c.EarlyStoppingEvals), 0, 1e6)
	in("Steps", float64(c.MaxSteps), 1, 1e7)
	if c.TimeLimit < 0 {
		wrong = append(wrong,
			fmt.Errorf("encoder: TimeLimit is %v; it is 0 (none) or more", c.TimeLimit))
	}
	return errors.Join(wrong...)
}
