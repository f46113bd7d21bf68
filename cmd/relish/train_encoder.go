package main

import (
	"fmt"
	"path/filepath"

	"relish/embeddings"
	"relish/embeddings/onnx"
	"relish/training"
	"relish/training/pipeline"
)

// configure puts the flags in the configuration's place.
func (c *trainCmd) configure(cfg *training.Config) error {
	e := &cfg.Encoder
	if c.TuneEncoder != nil {
		if e.Tune = training.TuneOff; *c.TuneEncoder {
			e.Tune = training.TuneOn
		}
	}
	if c.Objective != "" {
		e.Objective = c.Objective
	}
	if c.MaxMinutes != 0 {
		e.Minutes = c.MaxMinutes
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return nil
}

// tuner is what the text encoder is tuned with: from the chosen encoder, or, since one with 8-bit weights cannot be, from
// the same with 32-bit weights.
func (c *trainCmd) tuner(encoder *onnx.Encoder) (*pipeline.EncoderTuner, error) {
	opt, err := c.ownOptions(encoder, embeddings.Options{CacheBytes: c.CacheBytes, Log: c.logger()})
	if err != nil {
		return nil, err
	}
	files := func() (*onnx.EncoderFiles, error) {
		assets, err := c.assets()
		if err != nil {
			return nil, err
		}
		dir, base := c.encoderDir(assets), filepath.Join(assets, "encoder")
		f, err := onnx.ReadEncoderFiles(dir, c.MaxTokens)
		if err != nil || !f.IsQuantised() {
			return f, err
		}
		if dir != filepath.Join(base, "int8") {
			return nil, fmt.Errorf("the encoder %s has 8-bit weights, and only 32-bit ones can be tuned: name it with those by --encoder", dir)
		}
		if f, err = onnx.ReadEncoderFiles(filepath.Join(base, "fp32"), c.MaxTokens); err != nil {
			return nil, fmt.Errorf("the encoder with 32-bit weights is not there, which tuning begins with; make build fetches it: %w", err)
		}
		return f, nil
	}
	return &pipeline.EncoderTuner{Runtime: opt.Runtime, Files: files, Finetuned: opt}, nil
}
