package onnxfile_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"relish/embeddings/onnxfile"
	"relish/internal/onnxtest"
	tm "relish/internal/onnxtest/testmodel"
)

// The encoders that Relish ships and writes pass, and so do small models with nested graphs.
func TestCheckAcceptsEncoders(t *testing.T) {
	full := onnxtest.EncoderFiles(t, "fp32").Model
	quantized, err := parse(t, full).Quantize()
	if err != nil {
		t.Fatal(err)
	}
	for name, model := range map[string][]byte{
		"fp32": full, "int8": onnxtest.EncoderFiles(t, "int8").Model, "quantized": quantized,
		"a loop": tm.Loop(),
	} {
		if err := onnxfile.Check(model); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No damage of a file makes Check or Parse panic or go on without end.
func TestCheckOfDamagedFiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, model := range [][]byte{tm.Loop(), tm.NaN(), tm.Constant(), tm.Enormous()} {
		for range 5000 {
			damaged := slices.Clone(model)
			for range 1 + rng.IntN(4) {
				damaged[rng.IntN(len(damaged))] = byte(rng.Uint32())
			}
			damaged = damaged[:1+rng.IntN(len(damaged))]
			_ = onnxfile.Check(damaged)
			if m, err := onnxfile.Parse(damaged); err == nil {
				_ = m.Bytes()
				for _, name := range m.WeightNames() {
					m.Floats(name)
				}
			}
		}
	}
}
