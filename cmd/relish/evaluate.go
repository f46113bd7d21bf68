package main

import (
	"context"

	"relish/internal/app"
	"relish/internal/config"
)

type evaluateCmd struct {
	dataFlags    `group:"Data:"`
	bundleFlags  `group:"Data:"`
	encoderFlags `group:"Text encoder:"`
	logFlags     `group:"Logging:"`
	Bundle       string   `help:"Version of the bundle to measure, or prior (default: the active one)." placeholder:"VERSION"`
	Last         float64  `help:"Newest share of the lists to score (default: lists that the bundle has not learned from, else 0.1 in sample)." placeholder:"SHARE"`
	Prequential  bool     `help:"Apply the clicks of each list after ranking it, as a live service does. Else the state is frozen."`
	InSample     bool     `help:"Measure a bundle even on lists that it was trained on. The result says so."`
	HideItems    float64  `help:"Cold items: train without this share of the items, and rank among them." placeholder:"SHARE"`
	Ablate       []string `help:"Train with everything, and without each of these signals, features or groups (such as text)." placeholder:"NAME"`
	K            int      `help:"The K of NDCG@K, MAP@K and HR@K." default:"10" placeholder:"K"`
	Negatives    int      `help:"Sampled negatives for each list, if the log has no impressions." default:"19" placeholder:"N"`
	Seed         uint64   `help:"Seed of ties, negatives, hidden items and intervals." default:"1" placeholder:"N"`
	OnPolicyLog  bool     `help:"Estimate the gain that --policy would have had on the scored lists, from logged propensities." name:"on-policy-log"`
	Policy       string   `help:"With --on-policy-log: version of the bundle, or prior (default: the active one)." placeholder:"VERSION"`
	JSON         bool     `help:"Print everything as JSON, with all slices, intervals and comparisons."`
}

// Run reads the log beside a running service and prints the metrics.
func (c *evaluateCmd) Run(ctx context.Context, cfg *config.Config) error {
	if err := c.checkFlags(); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	scoring := newProgress("evaluate")
	defer scoring.end()
	var stages stageProgress
	defer stages.end()
	evaluator, err := app.NewEvaluator(ctx, app.EvaluatorOptions{
		Data: c.Data, Bundles: c.Bundles, Encoder: c.options(), Config: cfg,
		TestShare: c.Last, Prequential: c.Prequential, K: c.K, Negatives: c.Negatives, Seed: c.Seed,
		Bundle: c.Bundle, InSample: c.InSample, HideItems: c.HideItems, Ablate: c.Ablate,
		Policy:   c.Policy,
		Progress: scoring.set,
		TrainProgress: func(model, stage string, done, total int) {
			stages.set(model+": "+stage, done, total)
		},
		Log: c.logger(),
	})
	if err != nil {
		return err
	}
	defer evaluator.Close(ctx)
	if c.OnPolicyLog {
		estimate, err := evaluator.EstimatePolicy(ctx)
		if err != nil {
			return err
		}
		return c.printEstimate(estimate)
	}
	result, err := evaluator.Evaluate(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(result)
	}
	printEvaluation(result)
	return nil
}

// checkFlags refuses flags that do not go together.
func (c *evaluateCmd) checkFlags() error {
	trains := c.HideItems > 0 || len(c.Ablate) > 0
	switch {
	case !isShare(c.HideItems):
		return app.Usagef("--hide-items %g is not a share: give a number from 0 to less than 1",
			c.HideItems)
	case c.HideItems > 0 && len(c.Ablate) > 0:
		return app.Usagef("--hide-items and --ablate are two experiments: run one after the other")
	case trains && (c.Bundle != "" || c.InSample):
		return app.Usagef("--hide-items and --ablate train their own models: " +
			"leave out --bundle and --in-sample")
	case trains && c.OnPolicyLog:
		return app.Usagef("--on-policy-log estimates an existing bundle: " +
			"leave out --hide-items and --ablate")
	case c.Policy != "" && !c.OnPolicyLog:
		return app.Usagef("--policy needs --on-policy-log; " +
			"to measure a bundle, name it with --bundle")
	}
	return nil
}
