package onnx

import (
	"encoding/binary"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/viterin/vek/vek32"
)

var updateCommonText = flag.Bool("update-common-text", false, "write commontext.f32")

// The stored vector is the mean of the int8 encoder's vectors of lists of common words. The other
// encoder of the same model has it, too, and an encoder with shorter texts.
func TestCommonText(t *testing.T) {
	e := int8Encoder(t)
	data, err := os.ReadFile(filepath.Join("testdata", "words.txt"))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(data))
	rng := rand.New(rand.NewPCG(1, 1))
	const lists = 300
	mean := make([]float32, e.Dim())
	for n := range lists {
		rng.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
		separator := " "
		if n%4 == 3 {
			separator = ", " // as between tags, see ranker.TextSpec
		}
		vector := encode(t, e, strings.Join(words[:24], separator))[0]
		vek32.Add_Inplace(mean, vek32.MulNumber(vector, 1.0/lists))
	}
	if *updateCommonText {
		var file []byte
		for _, x := range mean {
			file = binary.LittleEndian.AppendUint32(file, math.Float32bits(x))
		}
		if err := os.WriteFile("commontext.f32", file, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	fp32 := filepath.Join(cache, "encoder", "fp32")
	short, err := ReadEncoderFiles(fp32, 32)
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]*Encoder{
		"int8": e, "fp32": encoder(t, fp32, EncoderOptions{Device: "cpu"}),
		"short texts": {hasCommonText: hasCommonText(short, short.Digest())},
	} {
		got := other.CommonText()
		if len(got) != len(mean) {
			t.Fatalf("%s: a vector of %d numbers, want %d", name, len(got), len(mean))
		}
		if distance := vek32.Norm(vek32.Sub(got, mean)); distance > 0.01 {
			t.Errorf("%s: the vector is %.3f from the mean; run go test with "+
				"-update-common-text", name, distance)
		}
	}
	if files := (&EncoderFiles{MaxTokens: 32}); hasCommonText(files, files.Digest()) {
		t.Error("the mean of an unknown encoder is known")
	}
}
