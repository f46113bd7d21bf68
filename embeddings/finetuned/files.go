// Package finetuned serves text encoders that were fine-tuned in training and are part of a bundle.
//
// Training writes the encoder's files with BundleFiles, in two forms: with 8-bit weights for the
// CPU and with 32-bit weights for a GPU. Verify checks in a child process that an encoder
// reproduces the vectors recorded at export. A server opens encoders through an EncoderPool, a
// command with Open.
package finetuned

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/viterin/vek/vek32"

	"relish/embeddings/onnx"
	"relish/internal/regularfile"
	"relish/ranker/bundle"
)

// settings is the contents of bundle.EncoderSettingsFile.
type settings struct {
	Pooling   string `json:"pooling"` // mean or cls
	MaxTokens int    `json:"max_tokens"`
	Prompt    string `json:"prompt"`
	Probe     probe  `json:"probe"`
}

// probe is a text with the unit vectors that the encoder gave at export. It tells whether a model
// is damaged, since most damage leaves a model that loads and runs.
type probe struct {
	Text string    `json:"text"`
	Int8 []float32 `json:"int8"`
	FP32 []float32 `json:"fp32"`
}

// probeText has common words, a rare one, digits and punctuation.
const probeText = "Quiet farming game with 3 fishing ponds, an orchard & a bandersnatch (2nd " +
	"edition)"

// maxSettingsBytes bounds bundle.EncoderSettingsFile.
const maxSettingsBytes = 1 << 20

// minCosine is the smallest accepted cosine of the probe's vector to the recorded one. Processors
// round differently.
const minCosine = 0.999

// BundleFiles returns the files of a bundle for an encoder, by name. small is the form with 8-bit
// weights, full the one with 32-bit weights; they differ only in their models.
func BundleFiles(
	ctx context.Context, rt *onnx.Runtime, small, full *onnx.EncoderFiles,
) (map[string][]byte, error) {
	s := settings{
		Pooling:   full.Pooling,
		MaxTokens: full.MaxTokens,
		Prompt:    full.Prompt,
		Probe:     probe{Text: probeText},
	}
	var err error
	if s.Probe.Int8, err = encode(ctx, rt, small, probeText); err != nil {
		return nil, err
	}
	if s.Probe.FP32, err = encode(ctx, rt, full, probeText); err != nil {
		return nil, err
	}
	data, err := json.Marshal(s)
	return map[string][]byte{
		bundle.EncoderInt8File:      small.Model,
		bundle.EncoderFP32File:      full.Model,
		bundle.EncoderTokenizerFile: full.Tokenizer,
		bundle.EncoderSettingsFile:  data,
	}, err
}

// encode loads an encoder on the CPU, encodes one text, and closes the encoder.
func encode(
	ctx context.Context,
	rt *onnx.Runtime,
	f *onnx.EncoderFiles,
	text string,
) ([]float32, error) {
	enc, err := rt.NewEncoder(ctx, f, onnx.EncoderOptions{Device: "cpu", Sessions: 1})
	if err != nil {
		return nil, err
	}
	defer enc.Close()
	vectors, err := enc.Encode(ctx, [][]int32{enc.Tokenize(nil, text)})
	if err != nil {
		return nil, err
	}
	return vectors[0], nil
}

// ReadFiles reads the encoder of the bundle in dir, with 32-bit or with 8-bit weights. It refuses a
// model that quantizes the activations of whole batches, because the bundle's signals and scorer
// were trained on vectors that no encoder gives again. It does not check digests: bundle.Load,
// bundle.Verify or Open does.
func ReadFiles(dir string, fp32 bool) (*onnx.EncoderFiles, error) {
	f, _, err := read(dir, fp32)
	return f, err
}

func read(dir string, fp32 bool) (*onnx.EncoderFiles, *settings, error) {
	name := bundle.EncoderInt8File
	if fp32 {
		name = bundle.EncoderFP32File
	}
	var s settings
	data, err := regularfile.Read(dir, bundle.EncoderSettingsFile, maxSettingsBytes)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", bundle.EncoderSettingsFile, err)
	}
	if s.Pooling != "mean" && s.Pooling != "cls" {
		return nil, nil, fmt.Errorf("%s: pooling is %q; it must be mean or cls",
			bundle.EncoderSettingsFile, s.Pooling)
	}
	f := &onnx.EncoderFiles{Pooling: s.Pooling, MaxTokens: s.MaxTokens, Prompt: s.Prompt}
	if f.Model, err = regularfile.Read(dir, name, bundle.MaxBytes); err != nil {
		return nil, nil, err
	}
	if f.QuantizesBatches() {
		return nil, nil, fmt.Errorf("%s is of an earlier version, in which a text's vector "+
			"depended on the texts beside it: run relish train again", name)
	}
	f.Tokenizer, err = regularfile.Read(dir, bundle.EncoderTokenizerFile, bundle.MaxBytes)
	if err != nil {
		return nil, nil, err
	}
	return f, &s, nil
}

// Verify checks that the encoder of the bundle in dir reproduces the vector recorded at export. It
// checks the form that a server loads: 32-bit weights if fp32 is true, else 8-bit weights. It runs
// on the CPU. A hostile model can end the process, so call Verify in a child process.
func Verify(ctx context.Context, rt *onnx.Runtime, dir string, fp32 bool) error {
	f, s, err := read(dir, fp32)
	if err != nil {
		return err
	}
	want := s.Probe.Int8
	if fp32 {
		want = s.Probe.FP32
	}
	got, err := encode(ctx, rt, f, s.Probe.Text)
	if err != nil {
		return err
	}
	if len(got) != len(want) {
		return fmt.Errorf("the encoder's vectors have %d dimensions, recorded were %d",
			len(got), len(want))
	}
	if c := vek32.Dot(got, want); !(c >= minCosine) {
		return fmt.Errorf("the encoder does not reproduce the vector recorded at export: cosine "+
			"%.4f, minimum %.4f",
			c, minCosine)
	}
	return nil
}
