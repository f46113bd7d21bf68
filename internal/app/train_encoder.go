package app

import (
	"context"
	"fmt"
	"path/filepath"

	"relish/embeddings"
	"relish/embeddings/onnx"
	"relish/ranker/bundle"
	"relish/training/pipeline"
)

// openEncoder loads the text encoder and prepares its fine-tuning.
func (t *Trainer) openEncoder(ctx context.Context) (err error) {
	o := &t.opt.Encoder
	if t.encoder, err = o.Load(ctx, t.opt.Log); err != nil {
		return err
	}
	dir, err := o.Folder()
	if err != nil {
		return err
	}
	t.pipeline.Encoder = bundle.Encoder{ID: filepath.Base(dir), Digest: t.encoder.Digest()}
	finetuned, err := o.finetunedOptions(t.encoder, embeddings.Options{
		CacheBytes: o.CacheBytes, Log: t.opt.Log,
	}, t.opt.Log)
	if err != nil {
		return err
	}
	t.pipeline.EncoderTuner = &pipeline.EncoderTuner{
		Runtime: finetuned.Runtime, Files: o.trainableFiles, Finetuned: finetuned,
	}
	return nil
}

// trainableFiles reads the chosen encoder with 32-bit weights. Only those can be fine-tuned: in
// place of int8 it reads the folder fp32 beside it, in place of NAME the folder NAME-fp32.
func (o *EncoderOptions) trainableFiles() (*onnx.EncoderFiles, error) {
	dir, err := o.Folder()
	if err != nil {
		return nil, err
	}
	files, err := onnx.ReadEncoderFiles(dir, o.MaxTokens)
	if err != nil || !files.IsQuantized() {
		return files, err
	}
	fp32, fetch := dir+fp32Suffix, "relish encoder pull "+filepath.Base(dir)+fp32Suffix
	if filepath.Base(dir) == "int8" {
		fp32, fetch = filepath.Join(filepath.Dir(dir), "fp32"), "make fetch-fp32"
	}
	files, err = onnx.ReadEncoderFiles(fp32, o.MaxTokens)
	if err != nil {
		return nil, fmt.Errorf("the encoder %s has 8-bit weights, and only 32-bit weights can be "+
			"fine-tuned: %w. Fetch them with %s if that has them, or pass --tune-encoder=false",
			dir, err, fetch)
	}
	return files, nil
}
