// Package finetune trains a pretrained text encoder further on the catalogue and the log. After
// training, the text vectors of a user's recent items point at the text of their next item.
//
// A batch holds parts of some users' histories. The encoder's own network (network) encodes each
// text of the batch once. Several texts share a row (pack). For each position of a history, the
// query is the recency-weighted mean of the text vectors so far. The loss pulls the query to the
// next text and away from the other texts of the batch (infoNCE). The trainer keeps a moving
// average of the weights.
//
// The objective Pairs has questions instead of histories, and the texts that were chosen for them
// instead of next items. The texts that were offered beside the chosen one are in its batch, as
// hard negatives. Neither a text that was chosen for the same question is a negative, nor a
// question for which the same text was chosen.
//
// A tenth of the items is held out; of pairs, a tenth of the questions. The validator compares the
// fine-tuned encoder with the pretrained one on histories that lead to a held-out item, or on the
// held-out questions. If the fine-tuned encoder is better there, it has learned the language of the
// catalogue instead of memorizing items. Only then is it worth using.
//
// The result (Result) is the encoder's file with new weights, and the same with 8-bit integer
// weights, which a CPU serves. Everything that was trained on text vectors must be trained again.
package finetune

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"relish/embeddings/onnx"
	"relish/internal/stats"
)

// Objectives define the query and its target.
const (
	NextItem = "next-item" // query: what a user did; target: the text of what they do next
	// query: an item's title; target: the rest of its text; needs no users
	TitleText = "title-text"
	Pairs     = "pairs" // query: a question; target: the text that was chosen for it
)

// Objectives lists all objectives.
var Objectives = []string{NextItem, TitleText, Pairs}

// Config says what to train and how. DefaultConfig returns it filled in. Train checks every number.
type Config struct {
	Objective string
	// Layers is the number of trained layers, counted from the top. The output of the layers below
	// is computed once for each text. 0 trains all layers and the embeddings.
	Layers int
	// LoRARank, if not 0, freezes the matrices. Training then learns a low-rank update of this rank
	// for each matrix (Hu et al. 2021, LoRA). The updates are added to the matrices at the end.
	LoRARank int

	BatchTokens   int     // tokens of one training step
	HistoryLength int     // number of recent items that form a query
	HistoryDecay  float64 // weight of an item relative to the next newer one
	Temperature   float64 // divides the similarities of the softmax
	// LogQ corrects for popularity: popular texts are negatives more often. With 1 a score includes
	// how popular its text is, with 0 it does not, and values between interpolate.
	LogQ float64

	LearningRate       float64
	WarmUpSteps        int     // steps until the learning rate reaches its value and stays there
	MaxGradNorm        float64 // limit of the norm of a step's gradient
	EMADecay           float64 // share of the averaged weights that one step keeps
	HoldoutShare       float64 // share of the items, or questions, that the validator holds out
	EvalEvery          int     // steps between two evaluations
	EarlyStoppingEvals int     // evaluations without a new best until it stops; 0: no limit
	MaxSteps           int     // limit
	// TimeLimit, if not 0, ends the training earlier. The result then depends on the speed of the
	// machine.
	TimeLimit time.Duration
	Seed      uint64

	// Progress, if not nil, is called after each evaluation.
	Progress func(Evaluation)
}

// DefaultConfig returns the configuration that is used for all data sets. docs/quality.md has its
// measurements.
func DefaultConfig() Config {
	return Config{
		Objective:   NextItem,
		BatchTokens: 1536, HistoryLength: 10, HistoryDecay: 0.8, Temperature: 0.05,
		LearningRate: 1.5e-4, WarmUpSteps: 20, MaxGradNorm: 1, EMADecay: 0.99,
		HoldoutShare: 0.1, EvalEvery: 100, EarlyStoppingEvals: 3, MaxSteps: 800,
		Seed: 1,
	}
}

// Evaluation is the state of training at one point.
type Evaluation struct {
	Step    int
	Loss    float64 // mean since the previous evaluation; NaN for the first
	NDCG    float64 // NDCG at 10 of held-out texts among up to 99 others
	Elapsed time.Duration
}

// Result is a fine-tuned encoder and how it was trained.
type Result struct {
	FP32, Int8  *onnx.EncoderFiles
	Evaluations []Evaluation
	KeptStep    int // steps after which the kept weights were taken
	// TimeLimited reports that Config.TimeLimit ended the training.
	TimeLimited  bool
	Pairs        int // number of queries in the training data
	Texts        int // number of distinct texts
	Validation   Validation
	Quantization Quantization
	Duration     time.Duration
}

// Validation compares the encoders on held-out items, by NDCG at 10 of the right text among up to
// 99 others.
type Validation struct {
	Cases           int
	Base, FineTuned stats.Interval // of the pretrained and the fine-tuned encoder
	Difference      stats.Interval // fine-tuned minus pretrained, paired
	Int8            stats.Interval // 8-bit fine-tuned minus pretrained, paired
}

// Better reports whether both forms of the fine-tuned encoder are better than the pretrained
// encoder: the 95% intervals of their differences are above 0.
func (g *Validation) Better() bool { return g.Difference.Low > 0 && g.Int8.Low > 0 }

// Quantization compares the 8-bit file with the 32-bit file.
type Quantization struct {
	Difference                         stats.Interval // NDCG, 8-bit minus 32-bit, paired
	MinCosine                          float64        // least cosine of the two vectors of a text
	MeanCosine                         float64
	Bytes, BytesFP32                   int64
	TextsPerSecond, TextsPerSecondFP32 float64 // on one thread
}

// ErrTooLittleData means that there are too few texts or histories to train on.
var ErrTooLittleData = errors.New("finetune: too few texts or histories to train on")

// validate reports everything that is wrong with the configuration.
func (c *Config) validate() error {
	var wrong []error
	check := func(name string, v, low, high float64) {
		if !(v >= low && v <= high) {
			wrong = append(wrong,
				fmt.Errorf("finetune: %s is %v; it must be %v to %v", name, v, low, high))
		}
	}
	if !slices.Contains(Objectives, c.Objective) {
		wrong = append(wrong, fmt.Errorf("finetune: unknown Objective %q; use one of %v",
			c.Objective, Objectives))
	}
	check("Layers", float64(c.Layers), 0, 100)
	check("LoRARank", float64(c.LoRARank), 0, 256)
	check("BatchTokens", float64(c.BatchTokens), 128, 1<<20)
	check("HistoryLength", float64(c.HistoryLength), 1, 100)
	check("HistoryDecay", c.HistoryDecay, 0.01, 1)
	check("Temperature", c.Temperature, 1e-3, 10)
	check("LogQ", c.LogQ, 0, 1)
	check("LearningRate", c.LearningRate, 1e-9, 1)
	check("WarmUpSteps", float64(c.WarmUpSteps), 0, 1e6)
	check("MaxGradNorm", c.MaxGradNorm, 1e-6, 1e6)
	check("EMADecay", c.EMADecay, 0, 0.99999)
	check("HoldoutShare", c.HoldoutShare, 0.01, 0.5)
	check("EvalEvery", float64(c.EvalEvery), 1, 1e6)
	check("EarlyStoppingEvals", float64(c.EarlyStoppingEvals), 0, 1e6)
	check("MaxSteps", float64(c.MaxSteps), 1, 1e7)
	if c.TimeLimit < 0 {
		wrong = append(wrong,
			fmt.Errorf("finetune: TimeLimit is %v; it must be 0 (no limit) or more", c.TimeLimit))
	}
	return errors.Join(wrong...)
}
