package onnx

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"relish/embeddings/onnxfile"
)

// defaultMaxTokens is the longest text in tokens where neither options nor encoder say less.
const defaultMaxTokens = 128

// EncoderFiles is everything that defines an encoder: its model, the contents of tokenizer.json,
// and the settings of the sentence-transformers files where those exist. It is immutable.
type EncoderFiles struct {
	// Model is model.onnx. ReadEncoderFiles has changed a model with 8-bit weights so that it
	// quantizes activations by rows: see onnxfile.Model.QuantizeRows.
	Model, Tokenizer []byte
	Pooling          string // "mean" or "cls"
	MaxTokens        int    // longest text, special tokens included
	Prompt           string // put before every text
}

// The files of sentence-transformers, reduced to the keys that are used here.
type poolingFile struct {
	CLS  bool `json:"pooling_mode_cls_token"`
	Mean bool `json:"pooling_mode_mean_tokens"`
	Max  bool `json:"pooling_mode_max_tokens"`
}

type bertFile struct {
	MaxSeqLength int `json:"max_seq_length"`
}

type promptsFile struct {
	Prompts map[string]string `json:"prompts"`
	Default string            `json:"default_prompt_name"`
}

// ReadEncoderFiles reads the encoder in dir. Texts are cut at maxTokens (0 = 128), or at the
// encoder's own limit if that is lower.
func ReadEncoderFiles(dir string, maxTokens int) (*EncoderFiles, error) {
	if maxTokens == 0 {
		maxTokens = defaultMaxTokens
	}
	f := &EncoderFiles{Pooling: "mean", MaxTokens: maxTokens}
	var err error
	if f.Model, err = readRegular(dir, "model.onnx"); err != nil {
		return nil, fmt.Errorf("encoder %s: %w; run make build, or relish encoder pull NAME",
			dir, err)
	}
	if err := f.quantizeRows(); err != nil {
		return nil, fmt.Errorf("encoder %s: model.onnx: %w", dir, err)
	}
	if f.Tokenizer, err = readRegular(dir, "tokenizer.json"); err != nil {
		return nil, fmt.Errorf("encoder %s: %w", dir, err)
	}
	if err := f.readSettings(dir); err != nil {
		return nil, fmt.Errorf("encoder %s: %w", dir, err)
	}
	return f, nil
}

// readSettings reads the sentence-transformers files that exist.
func (f *EncoderFiles) readSettings(dir string) error {
	var pooling poolingFile
	found, err := readJSON(dir, "1_Pooling/config.json", &pooling)
	if err != nil {
		return err
	}
	if found {
		switch {
		case pooling.CLS && !pooling.Mean && !pooling.Max:
			f.Pooling = "cls"
		case pooling.Mean && !pooling.CLS && !pooling.Max:
		default:
			return errors.New("1_Pooling/config.json: only mean pooling and cls pooling are " +
				"supported, each alone; use another encoder")
		}
	}
	var bert bertFile
	if _, err := readJSON(dir, "sentence_bert_config.json", &bert); err != nil {
		return err
	}
	if bert.MaxSeqLength > 0 {
		f.MaxTokens = min(f.MaxTokens, bert.MaxSeqLength)
	}
	var prompts promptsFile
	if _, err := readJSON(dir, "config_sentence_transformers.json", &prompts); err != nil {
		return err
	}
	f.Prompt = prompts.Prompts[prompts.Default]
	return nil
}

// readRegular reads a file that must be a regular file of the folder: a link could lead outside.
func readRegular(dir, name string) ([]byte, error) {
	path := filepath.Join(dir, name)
	st, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return os.ReadFile(path)
}

// readJSON decodes a file of the folder, and reports whether the file exists.
func readJSON(dir, name string, into any) (found bool, err error) {
	data, err := readRegular(dir, filepath.FromSlash(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	return true, nil
}

// quantizeRows changes a model that quantizes whole batches, so that a text's vector does not
// depend on the texts beside it.
func (f *EncoderFiles) quantizeRows() error {
	if !f.QuantizesBatches() {
		return nil
	}
	m, err := onnxfile.Parse(f.Model)
	if err == nil && m.QuantizeRows() {
		f.Model = m.Bytes()
	}
	return err
}

// batchOperators are the operators that take one scale for the activations of a whole batch.
var batchOperators = [][]byte{[]byte("DynamicQuantize"), []byte("QAttention")}

// QuantizesBatches reports whether the model quantizes the activations of a whole batch with one
// scale. Such a model runs on one text at a time, because the vectors would depend on the batch. It
// searches the whole model: call it once and keep the answer.
func (f *EncoderFiles) QuantizesBatches() bool { return containsAny(f.Model, batchOperators) }

// quantizedOperators are operators that only models with 8-bit weights have.
var quantizedOperators = [][]byte{[]byte("MatMulInteger"), []byte("QLinearMatMul")}

// IsQuantized reports whether the model has 8-bit weights. It searches the whole model: call it
// once and keep the answer.
func (f *EncoderFiles) IsQuantized() bool { return containsAny(f.Model, quantizedOperators) }

func containsAny(b []byte, words [][]byte) bool {
	return slices.ContainsFunc(words, func(w []byte) bool { return bytes.Contains(b, w) })
}

// Digest returns the SHA-256, in hex, of everything that a vector depends on. Encoders with the
// same digest give the same vectors.
func (f *EncoderFiles) Digest() string {
	settings := fmt.Sprintf("%s|%d|%s", f.Pooling, f.MaxTokens, f.Prompt)
	d := sha256.New()
	for _, part := range [][]byte{f.Model, f.Tokenizer, []byte(settings)} {
		fmt.Fprintf(d, "%d|", len(part))
		d.Write(part)
	}
	return hex.EncodeToString(d.Sum(nil))
}
