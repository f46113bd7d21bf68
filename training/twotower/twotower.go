// Package twotower trains the two-tower model. It learns from users' sequences of interactions
// which item comes next, and which descriptions belong together.
//
// The item tower maps an item to a vector: a learned projection of its text vector, plus an id
// vector that only this item has. Training drops id vectors at random, so that the projected text
// works without them. A new item therefore gets a useful vector from its text alone. The user tower
// maps the vectors of a user's recent items to a user vector, by weighted pooling (0 layers) or
// causal attention. A score is the inner product of both vectors plus a bias of the item.
//
// Each position of each sequence is a training example. The item that came next must score higher
// than random items, and higher than items of the same list that the user skipped.
//
// The service computes the trained model in plain Go, see TwoTower in package ranker/signals.
// ExportUserTower writes the user tower as ONNX.
package twotower

import (
	"errors"
	"fmt"
	"math"
	"time"

	serving "relish/ranker/signals"
	"relish/training/signals"
)

// Config says what to train and how. DefaultConfig returns it filled in. Train checks every number.
type Config struct {
	Layers        int // 0: pooling; else the number of attention blocks
	Dim           int // length of a vector
	Heads         int // attention heads; must divide Dim
	HistoryLength int // number of recent items that form a user vector

	Components int // principal components of the text vectors that the model uses
	Negatives  int // random items of one training step, shared by its positions
	MaxSkipped int // limit of skipped items for each position
	// LogQ corrects for popularity: popular items are skipped negatives more often. With 0 a score
	// says how much more likely an item is taken than drawn as a negative. With 1 it says how
	// likely the item is taken. Values between interpolate.
	LogQ float64

	Epochs int // limit
	// MaxSteps limits the training steps: as many whole epochs as fit, at least 1. 0: no limit.
	MaxSteps            int
	EarlyStoppingEpochs int // epochs without a new best validation until training stops; 0: never
	LearningRate        float64
	WarmUpSteps         int // steps until the full learning rate; then it falls to 0
	WeightDecay         float64
	Dropout             float64 // rate for item vectors and outputs of the layers
	TextDropout         float64 // rate for components of the text
	IDDropout           float64 // rate for complete id vectors
	BatchPositions      int     // positions of one training step, with padding

	// HoldoutShare is the share of users whose last interaction is held out for validation. If this
	// is less than about 300 users, more are held out, at most about half of them. With 0 there is
	// no validation and no early stopping.
	HoldoutShare float64
	// TimeLimit, if not 0, allows as many whole epochs as fit into it, at least 1. The result then
	// depends on the speed of the machine.
	TimeLimit time.Duration
	Seed      uint64

	// Progress, if not nil, is called after each epoch.
	Progress func(Epoch)
}

// DefaultConfig returns the configuration that is used for all data sets. Its numbers were chosen
// on held-out interactions of the data sets Games and Beauty. The quality changes little with any
// of them, see docs/quality.md.
func DefaultConfig() Config {
	return Config{
		Layers: 1, Dim: 64, Heads: 2, HistoryLength: 30,
		Components: 128, Negatives: 256, MaxSkipped: 8,
		Epochs: 12, MaxSteps: 4000, EarlyStoppingEpochs: 3,
		LearningRate: 3e-3, WarmUpSteps: 200, WeightDecay: 0.01,
		Dropout: 0.3, TextDropout: 0.1, IDDropout: 0.05, BatchPositions: 2048,
		HoldoutShare: 0.1, Seed: 1,
	}
}

// Epoch is the result of one epoch.
type Epoch struct {
	Number   int     // starts at 1
	Planned  int     // number of epochs within the limits, as estimated now
	Loss     float64 // weighted mean over the positions of the epoch
	NDCG     float64 // at 10, of held-out interactions among 99 random items; NaN without a holdout
	Duration time.Duration
}

// Result is a trained model.
type Result struct {
	Model     *serving.TwoTower
	Epochs    []Epoch
	BestEpoch int // number of the epoch that Model comes from
	// Validation compares Model with item popularity on the held-out interactions.
	Validation Validation
	// TimeLimited reports that Config.TimeLimit left fewer epochs than the other limits.
	TimeLimited bool
}

// Errors of a corpus that has nothing to learn from.
var (
	ErrNoSequences = errors.New(
		"twotower: no user has two interactions yet, so that there is no next item to learn")
	ErrTooFewItems = errors.New("twotower: the catalogue has fewer than two items")
)

// validate reports everything that is wrong with the configuration.
func (c *Config) validate() error {
	var wrong []error
	check := func(name string, v, low, high float64) {
		if !(v >= low && v <= high) {
			wrong = append(wrong,
				fmt.Errorf("twotower: %s is %v; it must be %v to %v", name, v, low, high))
		}
	}
	check("Layers", float64(c.Layers), 0, 8)
	check("Dim", float64(c.Dim), 2, 1024)
	check("Heads", float64(c.Heads), 1, 64)
	check("HistoryLength", float64(c.HistoryLength), 1, 1000)
	check("Components", float64(c.Components), 0, 4096)
	check("Negatives", float64(c.Negatives), 1, 1<<16)
	check("MaxSkipped", float64(c.MaxSkipped), 0, 100)
	check("LogQ", c.LogQ, 0, 1)
	check("Epochs", float64(c.Epochs), 1, 10000)
	check("MaxSteps", float64(c.MaxSteps), 0, 1e9)
	check("EarlyStoppingEpochs", float64(c.EarlyStoppingEpochs), 0, 10000)
	check("LearningRate", c.LearningRate, 1e-9, 1)
	check("WarmUpSteps", float64(c.WarmUpSteps), 0, 1e9)
	check("WeightDecay", c.WeightDecay, 0, 10)
	check("Dropout", c.Dropout, 0, 0.99)
	check("TextDropout", c.TextDropout, 0, 0.99)
	check("IDDropout", c.IDDropout, 0, 1)
	check("BatchPositions", float64(c.BatchPositions), 1, 1<<20)
	check("HoldoutShare", c.HoldoutShare, 0, 0.9)
	if c.Heads > 0 && c.Dim%c.Heads != 0 {
		wrong = append(wrong,
			fmt.Errorf("twotower: Heads is %d; it must divide Dim, which is %d", c.Heads, c.Dim))
	}
	return errors.Join(wrong...)
}

// validateCorpus reports the first problem of the corpus.
func validateCorpus(c *signals.Corpus) error {
	n := c.Items.Len()
	if n < 2 {
		return ErrTooFewItems
	}
	if len(c.Vectors) != 0 && len(c.Vectors) != n {
		return fmt.Errorf("twotower: %d text vectors for %d items", len(c.Vectors), n)
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
			return fmt.Errorf("twotower: item %s: the text vector has length %d, others have %d",
				c.Items.IDs()[i], len(v), dim)
		}
		for _, x := range v {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return fmt.Errorf(
					"twotower: item %s: the text vector contains NaN or infinity",
					c.Items.IDs()[i])
			}
		}
	}
	for u := range c.Users {
		for i, s := range c.Users[u].Interactions {
			if s.Item < 0 || int(s.Item) >= n || !(s.Gain >= 0) || math.IsInf(float64(s.Gain), 0) {
				return fmt.Errorf("twotower: user %d, interaction %d: item %d of %d, gain %v; "+
					"want a known item and a finite gain of at least 0", u, i, s.Item, n, s.Gain)
			}
		}
	}
	return nil
}
