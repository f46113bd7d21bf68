package main

import (
	"context"
	"os"

	"relish/internal/app"
)

// These hidden commands are the child processes that read files which may be damaged or hostile.
// The parent process is another relish, see internal/sandbox.

// convertColumnsCmd converts an Arrow file for relish import.
type convertColumnsCmd struct {
	In  string `arg:""`
	Out string `arg:""`
}

// Run converts the file under a limit on its memory, and prints a description of the result as
// JSON.
func (c *convertColumnsCmd) Run() error {
	info, err := app.ConvertColumnsChild(c.In, c.Out)
	if err != nil {
		return err
	}
	return printJSON(info)
}

// readParquetCmd prints the rows of a Parquet file for relish import.
type readParquetCmd struct {
	File string `arg:""`
}

// Run prints the rows as JSON, under limits on memory and processor time.
func (c *readParquetCmd) Run() error { return app.ReadParquetChild(c.File, os.Stdout) }

// probeEncoderCmd tries a text encoder.
type probeEncoderCmd struct {
	Assets    string
	MaxTokens int
	Dir       string `arg:""`
}

// Run loads the encoder and encodes some texts, under limits on memory and processor time.
func (c *probeEncoderCmd) Run(ctx context.Context) error {
	encoder := app.EncoderOptions{Assets: c.Assets, MaxTokens: c.MaxTokens}
	return encoder.ProbeEncoderChild(ctx, c.Dir)
}

// probeBundleCmd checks that a bundle reproduces its recorded scores.
type probeBundleCmd struct {
	Assets string
	GPU    bool   `name:"gpu"`
	Dir    string `arg:""`
}

// Run checks the bundle under limits on memory and processor time.
func (c *probeBundleCmd) Run(ctx context.Context) error {
	encoder := app.EncoderOptions{Assets: c.Assets}
	return encoder.ProbeBundleChild(ctx, c.Dir, c.GPU)
}

// probeClassifierCmd checks that a classifier reproduces its recorded probabilities.
type probeClassifierCmd struct {
	Assets string
	Dir    string `arg:""`
}

// Run checks the classifier under limits on memory and processor time.
func (c *probeClassifierCmd) Run(ctx context.Context) error {
	encoder := app.EncoderOptions{Assets: c.Assets}
	return encoder.ProbeClassifierChild(ctx, c.Dir)
}
