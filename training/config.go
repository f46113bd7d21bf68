package training

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"relish/ranker"
	"relish/ranker/signals"
	"relish/training/finetune"
	"relish/training/gbdt"
	"relish/training/replay"
	"relish/training/twotower"
)

// Config is the section train of relish.yaml. A field's zero value means its default.
type Config struct {
	// Gains maps an action to the gain of the item. If several actions follow, the highest counts.
	Gains map[string]float64 `yaml:"gains"`
	// FollowUpHours is the time after an impression, in hours, in which an interaction that names
	// the impression counts as its follow-up.
	FollowUpHours float64         `yaml:"follow_up_hours"`
	Negatives     NegativesConfig `yaml:"negatives"`
	Signals       []string        `yaml:"signals"`   // kinds of signals, in order
	MaxLists      int             `yaml:"max_lists"` // lists that train the scorer, the newest
	// Dropout is the share of the lists in which behaviour is hidden: of half the items in one half
	// of them, of the user in the other half. The scorer thus learns to use text if behaviour is
	// missing.
	Dropout *float64 `yaml:"dropout"`
	// HalfLifeDays is the age at which a list has half the weight of a new one; 0: all weigh the
	// same.
	HalfLifeDays float64 `yaml:"half_life_days"`
	// PositionBias is PositionBiasAuto or PositionBiasOff.
	PositionBias string           `yaml:"position_bias"`
	Features     []ranker.Feature `yaml:"features"` // [inferred from the log]
	// Monotone maps a column to 1 if the score must not fall as the column grows, or to -1 if it
	// must not rise.
	Monotone map[string]int `yaml:"monotone"`
	// AllowMismatch trains even if more than 1 % of the served feature matrices differ from their
	// replay.
	AllowMismatch bool           `yaml:"allow_mismatch"`
	TwoTower      TwoTowerConfig `yaml:"two_tower"`
	Encoder       EncoderConfig  `yaml:"encoder"`
	Scorer        ScorerConfig   `yaml:"scorer"`
	Seed          uint64         `yaml:"seed"`
}

// NegativesConfig describes the sampled lists of a log with few impressions.
type NegativesConfig struct {
	Count int `yaml:"count"` // items in a list besides the one that the user chose
	// Popular is the share of them drawn by popularity, 0 to 1. The others are drawn uniformly.
	Popular float64 `yaml:"popular"`
}

// TwoTowerConfig has the parameters of the two-tower model.
type TwoTowerConfig struct {
	Layers  *int    `yaml:"layers"`  // attention blocks; 0 pools the history: faster, less exact
	Epochs  int     `yaml:"epochs"`  // at most
	Steps   int     `yaml:"steps"`   // at most, in whole epochs
	Minutes float64 `yaml:"minutes"` // of each training of the model; 0: no limit
}

// Values of Config.PositionBias.
const (
	// PositionBiasAuto corrects clicks for how likely users look at their position, as far as the
	// log tells (package examination).
	PositionBiasAuto = "auto"
	PositionBiasOff  = "off" // clicks count the same at every position
)

// Values of EncoderConfig.Tune.
const (
	TuneAuto = "auto" // fine-tune if the log has at least MinTuningSteps
	TuneOn   = "on"
	TuneOff  = "off"
)

// Values of EncoderConfig.Begin.
const (
	// BeginBase starts from the pretrained encoder. Nothing is forgotten, because everything is
	// learned again.
	BeginBase = "base"
	// BeginActive starts from the active bundle's fine-tuned encoder, if it has one. Half of the
	// training data is then new.
	BeginActive = "active"
)

// EncoderConfig has the parameters of fine-tuning the text encoder.
type EncoderConfig struct {
	Tune      string `yaml:"tune"`
	Objective string `yaml:"objective"` // one of finetune.Objectives
	Layers    int    `yaml:"layers"`    // layers that are trained, from the top; 0 = all
	Rank      int    `yaml:"rank"`      // of LoRA corrections; 0 trains the matrices themselves
	// Popularity is the share of item popularity that stays in the text score, 0 to 1.
	Popularity float64 `yaml:"popularity"`
	Steps      int     `yaml:"steps"`   // at most
	Minutes    float64 `yaml:"minutes"` // at most, even if Steps are not reached; 0: no limit
	Begin      string  `yaml:"begin"`
}

// MinTuningSteps is the number of steps from one text to the next from which an encoder is
// fine-tuned automatically. The Games benchmark gained clearly from 1,730 steps on, see
// docs/quality.md; a step of another log may say less.
const MinTuningSteps = 5_000

// ScorerConfig has the parameters of LambdaMART.
type ScorerConfig struct {
	Objective    string  `yaml:"objective"`
	Leaves       []int   `yaml:"leaves"` // to try; the best number on the validation lists is used
	Rounds       int     `yaml:"rounds"` // trees at most
	LearningRate float64 `yaml:"learning_rate"`
}

// DefaultConfig returns the defaults. A purchase says more than a click, a comment something in
// between.
func DefaultConfig() Config {
	dropout := 0.2
	twoTower, encoder := twotower.DefaultConfig(), finetune.DefaultConfig()
	trees := gbdt.DefaultParams()
	return Config{
		Gains:         map[string]float64{"view": 1, "click": 1, "comment": 2, "purchase": 5},
		FollowUpHours: 24, Negatives: NegativesConfig{Count: 19}, Signals: signals.Kinds(),
		MaxLists: 20_000, Dropout: &dropout, Seed: 1, PositionBias: PositionBiasAuto,
		TwoTower: TwoTowerConfig{
			Layers: &twoTower.Layers, Epochs: twoTower.Epochs, Steps: twoTower.MaxSteps,
		},
		Encoder: EncoderConfig{
			Tune: TuneAuto, Objective: finetune.NextItem, Steps: encoder.MaxSteps,
			Begin: BeginBase,
		},
		Scorer: ScorerConfig{
			Objective: trees.Objective, Leaves: []int{7, 15}, Rounds: trees.MaxRounds,
			LearningRate: trees.LearningRate,
		},
	}
}

// Complete returns the config with the defaults of all fields that are not set.
func (c Config) Complete() Config {
	d := DefaultConfig()
	if c.Gains == nil {
		c.Gains = d.Gains
	}
	if c.Signals == nil {
		c.Signals = d.Signals
	}
	if c.Scorer.Leaves == nil {
		c.Scorer.Leaves = d.Scorer.Leaves
	}
	setDefault(&c.FollowUpHours, d.FollowUpHours)
	setDefault(&c.Negatives.Count, d.Negatives.Count)
	setDefault(&c.MaxLists, d.MaxLists)
	setDefault(&c.Seed, d.Seed)
	setDefault(&c.Dropout, d.Dropout)
	setDefault(&c.PositionBias, d.PositionBias)
	setDefault(&c.TwoTower.Layers, d.TwoTower.Layers)
	setDefault(&c.TwoTower.Epochs, d.TwoTower.Epochs)
	setDefault(&c.TwoTower.Steps, d.TwoTower.Steps)
	setDefault(&c.Encoder.Tune, d.Encoder.Tune)
	setDefault(&c.Encoder.Objective, d.Encoder.Objective)
	setDefault(&c.Encoder.Steps, d.Encoder.Steps)
	setDefault(&c.Encoder.Begin, d.Encoder.Begin)
	setDefault(&c.Scorer.Objective, d.Scorer.Objective)
	setDefault(&c.Scorer.Rounds, d.Scorer.Rounds)
	setDefault(&c.Scorer.LearningRate, d.Scorer.LearningRate)
	return c
}

func setDefault[T comparable](field *T, value T) {
	if zero := *new(T); *field == zero {
		*field = value
	}
}

// Validate returns all problems of a complete config.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("train."+format, args...))
	}
	within := func(name string, x, low, high float64) {
		if !(x >= low && x <= high) {
			bad("%s: %g is outside %g to %g", name, x, low, high)
		}
	}
	oneOf := func(name, value string, known ...string) {
		if !slices.Contains(known, value) {
			bad("%s: %q is unknown; use one of %s", name, value, strings.Join(known, ", "))
		}
	}
	for action, gain := range c.Gains {
		within("gains."+action, gain, 0, 1000)
	}
	within("follow_up_hours", c.FollowUpHours, 0.01, 24*365)
	within("negatives.count", float64(c.Negatives.Count), 1, 1000)
	within("negatives.popular", c.Negatives.Popular, 0, 1)
	within("max_lists", float64(c.MaxLists), 100, 10_000_000)
	within("dropout", *c.Dropout, 0, 0.9)
	within("half_life_days", c.HalfLifeDays, 0, 36500)
	within("two_tower.layers", float64(*c.TwoTower.Layers), 0, 4)
	within("two_tower.epochs", float64(c.TwoTower.Epochs), 1, 1000)
	within("two_tower.steps", float64(c.TwoTower.Steps), 1, 1e9)
	within("two_tower.minutes", c.TwoTower.Minutes, 0, 24*60)
	within("encoder.layers", float64(c.Encoder.Layers), 0, 100)
	within("encoder.rank", float64(c.Encoder.Rank), 0, 256)
	within("encoder.popularity", c.Encoder.Popularity, 0, 1)
	within("encoder.steps", float64(c.Encoder.Steps), 1, 1e7)
	within("encoder.minutes", c.Encoder.Minutes, 0, 7*24*60)
	oneOf("position_bias", c.PositionBias, PositionBiasAuto, PositionBiasOff)
	oneOf("encoder.tune", c.Encoder.Tune, TuneAuto, TuneOn, TuneOff)
	oneOf("encoder.objective", c.Encoder.Objective, finetune.Objectives...)
	oneOf("encoder.begin", c.Encoder.Begin, BeginBase, BeginActive)
	c.Scorer.validate(bad, within, oneOf)
	for i, kind := range c.Signals {
		if slices.Index(c.Signals, kind) != i {
			bad("signals: %q is listed twice", kind)
		}
		oneOf("signals", kind, signals.Kinds()...)
	}
	for column, sign := range c.Monotone {
		if sign != 1 && sign != -1 {
			bad("monotone.%s: %d is neither 1 nor -1", column, sign)
		}
	}
	if len(c.Features) > 0 {
		if _, err := ranker.NewSchema(c.Features); err != nil {
			bad("features: %w", err)
		}
	}
	return errors.Join(errs...)
}

// validate reports the problems of the section scorer.
func (c *ScorerConfig) validate(
	bad func(format string, args ...any),
	within func(name string, x, low, high float64),
	oneOf func(name, value string, known ...string),
) {
	within("scorer.rounds", float64(c.Rounds), 1, 10_000)
	within("scorer.learning_rate", c.LearningRate, 1e-4, 1)
	oneOf("scorer.objective", c.Objective, gbdt.XENDCG, gbdt.Lambdarank, gbdt.Binary)
	if len(c.Leaves) == 0 {
		bad("scorer.leaves: name at least one tree size")
	}
	for _, leaves := range c.Leaves {
		within("scorer.leaves", float64(leaves), 2, 128)
	}
}

// checkMonotone returns an error if a constraint names a column that the features do not have.
func (c *Config) checkMonotone(list []ranker.Feature) error {
	schema, err := ranker.NewSchema(list)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(c.Monotone)) {
		isNamed := func(column ranker.Column) bool { return column.Name == name }
		if !slices.ContainsFunc(schema.Columns(), isNamed) {
			return fmt.Errorf(
				"train.monotone.%s: there is no such column; features.yaml in a bundle's "+
					"folder lists the columns",
				name,
			)
		}
	}
	return nil
}

// Finetune returns the parameters of the text encoder for package finetune.
func (c *Config) Finetune() finetune.Config {
	out := finetune.DefaultConfig()
	out.Objective, out.Layers, out.LoRARank = c.Encoder.Objective, c.Encoder.Layers, c.Encoder.Rank
	out.LogQ, out.Seed, out.MaxSteps = c.Encoder.Popularity, c.Seed, c.Encoder.Steps
	out.TimeLimit = time.Duration(c.Encoder.Minutes * float64(time.Minute))
	return out
}

// FollowUpMillis returns FollowUpHours in milliseconds.
func (c *Config) FollowUpMillis() int64 {
	return int64(math.Round(c.FollowUpHours * 60 * 60 * 1000))
}

// negatives returns Negatives for package replay.
func (c *Config) negatives() replay.Negatives {
	return replay.Negatives{Count: c.Negatives.Count, Popular: c.Negatives.Popular}
}
