package onnxfile_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/viterin/vek/vek32"

	"relish/embeddings/onnx"
	"relish/embeddings/onnxfile"
	"relish/internal/onnxtest"
)

var texts = []string{
	"Super Mario Odyssey. platform game for the whole family",
	"wireless controller, black",
	"a quiet farm, fishing and friends",
	"first-person shooter in the trenches of the great war",
	"replacement battery for a handheld",
	"x",
	"Zelda: Breath of the Wild",
}

func parse(t testing.TB, data []byte) *onnxfile.Model {
	t.Helper()
	m, err := onnxfile.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// encode returns the texts' vectors by an encoder with the given model.
func encode(t testing.TB, f *onnx.EncoderFiles, model []byte) [][]float32 {
	t.Helper()
	changed := *f
	changed.Model = model
	return onnxtest.EncodeTexts(t, &changed, texts...)
}

// A parsed and encoded model gives the same vectors, bit for bit. With a changed weight it gives
// others.
func TestRoundTrip(t *testing.T) {
	f := onnxtest.EncoderFiles(t, "fp32")
	m := parse(t, f.Model)
	want := encode(t, f, f.Model)
	again := m.Bytes()
	if got := encode(t, f, again); !slices.EqualFunc(got, want, slices.Equal) {
		t.Error("the encoded model gives other vectors")
	}
	if !bytes.Equal(parse(t, again).Bytes(), again) {
		t.Error("encoding twice gives other bytes")
	}
	const name = "embeddings.LayerNorm.bias"
	values, dims := m.Floats(name)
	if len(values) != 384 || !slices.Equal(dims, []int{384}) {
		t.Fatalf("%s: %d values, %v", name, len(values), dims)
	}
	for i := range values {
		values[i] += float32(i%3) - 1
	}
	if err := m.SetFloats(name, values); err != nil {
		t.Fatal(err)
	}
	if back, _ := parse(t, m.Bytes()).Floats(name); !slices.Equal(back, values) {
		t.Error("Floats does not return what SetFloats set")
	}
	if got := encode(t, f, m.Bytes()); vek32.Dot(got[0], want[0]) > 0.999 {
		t.Error("the changed weight does not change the vectors")
	}
}

// A quantized model has a quarter of the size and gives nearly the same vectors.
func TestQuantize(t *testing.T) {
	f := onnxtest.EncoderFiles(t, "fp32")
	m := parse(t, f.Model)
	small, err := m.Quantize()
	if err != nil {
		t.Fatal(err)
	}
	if share := float64(len(small)) / float64(len(f.Model)); share > 0.27 {
		t.Errorf("the quantized model has %.2f of the size", share)
	}
	if !bytes.Equal(m.Bytes(), parse(t, f.Model).Bytes()) {
		t.Error("Quantize changed its receiver")
	}
	want, got := encode(t, f, f.Model), encode(t, f, small)
	for i := range texts {
		if c := vek32.Dot(got[i], want[i]); c < 0.98 {
			t.Errorf("%q: cosine %.4f to the vector of the original model", texts[i], c)
		}
	}
	if _, err := parse(t, small).Quantize(); err == nil ||
		!strings.Contains(err.Error(), "nothing to quantize") {
		t.Errorf("a quantized model was quantized again: %v", err)
	}
}

func TestErrors(t *testing.T) {
	m := parse(t, onnxtest.EncoderFiles(t, "fp32").Model)
	for name, err := range map[string]error{
		"no such weight": m.SetFloats("nothing", []float32{1}),
		"too few":        m.SetFloats("embeddings.LayerNorm.bias", []float32{1}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if v, dims := m.Floats("nothing"); v != nil || dims != nil {
		t.Errorf("%v %v", v, dims)
	}
	if !slices.Contains(m.WeightNames(), "embeddings.word_embeddings.weight") {
		t.Error("a weight's name is missing")
	}
}

// FuzzParse checks that no input makes Parse panic, and that what it parsed can be encoded and
// parsed again.
func FuzzParse(f *testing.F) {
	whole, err := os.ReadFile(filepath.Join(onnxtest.CacheDir(), "encoder", "fp32", "model.onnx"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole[:4096])
	f.Add([]byte{})
	f.Add([]byte{0x3a, 0x00})
	f.Add([]byte{0x3a, 0x0a, 0x2a, 0x08, 0x08, 0x02, 0x10, 0x01, 0x22, 0x02, 0x00, 0x00})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := onnxfile.Parse(data)
		if err != nil {
			return
		}
		for _, name := range m.WeightNames() {
			m.Floats(name)
		}
		_, _ = m.Quantize()
		m.QuantizeRows()
		if _, err := onnxfile.Parse(m.Bytes()); err != nil {
			t.Errorf("an encoded model cannot be parsed: %v", err)
		}
	})
}
