package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
	"relish/internal/plural"
	"relish/training"
	"relish/training/finetune"
	"relish/training/replay"
	"relish/training/signals"
)

// EncoderTuner has what fine-tuning the text encoder needs.
type EncoderTuner struct {
	Runtime *onnx.Runtime
	// Files returns the pretrained encoder with 32-bit weights, or why there is none.
	Files func() (*onnx.EncoderFiles, error)
	// Finetuned opens the fine-tuned encoder's vectors. Its Vectors.Dir is ignored.
	Finetuned finetuned.Options
}

// tuning is the result of fine-tuning.
type tuning struct {
	encoder *textEncoder       // what all later stages read texts with
	reason  string             // why there is no fine-tuned encoder, or why it is not used
	failed  bool               // fine-tuning was wanted, but an error prevented it
	result  *finetune.Result   // nil if fine-tuning did not finish
	vectors *finetuned.Vectors // of the fine-tuned encoder, nil if it is not used
	dir     string             // the folder of vectors
}

// skipped is the error of a fine-tuning that yields no usable encoder.
type skipped struct {
	reason string
	// always lets the training continue with the present encoder even under --tune-encoder.
	always bool
	failed bool // see tuning
}

// Error implements error.
func (s skipped) Error() string { return s.reason }

// tuneEncoder fine-tunes the text encoder if the log has enough to learn from. The fine-tuned
// encoder replaces the present one if it ranks held-out texts better.
func tuneEncoder(
	ctx context.Context,
	run *run,
	p *plan,
	present *textEncoder,
) (out *tuning, err error) {
	if reason := untuned(run.opt, p, present); reason != "" {
		return &tuning{encoder: keepEncoder(run.opt, p, present), reason: reason}, nil
	}
	in := finetune.Input{Runtime: run.opt.EncoderTuner.Runtime, Backend: run.opt.Backend}
	err = run.stage("find texts to fine-tune on", func() error {
		return readEncoderInput(ctx, run, p, present, &in)
	})
	if err != nil {
		return nil, err
	}
	if reason := tooFewSteps(&run.opt.Config, in.Corpus); reason != "" {
		return &tuning{encoder: keepEncoder(run.opt, p, present), reason: reason}, nil
	}
	err = run.stage("fine-tune the text encoder", func() error {
		result, err := fineTune(ctx, run, p, in)
		forced := run.opt.Config.Encoder.Tune == training.TuneOn
		skip := new(skipped)
		switch {
		case err == nil:
			out, err = useFineTuned(ctx, run, p, present, result)
			return err
		case errors.As(err, skip) && (skip.always || !forced):
			out = &tuning{
				encoder: keepEncoder(run.opt, p, present),
				reason:  skip.reason, failed: skip.failed, result: result,
			}
			return nil
		}
		return err
	})
	return out, err
}

// keepEncoder returns the encoder of a training without fine-tuning. That is the present one,
// unless the training was to continue the fine-tuning of the active bundle: then it is that
// bundle's.
func keepEncoder(opt *Options, p *plan, present *textEncoder) *textEncoder {
	active := p.bundles.active.bundle
	if opt.Config.Encoder.Begin != training.BeginActive || p.parent != nil ||
		present.vectors == nil || active == nil ||
		active.Model.Vectors == nil {
		return present
	}
	return present.replacedBy(active.Model.Vectors, active.Manifest.Encoder, active.Model.Version)
}

// untuned says why a training does not fine-tune at all; it is empty if it may.
func untuned(opt *Options, p *plan, present *textEncoder) string {
	switch {
	case opt.Config.Encoder.Tune == training.TuneOff:
		return "--tune-encoder=false, or train.encoder.tune: off"
	case present.vectors == nil || opt.EncoderTuner == nil:
		return "this training reads no texts"
	case p.parent != nil:
		return "a warm start keeps the encoder of its parent"
	}
	return ""
}

// tooFewSteps says why a training that was not asked to fine-tune does not do so with this corpus;
// it is empty if it does.
func tooFewSteps(cfg *training.Config, c *signals.Corpus) string {
	if cfg.Encoder.Tune != training.TuneAuto || cfg.Encoder.Objective != finetune.NextItem {
		return ""
	}
	n := textSteps(c)
	if n >= training.MinTuningSteps {
		return ""
	}
	return fmt.Sprintf("it learns from users who go from one item with a text to another, and the "+
		"log has %s that the scorer does not need. From %d on, relish train fine-tunes it by "+
		"itself; --tune-encoder does it now", plural.Count(n, "such step"), training.MinTuningSteps)
}

// fineTune trains the encoder on the corpus of in. If the result is not good enough, it returns the
// result with an error of type skipped.
func fineTune(
	ctx context.Context, run *run, p *plan, in finetune.Input,
) (*finetune.Result, error) {
	tuner, mode := run.opt.EncoderTuner, run.opt.Config.Encoder
	files, err := tuner.Files()
	if err == nil && mode.Begin == training.BeginActive {
		files, err = activeFiles(run.opt, p.bundles.active, files)
	}
	if err != nil {
		return nil, skipped{reason: err.Error(), failed: true}
	}
	in.Files = files
	cfg := run.opt.Config.Finetune()
	cfg.Progress = tuningProgress(run, &cfg)
	result, err := finetune.Train(ctx, in, cfg)
	switch {
	case errors.Is(err, finetune.ErrTooLittleData) && cfg.Objective == finetune.Pairs:
		return nil, skipped{
			reason: fmt.Sprintf("%v. It learns from three quarters of the questions with a "+
				"choice: log more impressions with context.query and their clicks, or add "+
				"--pairs FILE", err),
		}
	case errors.Is(err, finetune.ErrTooLittleData):
		return nil, skipped{
			reason: fmt.Sprintf("%v. What users did from the first of the scorer's %d newest "+
				"lists on is reserved for the scorer: lower train.max_lists, or use --objective "+
				"%s, which needs no users", err, run.opt.Config.MaxLists, finetune.TitleText),
		}
	case err != nil && ctx.Err() == nil:
		return nil, skipped{reason: err.Error(), failed: true}
	case err != nil:
		return nil, err
	}
	if v := &result.Validation; !v.Better() {
		return result, skipped{
			always: true,
			reason: fmt.Sprintf("it does not rank held-out texts better: difference "+
				"%s NDCG@10 with 32-bit weights, %s with 8-bit weights", v.Difference, v.Int8),
		}
	}
	return result, nil
}

// tuningProgress reports evaluations per mille of the step limit, or of the time limit if that
// comes earlier.
func tuningProgress(run *run, cfg *finetune.Config) func(finetune.Evaluation) {
	return func(e finetune.Evaluation) {
		share := float64(e.Step) / float64(cfg.MaxSteps)
		if cfg.TimeLimit > 0 {
			share = max(share, float64(e.Elapsed)/float64(cfg.TimeLimit))
		}
		loss := ""
		if e.Step > 0 {
			loss = fmt.Sprintf(" loss %.3f,", e.Loss)
		}
		stage := fmt.Sprintf("text encoder, step %d,%s held-out NDCG@10 %.3f, per mille",
			e.Step, loss, e.NDCG)
		run.opt.Progress(stage, int(1000*min(1, share)), 1000)
	}
}

// readEncoderInput sets what the encoder may be fine-tuned on. If fine-tuning continues from the
// active bundle, HasNewEvents says which users have events that this bundle was not trained on.
func readEncoderInput(
	ctx context.Context, run *run, p *plan, present *textEncoder, out *finetune.Input,
) error {
	in, log := run.inputs(p, present), p.scan.log
	start, err := log.HoldoutStart(in.Holdout)
	if err != nil {
		return err
	}
	known, err := in.ScanBefore(ctx, start)
	if err != nil {
		return err
	}
	if in.Config.Encoder.Objective == finetune.Pairs {
		out.Pairs = training.EncoderPairs(known, run.opt.Pairs)
		return nil
	}
	var later []*replay.Log
	if p.retrain {
		later = append(later, log)
	}
	if in.Config.Encoder.Begin == training.BeginActive && p.bundles.active.bundle != nil {
		out.HasNewEvents = make([]bool, known.Users.Len())
		for _, x := range known.Interactions {
			out.HasNewEvents[x.User] = out.HasNewEvents[x.User] ||
				x.Seq >= p.scan.sinceActive.from
		}
	}
	out.Corpus = training.EncoderSplit(known, later, &in.Config)
	return nil
}

// textSteps counts the steps from one item with a text to the next, over all users.
func textSteps(c *signals.Corpus) (n int) {
	for i := range c.Users {
		texts := 0
		for _, x := range c.Users[i].Interactions {
			if info := c.ItemInfos[x.Item]; info != nil && info.TextKey != 0 {
				texts++
			}
		}
		n += max(0, texts-1)
	}
	return n
}

// activeFiles returns the fine-tuned encoder of the active bundle, or pretrained if it has none.
func activeFiles(
	opt *Options,
	active *activeModel,
	pretrained *onnx.EncoderFiles,
) (*onnx.EncoderFiles, error) {
	if active.bundle == nil || !active.bundle.Manifest.Encoder.FineTuned {
		return pretrained, nil
	}
	return finetuned.ReadFiles(filepath.Join(opt.Root, active.bundle.Model.Version), true)
}
