// Package neural trains the match model: from what users did, in order, it learns to tell which item comes next,
// and above all which descriptions go together.
//
// An item's vector is a learned map of its text's embedding plus a vector of its own. The own part is dropped at
// random in training, so that the text part learns to do without it: a new item works by its text alone. A user's
// vector is read off his last items' vectors, by pooling (no layers) or causal attention. An item's score is the
// product of the two, plus the item's bias. Training shows the model every place of every history: the item that
// came next must score above items drawn at random, and above those that were shown beside it and skipped.
//
// What is trained here is served by ranker/match (Neural), in plain Go; Export writes the user half as ONNX besides.
package twotower

import (
	"errors"
	"fmt"
	"math"
	"time"

	serving "relish/ranker/signals"
	"relish/training/signals"
)

// Config says what is trained and how. Default fills it; every number is checked.
type Config struct {
	Layers        int // 0: pooling; else blocks of attention
	Dim           int // of the vectors
	Heads         int // of attention; they divide Dim
	HistoryLength int // items of a history that are read

	Components int     // of the text vectors that are kept
	Negatives  int     // random items per training step, shared by the batch
	MaxSkipped int     // skipped items per place at most
	LogQ       float64 // 0: scores say how much likelier than a negative; 1: how likely in all; between: between

	Epochs              int
	EarlyStoppingEpochs int // epochs without a better validation before it stops
	LearningRate        float64
	WarmUpSteps         int // steps until the learning rate is reached; then it falls along a cosine
	WeightDecay         float64
	Dropout             float64 // of item vectors and of what the layers add
	TextDropout         float64 // of text components
	IDDropout           float64 // of whole own vectors
	BatchPositions      int     // places per training step

	HoldoutShare float64       // share of users whose last step is kept for validation; 0: none, and no early stop
	TimeLimit    time.Duration // 0: none; the schedule is shortened to whole epochs that fit
	Seed         uint64

	// Progress, if not nil, is told after each epoch.
	Progress func(Epoch)
}

// DefaultConfig is one configuration for all sets. Its numbers were chosen on the held-out steps of Games and Beauty, which
// move little with any of them: see docs/quality.md.
func DefaultConfig() Config {
	return Config{
		Layers: 1, Dim: 64, Heads: 2, HistoryLength: 30,
		Components: 128, Negatives: 256, MaxSkipped: 8,
		Epochs: 12, EarlyStoppingEpochs: 3, LearningRate: 3e-3, WarmUpSteps: 200, WeightDecay: 0.01,
		Dropout: 0.3, TextDropout: 0.1, IDDropout: 0.05, BatchPositions: 2048,
		HoldoutShare: 0.1, Seed: 1,
	}
}

// Epoch is how far training is.
type Epoch struct {
	Number   int     // from 1
	Planned  int     // as planned now
	Loss     float64 // mean over the epoch's places
	NDCG     float64 // at 10, of the held-out steps among 99 random items; NaN without any
	Duration time.Duration
}

// Result is a trained model.
type Result struct {
	Model     *serving.TwoTower
	Epochs    []Epoch
	BestEpoch int // the epoch whose weights these are
}

// Errors that say the data holds nothing to learn from.
var (
	ErrNoSequences = errors.New(
		"match: no user did two things, so that there is nothing to foretell: nothing can be learned yet")
	ErrTooFewItems = errors.New("match: fewer than two items: there is nothing to tell apart")
)

// validate reports all that is wrong with the configuration.
func (c *Config) validate() error {
	var wrong []error
	in := func(name string, v, low, high float64) {
		if !(v >= low && v <= high) {
			wrong = append(wrong, fmt.Errorf("match: %s is %v; it is %v to %v", name, v, low, high))
		}
	}
	in("Layers", float64(c.Layers), 0, 8)
	in("Dim", float64(c.Dim), 2, 1024)
	in("Heads", float64(c.Heads), 1, 64)
	in("Length", float64(c.HistoryLength), 1, 1000)
	in("Components", float64(c.Components), 0, 4096)
	in("Negatives", float64(c.Negatives), 1, 1<<16)
	in("Skipped", float64(c.MaxSkipped), 0, 100)
	in("LogQ", c.LogQ, 0, 1)
	in("Epochs", float64(c.Epochs), 1, 10000)
	in("Patience", float64(c.EarlyStoppingEpochs), 0, 10000)
	in("LearningRate", c.LearningRate, 1e-9, 1)
	in("WarmUp", float64(c.WarmUpSteps), 0, 1e9)
	in("WeightDecay", c.WeightDecay, 0, 10)
	in("Dropout", c.Dropout, 0, 0.99)
	in("TextDropout", c.TextDropout, 0, 0.99)
	in("IDDropout", c.IDDropout, 0, 1)
	in("BatchTokens", float64(c.BatchPositions), 1, 1<<20)
	in("HoldOut", c.HoldoutShare, 0, 0.9)
	if c.Heads > 0 && c.Dim%c.Heads != 0 {
		wrong = append(wrong,
			fmt.Errorf("match: %d heads do not divide the width %d", c.Heads, c.Dim))
	}
	return errors.Join(wrong...)
}

// validateCorpus reports what is wrong with the corpus, the first of each kind.
func validateCorpus(c *signals.Corpus) error {
	n := c.Items.Len()
	if n < 2 {
		return ErrTooFewItems
	}
	if len(c.Vectors) != 0 && len(c.Vectors) != n {
		return fmt.Errorf("match: %d text vectors for %d items", len(c.Vectors), n)
	}
	dim := 0
	for i, v := range c.Vectors {
		if v == nil {
			continue
		}
		if dim == 0 {
			dim = len(v)
		}
		if len(v) != dim || dim == 0 {
			return fmt.Errorf("match: item %s: its text vector has %d numbers, others have %d",
				c.Items.IDs()[i], len(v), dim)
		}
		for _, x := range v {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return fmt.Errorf(
					"match: item %s: its text vector holds a number that is not finite",
					c.Items.IDs()[i])
			}
		}
	}
	for u := range c.Users {
		for i, s := range c.Users[u].Interactions {
			if s.Item < 0 || int(s.Item) >= n || !(s.Gain >= 0) || math.IsInf(float64(s.Gain), 0) {
				return fmt.Errorf("match: user %d, step %d: item %d of %d with gain %v", u, i,
					s.Item, n, s.Gain)
			}
		}
	}
	return nil
}
