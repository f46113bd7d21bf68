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
// place of the int8 encoder of the assets folder it reads the fp32 one.
func (o *EncoderOptions) trainableFiles() (*onnx.EncoderFiles, error) {
	dir, err := o.Folder()
	if err != nil {
		return nil, err
	}
	files, err := onnx.ReadEncoderFiles(dir, o.MaxTokens)
	if err != nil || !files.IsQuantized() {
		return files, err
	}
	assets, err := o.AssetsFolder()
	if err != nil {
		return nil, err
	}
	base := filepath.Join(assets, "encoder")
	if dir != filepath.Join(base, "int8") {
		return nil, fmt.Errorf("the encoder %s has 8-bit weights, and only 32-bit weights can be "+
			"fine-tuned. Name its 32-bit form with --encoder, or pass --tune-encoder=false", dir)
	}
	files, err = onnx.ReadEncoderFiles(filepath.Join(base, "fp32"), o.MaxTokens)
	if err != nil {
		return nil, fmt.Errorf("fine-tuning needs the encoder with 32-bit weights: %w. "+
			"Fetch it with make fetch-fp32, or pass --tune-encoder=false", err)
	}
	return files, nil
}
