package onnx

import (
	"compress/gzip"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"relish/embeddings/tokenizer"
	tm "relish/internal/onnxtest/testmodel"
)

// unigramPieces is the size of the vocabulary of the tokenizer that unigramFolder writes.
const unigramPieces = 16_001

// unigramFolder writes an encoder with the tokenizer of a multilingual encoder and a prompt. The
// vector of token i is (cos i, sin i).
func unigramFolder(t *testing.T) (dir string, tok tokenizer.Tokenizer) {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "tokenizer", "testdata", "unigram.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if tok, err = tokenizer.Load(data); err != nil {
		t.Fatal(err)
	}
	var table []float32
	for i := range unigramPieces {
		table = append(table, float32(math.Cos(float64(i))), float32(math.Sin(float64(i))))
	}
	model := tm.Model(tm.Node("Gather", "out", []string{"w", inputIDs}),
		tm.Floats("w", []uint64{unigramPieces, 2}, table...),
		tm.TextInputs, tm.Output("out", tm.FloatType, "b", "s", 2))
	dir = t.TempDir()
	for name, data := range map[string][]byte{
		"model.onnx": model, "tokenizer.json": data,
		"config_sentence_transformers.json": []byte(
			`{"prompts": {"query": "query: "}, "default_prompt_name": "query"}`),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, tok
}

// An encoder with a Unigram tokenizer works like one with WordPiece: the vector of a text is the
// mean of its tokens' vectors, with length 1, and a text of unknown letters has none.
func TestUnigramEncoder(t *testing.T) {
	dir, tok := unigramFolder(t)
	opt := EncoderOptions{Device: "cpu", Sessions: 1}
	e, err := loadEncoder(t.Context(), start(t), dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	texts := []string{"The weather is lovely", "Вернувшись в родной город", "你好世界", "ꔀꔁꔂ"}
	var tokens [][]int32
	for _, text := range texts {
		tokens = append(tokens, e.Tokenize(nil, text))
	}
	vectors, err := e.Encode(t.Context(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range texts[:3] {
		want := tok.Encode(nil, "query: "+text, 128)
		if !slices.Equal(tokens[i], want) {
			t.Errorf("%s has the tokens %v, want %v", text, tokens[i], want)
		}
		var x, y float64
		for _, id := range want {
			x, y = x+math.Cos(float64(id)), y+math.Sin(float64(id))
		}
		length := math.Hypot(x, y)
		if v := vectors[i]; math.Abs(float64(v[0])-x/length) > 1e-5 ||
			math.Abs(float64(v[1])-y/length) > 1e-5 {
			t.Errorf("%s has the vector %v, want [%g %g]", text, v, x/length, y/length)
		}
	}
	if len(tokens[3]) > 0 || vectors[3] != nil {
		t.Errorf("a text of unknown letters has the tokens %v", tokens[3])
	}
}
