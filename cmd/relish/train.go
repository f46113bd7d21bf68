package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"relish/features/event"
	"relish/internal/app"
	"relish/internal/config"
	"relish/training"
	"relish/training/finetune"
	"relish/training/modelcard"
)

type trainCmd struct {
	dataFlags    `group:"Data:"`
	bundleFlags  `group:"Data:"`
	encoderFlags `group:"Text encoder:"`
	logFlags     `group:"Logging:"`
	Log          []string `help:"Data folders of other replicas. Training reads their logs too." type:"path" placeholder:"DIR"`
	Holdout      float64  `help:"Newest share of the lists to measure on and not to learn from (default: train twice, see docs)." placeholder:"SHARE"`
	Until        string   `help:"Leave out what happened from this time on: RFC 3339 or Unix ms." placeholder:"TIME"`
	From         string   `help:"Warm start from this bundle or the active one: learn the new events and a sample of the old." placeholder:"previous|VERSION"`
	// TuneEncoder is nil if the configuration decides.
	TuneEncoder *bool   `help:"Fine-tune the text encoder: the largest gain for new and rare items (default: if the log is large enough)." placeholder:"true|false"`
	Objective   string  `help:"Fine-tune for next-item, pairs (questions and choices), or title-text, without clicks (default: train.encoder.objective)." placeholder:"NAME"`
	Pairs       string  `help:"Also fine-tune on the questions and answers of this file: CSV or JSON with the columns query and answer." type:"path" placeholder:"FILE"`
	MaxMinutes  float64 `help:"Longest fine-tuning. The bundle then depends on the machine's speed (default: train.encoder.minutes, no limit)." placeholder:"MINUTES"`
	Force       string  `help:"Activate the bundle even if it ranks worse. The bundle records the reason." placeholder:"REASON"`
	// AllowMismatch is named as in the configuration.
	AllowMismatch bool          `help:"Train even if more than 1 % of the served feature matrices differ from their replay."`
	Every         time.Duration `help:"Train at this interval until SIGTERM, if events have arrived since the last time." placeholder:"DURATION"`
	SigningKey    string        `help:"Private Ed25519 key, in PEM, that signs the bundle for servers with --bundle-keys." type:"path" placeholder:"FILE"`
	Keep          int           `help:"Newest bundles to keep, besides those in use by the service and by experiments." default:"30" placeholder:"N"`
	// Experiments is named as in serveCmd, so that one setting in relish.yaml serves both.
	Experiments string `help:"Experiments file, whose bundles are kept." type:"path" placeholder:"FILE"`
	JSON        bool   `help:"Print only the result as JSON, without metrics and warnings."`
}

// Run trains once, or at every interval until the context ends.
func (c *trainCmd) Run(ctx context.Context, cfg *config.Config) error {
	if err := c.configure(&cfg.Train); err != nil {
		return err
	}
	opt, err := c.options(cfg)
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	for _, dir := range c.Log {
		if err := app.CheckData("--log", dir); err != nil {
			return err
		}
	}
	trainer, err := app.NewTrainer(ctx, opt)
	if err != nil {
		return err
	}
	defer trainer.Close()
	if c.Every > 0 {
		trainer.TrainEvery(ctx, c.Every, func(ctx context.Context) error {
			return c.train(ctx, trainer)
		})
		return nil
	}
	return c.train(ctx, trainer)
}

// train trains one bundle, prints the result and removes the oldest bundles.
func (c *trainCmd) train(ctx context.Context, trainer *app.Trainer) error {
	var stages stageProgress
	out, err := trainer.Train(ctx, func(stage string, done, total int) {
		stages.set("train: "+stage, done, total)
	})
	stages.end()
	if err != nil {
		return err
	}
	if !c.JSON && out.Report != nil {
		printModelCard(out.Report)
	}
	return errors.Join(printJSON(out), trainer.Prune())
}

// configure overrides the configuration by the flags.
func (c *trainCmd) configure(cfg *training.Config) error {
	cfg.AllowMismatch = cfg.AllowMismatch || c.AllowMismatch
	encoder := &cfg.Encoder
	if c.TuneEncoder != nil {
		encoder.Tune = training.TuneOff
		if *c.TuneEncoder {
			encoder.Tune = training.TuneOn
		}
	}
	if c.Objective != "" {
		encoder.Objective = c.Objective
	}
	if c.MaxMinutes != 0 {
		encoder.Minutes = c.MaxMinutes
	}
	if err := cfg.Validate(); err != nil {
		return app.UsageError{Err: err}
	}
	if c.Pairs != "" && encoder.Objective != finetune.Pairs {
		return app.Usagef("--pairs needs --objective %s; the objective is %s", finetune.Pairs,
			encoder.Objective)
	}
	return nil
}

// isShare reports whether x is from 0 to less than 1. NaN is not.
func isShare(x float64) bool { return x >= 0 && x < 1 }

func (c *trainCmd) options(cfg *config.Config) (app.TrainerOptions, error) {
	var opt app.TrainerOptions
	if !isShare(c.Holdout) {
		return opt, app.Usagef("--holdout %g is not a share: give a number from 0 to less than 1",
			c.Holdout)
	}
	if c.Every < 0 || c.Every > 0 && c.Until != "" {
		return opt, app.Usagef("--every %s must be positive, and cannot be combined with --until",
			c.Every)
	}
	if c.Keep < 1 {
		return opt, app.Usagef("--keep %d must be at least 1", c.Keep)
	}
	if c.NoText && c.TuneEncoder != nil && *c.TuneEncoder {
		return opt, app.Usagef("--no-text trains without a text encoder, and --tune-encoder " +
			"trains one: leave out one of the two")
	}
	until, err := parseUntil(c.Until)
	if err != nil {
		return opt, app.Usagef("--until: %w", err)
	}
	var pairs []training.QuestionAnswer
	if c.Pairs != "" {
		if pairs, err = training.ReadPairs(c.Pairs); err != nil {
			return opt, fmt.Errorf("--pairs: %w", err)
		}
	}
	return app.TrainerOptions{
		Pairs: pairs,
		Data:  c.Data, Logs: c.Log, Bundles: c.Bundles, Encoder: c.encoderFlags.options(),
		Config:  cfg,
		Holdout: c.Holdout, Until: until, From: c.From, ForceReason: c.Force,
		Command: c.reproduce(),
		Keep:    c.Keep, SigningKey: c.SigningKey, Experiments: c.Experiments, Log: c.logger(),
	}, nil
}

// reproduce returns the command line that trains the same again, with placeholders for folders. The
// model card shows it.
func (c *trainCmd) reproduce() string {
	line := "relish train --data D" + strings.Repeat(" --log DIR", len(c.Log))
	if c.Until != "" {
		line += " --until " + c.Until
	}
	if c.From != "" {
		line += " --from " + c.From
	}
	if c.Holdout > 0 {
		line += fmt.Sprintf(" --holdout %g", c.Holdout)
	}
	if c.NoText {
		line += " --no-text"
	}
	if c.TuneEncoder != nil {
		line += fmt.Sprintf(" --tune-encoder=%v", *c.TuneEncoder)
	}
	if c.Objective != "" {
		line += " --objective " + c.Objective
	}
	if c.Pairs != "" {
		line += " --pairs FILE"
	}
	if c.AllowMismatch {
		line += " --allow-mismatch"
	}
	if c.MaxMinutes != 0 {
		line += fmt.Sprintf(" --max-minutes %g", c.MaxMinutes)
	}
	return line
}

// printModelCard prints the main metric of every scorer, and the warnings, to standard error.
func printModelCard(card *modelcard.Data) {
	if len(card.Scores) > 0 {
		first := card.Scores[0]
		fmt.Fprintf(os.Stderr, "%s on %d held-out lists:\n", first.Metric, first.Value.N)
		for _, s := range card.Scores {
			if s.Metric == first.Metric && s.Slice == first.Slice {
				fmt.Fprintf(os.Stderr, "  %-40s %s\n", s.Scorer, s.Value)
			}
		}
	}
	if card.Log.ParityChecked > 0 {
		fmt.Fprintf(os.Stderr, "served matrices that differ from the replay's: %d of %d\n",
			card.Log.ParityDiffering, card.Log.ParityChecked)
	}
	for _, table := range card.Tables {
		if table.Title == modelcard.ParityTable {
			fmt.Fprintln(os.Stderr, table.Title+":")
			printTable(&table)
		}
	}
	for _, note := range card.Notes {
		fmt.Fprintln(os.Stderr, "note:", note)
	}
	for _, warning := range modelcard.Check(card) {
		fmt.Fprintln(os.Stderr, "warning:", printable(warning.Text))
	}
}

// printTable prints a table of the model card to standard error.
func printTable(t *modelcard.Table) {
	w := tabwriter.NewWriter(os.Stderr, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		fmt.Fprintln(w, "  "+strings.Join(row, "\t"))
	}
	_ = w.Flush() // as for the other lines
}

// parseUntil reads RFC 3339 or Unix ms as Unix ms; the empty string is 0.
func parseUntil(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	ms, err := event.ParseTime(s)
	if err == nil {
		err = event.CheckTime(ms, 0)
	}
	return ms, err
}
