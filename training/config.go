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
	"relish/training/twotower"
)

// Config is section train: of relish.yaml. The zero value of a field means its default.
type Config struct {
	Gains map[string]float64 `yaml:"gains"` // action -> gain of a list's item; the highest counts
	// FollowUpHours is how long after an impression an interaction that names it still counts as its follow-up, in hours.
	FollowUpHours float64         `yaml:"follow_up_hours"`
	Negatives     NegativesConfig `yaml:"negatives"`
	Signals       []string        `yaml:"signals"`   // learned and plain kinds, in order
	MaxLists      int             `yaml:"max_lists"` // that the blend learns from, the newest
	// Dropout is the share of the lists in which behaviour is hidden in training: of half the items in half of them, of
	// the user in the other half. It teaches the blend to go by text where behaviour is missing.
	Dropout *float64 `yaml:"dropout"`
	// HalfLifeDays weighs lists by age: one of this many days counts half. 0 = all alike.
	HalfLifeDays float64          `yaml:"half_life_days"`
	Features     []ranker.Feature `yaml:"features"` // [written from the log]
	// Monotone has +1 or -1 by column name: prior knowledge that the score must not fall, or rise, with the feature.
	Monotone map[string]int `yaml:"monotone"`
	TwoTower TwoTowerConfig `yaml:"two_tower"`
	Encoder  EncoderConfig  `yaml:"encoder"`
	Scorer   ScorerConfig   `yaml:"scorer"`
	Seed     uint64         `yaml:"seed"`
}

// NegativesConfig make lists where a log has no impressions.
type NegativesConfig struct {
	Count   int     `yaml:"count"`
	Popular float64 `yaml:"popular"` // share drawn by popularity, 0 to 1; the rest are drawn from all items alike
}

// TwoTowerConfig are the match model's parameters.
type TwoTowerConfig struct {
	Layers  *int    `yaml:"layers"` // 0: pooling, faster and somewhat worse; else blocks of attention
	Epochs  int     `yaml:"epochs"`
	Minutes float64 `yaml:"minutes"` // one training may take; it is done twice at least, see Train
}

// When the text encoder is tuned.
const (
	TuneAuto = "auto" // when the log has enough to learn from, see EnoughToTune
	TuneOn   = "on"
	TuneOff  = "off"
)

// EncoderConfig are the tuning of the text encoder's parameters.
type EncoderConfig struct {
	Tune       string  `yaml:"tune"`
	Objective  string  `yaml:"objective"`  // see encoder.Objectives
	Layers     int     `yaml:"layers"`     // trained, from the top; 0 = all
	Rank       int     `yaml:"rank"`       // of corrections to the matrices, 0 = the matrices themselves
	Popularity float64 `yaml:"popularity"` // 0: the text's score leaves it out, 1: it is in it
	Steps      int     `yaml:"steps"`      // at most
	Minutes    float64 `yaml:"minutes"`    // at most, whatever Steps says
	Begin      string  `yaml:"begin"`      // BeginBase or BeginRunning
}

// What tuning begins with.
const (
	BeginBase   = "base"   // the encoder as it comes: nothing is forgotten, since all is learned again
	BeginActive = "active" // the running bundle's, if it has one of its own; half of what is learned from is then new
)

// MinTuningSteps is from how many steps on, from one text to the next, an encoder is tuned without being told to. On Games it
// gained clearly from 1,730 on, see docs/quality.md; another log's steps may say less.
const MinTuningSteps = 5_000

// Finetune returns the parameters as package encoder takes them.
func (c *Config) Finetune() finetune.Config {
	out := finetune.DefaultConfig()
	out.Objective, out.Layers, out.LoRARank, out.LogQ, out.Seed = c.Encoder.Objective, c.Encoder.Layers, c.Encoder.Rank, c.Encoder.Popularity, c.Seed
	out.MaxSteps, out.TimeLimit = c.Encoder.Steps, time.Duration(c.Encoder.Minutes*float64(time.Minute))
	return out
}

// ScorerConfig are LambdaMART's parameters.
type ScorerConfig struct {
	Objective    string  `yaml:"objective"`
	Leaves       []int   `yaml:"leaves"` // each is tried; the validation part chooses
	Rounds       int     `yaml:"rounds"`
	LearningRate float64 `yaml:"learning_rate"`
	// Position learns how much a place adds to a click and takes it out.
	Position *bool `yaml:"position"`
}

// Defaults of Config.
const (
	defaultFollowUpHours = 24
	defaultNegatives     = 19
	defaultMaxLists      = 20_000
	defaultDropout       = 0.2
)

// defaultGains: a purchase says more than a click, a comment something between.
var defaultGains = map[string]float64{"view": 1, "click": 1, "comment": 2, "purchase": 5}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	dropout, position, layers := defaultDropout, false, twotower.DefaultConfig().Layers
	p := gbdt.DefaultParams()
	return Config{
		Gains: defaultGains, FollowUpHours: defaultFollowUpHours, Negatives: NegativesConfig{Count: defaultNegatives}, Signals: signals.Kinds(),
		MaxLists: defaultMaxLists, Dropout: &dropout, Seed: 1,
		TwoTower: TwoTowerConfig{Layers: &layers, Epochs: twotower.DefaultConfig().Epochs, Minutes: 6},
		Encoder:  EncoderConfig{Tune: TuneAuto, Objective: finetune.NextItem, Steps: finetune.DefaultConfig().MaxSteps, Minutes: finetune.DefaultConfig().TimeLimit.Minutes(), Begin: BeginBase},
		Scorer:   ScorerConfig{Objective: p.Objective, Leaves: []int{7, 15}, Rounds: p.MaxRounds, LearningRate: p.LearningRate, Position: &position},
	}
}

// Complete returns the config with defaults in place of what is not set.
func (c Config) Complete() Config {
	d := DefaultConfig()
	if c.Gains == nil {
		c.Gains = d.Gains
	}
	setDefault(&c.FollowUpHours, d.FollowUpHours)
	setDefault(&c.Negatives.Count, d.Negatives.Count)
	setDefault(&c.MaxLists, d.MaxLists)
	setDefault(&c.Seed, d.Seed)
	setDefault(&c.Scorer.Objective, d.Scorer.Objective)
	setDefault(&c.Scorer.Rounds, d.Scorer.Rounds)
	setDefault(&c.Scorer.LearningRate, d.Scorer.LearningRate)
	setDefault(&c.Dropout, d.Dropout)
	setDefault(&c.TwoTower.Layers, d.TwoTower.Layers)
	setDefault(&c.TwoTower.Epochs, d.TwoTower.Epochs)
	setDefault(&c.TwoTower.Minutes, d.TwoTower.Minutes)
	setDefault(&c.Scorer.Position, d.Scorer.Position)
	setDefault(&c.Encoder.Tune, d.Encoder.Tune)
	setDefault(&c.Encoder.Objective, d.Encoder.Objective)
	setDefault(&c.Encoder.Steps, d.Encoder.Steps)
	setDefault(&c.Encoder.Minutes, d.Encoder.Minutes)
	setDefault(&c.Encoder.Begin, d.Encoder.Begin)
	if c.Signals == nil {
		c.Signals = d.Signals
	}
	if c.Scorer.Leaves == nil {
		c.Scorer.Leaves = d.Scorer.Leaves
	}
	return c
}

func setDefault[T comparable](field *T, to T) {
	if zero := *new(T); *field == zero {
		*field = to
	}
}

// Validate returns every problem of a complete config.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("train."+format, args...)) }
	for action, g := range c.Gains {
		if !(g >= 0 && g <= 1000) {
			bad("gains.%s: %g is outside 0 to 1000", action, g)
		}
	}
	within := func(name string, x, low, high float64) {
		if !(x >= low && x <= high) {
			bad("%s: %g is outside %g to %g", name, x, low, high)
		}
	}
	within("follow_up_hours", c.FollowUpHours, 0.01, 24*365)
	within("negatives.count", float64(c.Negatives.Count), 1, 1000)
	within("negatives.popular", c.Negatives.Popular, 0, 1)
	within("max_lists", float64(c.MaxLists), 100, 10_000_000)
	within("dropout", *c.Dropout, 0, 0.9)
	within("half_life_days", c.HalfLifeDays, 0, 36500)
	within("two_tower.layers", float64(*c.TwoTower.Layers), 0, 4)
	within("two_tower.epochs", float64(c.TwoTower.Epochs), 1, 1000)
	within("two_tower.minutes", c.TwoTower.Minutes, 0.01, 24*60)
	within("encoder.layers", float64(c.Encoder.Layers), 0, 100)
	within("encoder.rank", float64(c.Encoder.Rank), 0, 256)
	within("encoder.popularity", c.Encoder.Popularity, 0, 1)
	within("encoder.steps", float64(c.Encoder.Steps), 1, 1e7)
	within("encoder.minutes", c.Encoder.Minutes, 0.01, 7*24*60)
	among := func(name, value string, known ...string) {
		if !slices.Contains(known, value) {
			bad("%s: %q is unknown; there are %s", name, value, strings.Join(known, ", "))
		}
	}
	among("encoder.tune", c.Encoder.Tune, TuneAuto, TuneOn, TuneOff)
	among("encoder.objective", c.Encoder.Objective, finetune.Objectives...)
	among("encoder.begin", c.Encoder.Begin, BeginBase, BeginActive)
	within("scorer.rounds", float64(c.Scorer.Rounds), 1, 10_000)
	within("scorer.learning_rate", c.Scorer.LearningRate, 1e-4, 1)
	among("scorer.objective", c.Scorer.Objective, gbdt.XENDCG, gbdt.Lambdarank, gbdt.Binary)
	if len(c.Scorer.Leaves) == 0 {
		bad("scorer.leaves: name at least one size")
	}
	for _, l := range c.Scorer.Leaves {
		within("scorer.leaves", float64(l), 2, 128)
	}
	for i, kind := range c.Signals {
		if slices.Index(c.Signals, kind) != i {
			bad("signals: %q stands twice", kind)
		}
		if !slices.Contains(signals.Kinds(), kind) {
			bad("signals: %q is unknown; there are %s", kind, strings.Join(signals.Kinds(), ", "))
		}
	}
	for name, sign := range c.Monotone {
		if sign != 1 && sign != -1 {
			bad("monotone.%s: %d is neither 1 nor -1", name, sign)
		}
	}
	if len(c.Features) > 0 {
		if _, err := ranker.NewSchema(c.Features); err != nil {
			bad("features: %w", err)
		}
	}
	return errors.Join(errs...)
}

// checkMonotone refuses constraints on what is no column of the features.
func (c *Config) checkMonotone(list []ranker.Feature) error {
	schema, err := ranker.NewSchema(list)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(c.Monotone)) {
		if !slices.ContainsFunc(schema.Columns(), func(col ranker.Column) bool { return col.Name == name }) {
			return fmt.Errorf("train.monotone.%s: there is no such column; features.yaml of a bundle names them", name)
		}
	}
	return nil
}

// followUpMillis is the window in ms.
func (c *Config) followUpMillis() int64 { return int64(math.Round(c.FollowUpHours * 60 * 60 * 1000)) }
