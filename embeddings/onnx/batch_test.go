package onnx

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/viterin/vek/vek32"

	"relish/embeddings/onnxfile"
)

// variedTexts have between 3 and 128 tokens.
func variedTexts(rng *rand.Rand) []string {
	words := strings.Fields("quiet farm fishing friends trenches great war platform family game " +
		"wireless controller black battery handheld zombie puzzle orchestra 1987 detective " +
		"bandersnatch Zelda: breath of the wild, replacement & charger (2nd edition)")
	var texts []string
	for _, n := range []int{1, 1, 2, 3, 4, 5, 6, 6, 8, 9, 11, 14, 16, 20, 24, 40, 52, 75, 90, 200} {
		var b strings.Builder
		for range n {
			b.WriteString(words[rng.IntN(len(words))] + " ")
		}
		texts = append(texts, b.String())
	}
	return texts
}

// encodersOfAllKinds returns files of an encoder with 32-bit weights, of the one with 8-bit weights
// that Relish ships, of one that training writes, and of one that quantizes whole batches.
func encodersOfAllKinds(t *testing.T) map[string]*EncoderFiles {
	t.Helper()
	read := func(name string) *EncoderFiles {
		f, err := ReadEncoderFiles(filepath.Join(cache, "encoder", name), 0)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	fp32, int8Files := read("fp32"), read("int8")
	model, err := onnxfile.Parse(fp32.Model)
	if err != nil {
		t.Fatal(err)
	}
	tuned, batches := *fp32, *int8Files
	if tuned.Model, err = model.Quantize(); err != nil {
		t.Fatal(err)
	}
	batches.Model, err = os.ReadFile(filepath.Join(cache, "encoder", "int8", "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if int8Files.QuantizesBatches() || tuned.QuantizesBatches() || !batches.QuantizesBatches() ||
		int8Files.Digest() == batches.Digest() {
		t.Error("wrong models quantize whole batches")
	}
	return map[string]*EncoderFiles{
		"fp32": fp32, "int8": int8Files, "written by training": &tuned, "batches": &batches,
	}
}

// A text has one vector, bit for bit: alone, in any batch, beside texts of any length, and in every
// session.
func TestVectorDependsOnTextOnly(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	texts := variedTexts(rng)
	for name, f := range encodersOfAllKinds(t) {
		t.Run(name, func(t *testing.T) {
			e, err := start(t).NewEncoder(t.Context(), f,
				EncoderOptions{Device: "cpu", Sessions: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			var alone [][]float32
			for _, s := range texts {
				v := encode(t, e, s)[0]
				if n := vek32.Norm(v); n < 1-1e-5 || n > 1+1e-5 {
					t.Errorf("norm %v", n)
				}
				alone = append(alone, v)
			}
			for range 6 {
				chosen := rng.Perm(len(texts))[:1+rng.IntN(len(texts))]
				chosen = append(chosen, chosen[0]) // one text twice
				var batch []string
				for _, i := range chosen {
					batch = append(batch, texts[i])
				}
				for k, v := range encode(t, e, batch...) {
					if !slices.Equal(v, alone[chosen[k]]) {
						t.Errorf("in a batch of %d, %q has another vector: cosine %v",
							len(batch), batch[k], vek32.Dot(v, alone[chosen[k]]))
					}
				}
			}
			if got := encodeAll(t, e, texts); !slices.EqualFunc(got, alone, slices.Equal) {
				t.Error("Encode gives other vectors than Run")
			}
		})
	}
}

func encodeAll(t *testing.T, e *Encoder, texts []string) [][]float32 {
	t.Helper()
	var ids [][]int32
	for _, s := range texts {
		ids = append(ids, e.Tokenize(nil, s))
	}
	vectors, err := e.Encode(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	return vectors
}

// The models with 8-bit weights are close to the one with 32-bit weights.
func TestQuantizedVectorsAreClose(t *testing.T) {
	texts := variedTexts(rand.New(rand.NewPCG(3, 4)))
	vectors := map[string][][]float32{}
	for name, f := range encodersOfAllKinds(t) {
		e, err := start(t).NewEncoder(t.Context(), f, EncoderOptions{Device: "cpu", Sessions: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		vectors[name] = encodeAll(t, e, texts)
	}
	for _, name := range []string{"int8", "written by training"} {
		mean := 0.0
		for i, v := range vectors[name] {
			mean += float64(vek32.Dot(v, vectors["fp32"][i])) / float64(len(texts))
		}
		t.Logf("%s: mean cosine %.4f", name, mean)
		if mean < 0.994 {
			t.Errorf("%s: mean cosine %.4f to 32-bit weights, want 0.994", name, mean)
		}
	}
}
