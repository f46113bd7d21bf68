// Package own is the text encoder that a bundle brings along: its files in the bundle's folder (Files, Read), the trial
// whether it does what it did where it was made (Try), its vectors (Open), and, in a server, the vectors of all bundles
// that are in use (Keeper).
package finetuned

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/viterin/vek/vek32"

	"relish/embeddings/onnx"
	"relish/ranker/bundle"
)

// settings is the encoder's file beside models and tokenizer. The probe is what tells whether a model was damaged: most
// damage leaves a model that loads and runs.
type settings struct {
	Pooling   string `json:"pooling"`
	MaxTokens int    `json:"max_tokens"`
	Prompt    string `json:"prompt"`
	Probe     probe  `json:"probe"`
}

type probe struct {
	Text string    `json:"text"`
	Int8 []float32 `json:"int8"` // the text's unit vector
	FP32 []float32 `json:"fp32"`
}

// probeText has common words, a rare one, figures and punctuation.
const probeText = "Quiet farming game with 3 fishing ponds, an orchard & a bandersnatch (2nd edition)"

// minCosine is the least cosine of a probe's vector to the expected one: other processors round differently.
const minCosine = 0.999

// BundleFiles returns an encoder as a bundle's files. The two forms differ in their models only.
func BundleFiles(ctx context.Context, rt *onnx.Runtime, int8, fp32 *onnx.EncoderFiles) (map[string][]byte, error) {
	s := settings{Pooling: fp32.Pooling, MaxTokens: fp32.MaxTokens, Prompt: fp32.Prompt, Probe: probe{Text: probeText}}
	var err error
	if s.Probe.Int8, err = encode(ctx, rt, int8, probeText); err != nil {
		return nil, err
	}
	if s.Probe.FP32, err = encode(ctx, rt, fp32, probeText); err != nil {
		return nil, err
	}
	text, err := json.Marshal(s)
	return map[string][]byte{bundle.EncoderInt8File: int8.Model, bundle.EncoderFP32File: fp32.Model,
		bundle.EncoderTokenizerFile: fp32.Tokenizer, bundle.EncoderSettingsFile: text}, err
}

func encode(ctx context.Context, rt *onnx.Runtime, f *onnx.EncoderFiles, text string) ([]float32, error) {
	enc, err := rt.NewEncoder(f, onnx.EncoderOptions{Device: "cpu", Sessions: 1})
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

// ReadFiles reads the encoder of the bundle in dir, whose bytes bundle.Load or bundle.Verify has checked.
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
	text, err := os.ReadFile(filepath.Join(dir, bundle.EncoderSettingsFile))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", bundle.EncoderSettingsFile, err)
	}
	if s.Pooling != "mean" && s.Pooling != "cls" {
		return nil, nil, fmt.Errorf("%s: the pooling %q is neither mean nor cls", bundle.EncoderSettingsFile, s.Pooling)
	}
	f := &onnx.EncoderFiles{Pooling: s.Pooling, MaxTokens: s.MaxTokens, Prompt: s.Prompt}
	if f.Model, err = os.ReadFile(filepath.Join(dir, name)); err != nil {
		return nil, nil, err
	}
	if f.Tokenizer, err = os.ReadFile(filepath.Join(dir, bundle.EncoderTokenizerFile)); err != nil {
		return nil, nil, err
	}
	return f, &s, nil
}

// Verify reports why the encoder of the bundle in dir, in its 8-bit form, does not give the vector that it gave where it was
// made. A hostile model can end the process: call it in one of its own.
func Verify(ctx context.Context, rt *onnx.Runtime, dir string) error {
	f, s, err := read(dir, false)
	if err != nil {
		return err
	}
	vec, err := encode(ctx, rt, f, s.Probe.Text)
	if err != nil {
		return err
	}
	if len(vec) != len(s.Probe.Int8) {
		return fmt.Errorf("its vectors have %d numbers, expected were %d", len(vec), len(s.Probe.Int8))
	}
	if c := vek32.Dot(vec, s.Probe.Int8); !(c >= minCosine) {
		return fmt.Errorf("it gives another vector than where it was made: cosine %.4f", c)
	}
	return nil
}
