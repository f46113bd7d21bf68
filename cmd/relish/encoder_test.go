package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	tm "relish/internal/onnxtest/testmodel"
	"relish/internal/sha256sums"
)

// Models that would take all memory or never end, and models that are no text encoders, end the
// child process that tries them. The command says why it does not use them.
func TestHostileEncoders(t *testing.T) {
	tokenizer, err := os.ReadFile(filepath.Join(assets(t), "encoder", "int8", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		model []byte
		want  string
	}{
		"14 GB of memory": {tm.Enormous(), "in a child process: model.onnx"},
		"an endless loop": {tm.Endless(), "trying it in a child process"},
		"not finite":      {tm.NaN(), "not finite"},
		"constant":        {tm.Constant(), "same vector"},
		"damaged":         {tm.Constant(), "another SHA-256"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write := func(file string, data []byte) {
				if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("tokenizer.json", tokenizer)
			write("model.onnx", tm.NaN())
			if err := sha256sums.Write(dir, []string{"model.onnx", "tokenizer.json"}); err != nil {
				t.Fatal(err)
			}
			write("model.onnx", c.model)
			if name != "damaged" {
				os.Remove(filepath.Join(dir, sha256sums.File))
			}
			out := mustFail(t, 1, "embed", "--data", t.TempDir(), "--encoder", dir)
			if !strings.Contains(out, c.want) || !strings.Contains(out, dir) {
				t.Errorf("%s, want %q", out, c.want)
			}
		})
	}
}
