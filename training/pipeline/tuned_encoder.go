package pipeline

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"

	"relish/embeddings/finetuned"
	"relish/features/event"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/training/finetune"
)

// vectorsFolder holds the fine-tuned encoder's vectors during the training, in the working folder.
const vectorsFolder = "vectors"

// useFineTuned encodes all texts with the fine-tuned encoder, which later stages then read. Other
// models keep the vectors that they were trained on.
func useFineTuned(
	ctx context.Context,
	run *run,
	p *plan,
	present *textEncoder,
	result *finetune.Result,
) (_ *tuning, err error) {
	out := &tuning{result: result, dir: filepath.Join(run.workDir, vectorsFolder)}
	opt, files := run.opt.EncoderTuner.Finetuned, result.Int8
	if opt.FP32 {
		files = result.FP32
	}
	opt.Vectors.Dir = out.dir
	if err := os.RemoveAll(out.dir); err != nil { // left by a training that died
		return nil, err
	}
	if out.vectors, err = finetuned.New(ctx, files, opt); err != nil {
		return nil, err
	}
	if err := encodeTexts(ctx, run, p, out.vectors, len(present.vectors.seen)); err != nil {
		return nil, errors.Join(err, out.close(ctx))
	}
	manifest := bundle.Encoder{
		ID: present.manifest.ID + ", fine-tuned", Digest: result.Int8.Digest(),
		FineTuned: true, DigestFP32: result.FP32.Digest(),
		Pairs: run.opt.Config.Encoder.Objective == finetune.Pairs,
	}
	out.encoder = present.replacedBy(out.vectors, manifest, "")
	return out, nil
}

// encodeTexts encodes each text that any item ever had.
func encodeTexts(
	ctx context.Context,
	run *run,
	p *plan,
	vectors *finetuned.Vectors,
	total int,
) error {
	items := newItemReplay(run.opt.State, p.scan.source.timeline.Base(run.opt.Base))
	texts := func(yield func(*ranker.ItemInfo, error) bool) {
		var failed error
		err := p.scan.source.inOrder(func(rec *event.Record, _ uint64) bool {
			var infos []*ranker.ItemInfo
			infos, failed = items.observe(rec, false)
			for _, info := range infos {
				if !yield(info, nil) {
					return false
				}
			}
			return failed == nil
		})
		if err = cmp.Or(failed, err); err != nil { // a yield that returns false gives no error
			yield(nil, err)
		}
	}
	return vectors.EncodeAll(ctx, texts, func(_, encoded int) {
		run.opt.Progress("encode texts with the fine-tuned encoder", encoded, total)
	})
}

// close releases the fine-tuned encoder and removes its vectors, even if ctx is cancelled.
func (t *tuning) close(ctx context.Context) error {
	if t.vectors == nil {
		return nil
	}
	return errors.Join(t.vectors.Close(context.WithoutCancel(ctx)), os.RemoveAll(t.dir))
}

// note says in a sentence whether the encoder was fine-tuned.
func (t *tuning) note() string {
	switch {
	case t.vectors != nil:
		return "The fine-tuned encoder replaces the one it was trained from: everything that is " +
			"learned from texts was learned from its vectors."
	case t.result != nil:
		return "The fine-tuned encoder is not used: " + t.reason + "."
	}
	return "The text encoder was not fine-tuned: " + t.reason + "."
}

// encoderFiles returns the files of the bundle's fine-tuned encoder: from this training, or from
// the bundle that stores them.
func encoderFiles(ctx context.Context, opt *Options, t *tuning) (map[string][]byte, error) {
	if t.vectors != nil {
		return finetuned.BundleFiles(ctx, opt.EncoderTuner.Runtime, t.result.Int8, t.result.FP32)
	}
	files := map[string][]byte{}
	for _, name := range bundle.EncoderFiles {
		var err error
		files[name], err = os.ReadFile(filepath.Join(opt.Root, t.encoder.storedIn, name))
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}
