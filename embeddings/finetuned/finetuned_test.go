package finetuned_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
	"relish/internal/onnxtest"
	"relish/ranker/bundle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// encoderFiles returns an encoder that no other test has, in the form int8 or fp32: the prompt is
// part of every text and of the digest.
func encoderFiles(t testing.TB, form, prompt string) *onnx.EncoderFiles {
	t.Helper()
	f := onnxtest.EncoderFiles(t, form)
	f.Prompt = prompt
	return f
}

// exported keeps the results of bundleFiles, by prompt: exporting an encoder takes a while.
var exported = map[string]map[string][]byte{}

// bundleFiles returns the files of a bundle for an encoder with the prompt, and how a manifest
// describes the encoder. The caller must not change the files.
func bundleFiles(t testing.TB, prompt string) (map[string][]byte, bundle.Encoder) {
	t.Helper()
	small, full := encoderFiles(t, "int8", prompt), encoderFiles(t, "fp32", prompt)
	if exported[prompt] == nil {
		files, err := finetuned.BundleFiles(t.Context(), onnxtest.Start(t), small, full)
		if err != nil {
			t.Fatal(err)
		}
		exported[prompt] = files
	}
	encoder := bundle.Encoder{
		ID:         "tuned",
		FineTuned:  true,
		Digest:     small.Digest(),
		DigestFP32: full.Digest(),
	}
	return maps.Clone(exported[prompt]), encoder
}

// writeEncoder writes an encoder into a folder as a bundle has it.
func writeEncoder(t testing.TB, prompt string) (dir string, m *bundle.Manifest) {
	t.Helper()
	files, encoder := bundleFiles(t, prompt)
	dir = t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, &bundle.Manifest{Encoder: encoder}
}

func TestFilesRoundTrip(t *testing.T) {
	dir, m := writeEncoder(t, "a game: ")
	for form, fp32 := range map[string]bool{"int8": false, "fp32": true} {
		want := encoderFiles(t, form, "a game: ")
		got, err := finetuned.ReadFiles(dir, fp32)
		if err != nil || got.Digest() != want.Digest() || got.Prompt != "a game: " ||
			got.Pooling != "mean" || got.MaxTokens != 128 {
			t.Errorf("%s: %v", form, err)
		}
		if err := finetuned.Verify(t.Context(), onnxtest.Start(t), dir, fp32); err != nil {
			t.Errorf("%s: %v", form, err)
		}
	}
	m.Encoder.Digest = strings.Repeat("0", 64)
	opt := finetuned.Options{Runtime: onnxtest.Start(t)}
	_, err := finetuned.Open(t.Context(), dir, m.Encoder, opt)
	if err == nil || !strings.Contains(err.Error(), "the manifest says 000000000000") {
		t.Errorf("opened with another digest: %v", err)
	}
}

// A bundle of a version whose vectors depended on the batch is refused, and the error says what to
// do. Its 32-bit form is as good as ever.
func TestBatchQuantizationIsRefused(t *testing.T) {
	dir, m := writeEncoder(t, "")
	old, err := os.ReadFile(filepath.Join(onnxtest.CacheDir(), "encoder", "int8", "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, bundle.EncoderInt8File), old, 0o600); err != nil {
		t.Fatal(err)
	}
	opt := finetuned.Options{Runtime: onnxtest.Start(t)}
	_, openErr := finetuned.Open(t.Context(), dir, m.Encoder, opt)
	for _, err := range []error{openErr, finetuned.Verify(t.Context(), opt.Runtime, dir, false)} {
		if err == nil || !strings.Contains(err.Error(), "run relish train again") {
			t.Errorf("error %v", err)
		}
	}
	if err := finetuned.Verify(t.Context(), opt.Runtime, dir, true); err != nil {
		t.Errorf("with 32-bit weights: %v", err)
	}
}

// A model with damaged weights loads, but gives other vectors, and Verify notices. It also notices
// settings that do not fit. Each form is checked by itself.
func TestVerify(t *testing.T) {
	damageWeights := func(b []byte) []byte {
		at := len(b) / 3 // within the token table and the layers' weights
		for i := range 200_000 {
			b[at+i*4] ^= 0x40
		}
		return b
	}
	// The token table is the first half of the fp32 file.
	damageTokenTable := func(b []byte) []byte {
		for at := len(b) / 8; at < len(b)*3/8; at += 4 {
			b[at] ^= 0x40
		}
		return b
	}
	shortProbe := func(form string) func([]byte) []byte {
		return func(b []byte) []byte {
			var s map[string]any
			if err := json.Unmarshal(b, &s); err != nil {
				panic(err)
			}
			s["probe"].(map[string]any)[form] = []float32{1}
			out, _ := json.Marshal(s)
			return out
		}
	}
	noModel := func([]byte) []byte { return []byte("x") }
	otherPooling := func(b []byte) []byte {
		return bytes.Replace(b, []byte("mean"), []byte("most"), 1)
	}
	for _, c := range []struct {
		name, file string
		damage     func([]byte) []byte
		int8, fp32 string // the error, "" for none
	}{
		{"int8 weights", bundle.EncoderInt8File, damageWeights, "cosine", ""},
		{"fp32 weights", bundle.EncoderFP32File, damageTokenTable, "", "cosine"},
		{"no int8 model", bundle.EncoderInt8File, noModel, "model.onnx", ""},
		{"no fp32 model", bundle.EncoderFP32File, noModel, "", "model.onnx"},
		{"pooling", bundle.EncoderSettingsFile, otherPooling,
			`pooling is "most"`, `pooling is "most"`},
		{"int8 probe", bundle.EncoderSettingsFile, shortProbe("int8"), "recorded were 1", ""},
		{"fp32 probe", bundle.EncoderSettingsFile, shortProbe("fp32"), "", "recorded were 1"},
		{"no settings", bundle.EncoderSettingsFile, func([]byte) []byte { return nil },
			bundle.EncoderSettingsFile, bundle.EncoderSettingsFile},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, _ := writeEncoder(t, "")
			path := filepath.Join(dir, c.file)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, c.damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			for fp32, want := range map[bool]string{false: c.int8, true: c.fp32} {
				err := finetuned.Verify(t.Context(), onnxtest.Start(t), dir, fp32)
				if want == "" && err != nil ||
					want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("fp32 %v: %v, want %q", fp32, err, want)
				}
			}
		})
	}
}
