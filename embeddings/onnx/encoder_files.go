package onnx

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"relish/embeddings/onnxfile"
	"relish/internal/regularfile"
	"relish/internal/sha256sums"
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
	Checked          bool   // the folder has SHA256SUMS, and the files are as it says
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

// ReadEncoderFiles reads the encoder in dir, and compares its files with SHA256SUMS if the folder
// has that. It refuses files that are not regular. Texts are cut at maxTokens (0 = 128), or at the
// encoder's own limit if that is lower.
func ReadEncoderFiles(dir string, maxTokens int) (*EncoderFiles, error) {
	if maxTokens == 0 {
		maxTokens = defaultMaxTokens
	}
	f := &EncoderFiles{Pooling: "mean", MaxTokens: maxTokens}
	sums, err := sha256sums.Read(dir)
	if err != nil {
		return nil, fmt.Errorf("encoder %s: %w", dir, err)
	}
	f.Checked = sums != nil
	d := &folder{dir, sums}
	if f.Model, err = d.read(ModelFile, MaxModelBytes); err != nil {
		return nil, fmt.Errorf("encoder %s: %w; run make build, or relish encoder pull NAME",
			dir, err)
	}
	if err := f.quantizeRows(); err != nil {
		return nil, fmt.Errorf("encoder %s: model.onnx: %w", dir, err)
	}
	if f.Tokenizer, err = d.read("tokenizer.json", maxTokenizerBytes); err != nil {
		return nil, fmt.Errorf("encoder %s: %w", dir, err)
	}
	if err := f.readSettings(d); err != nil {
		return nil, fmt.Errorf("encoder %s: %w", dir, err)
	}
	return f, nil
}

// readSettings reads the sentence-transformers files that exist.
func (f *EncoderFiles) readSettings(d *folder) error {
	var pooling poolingFile
	found, err := d.readJSON("1_Pooling/config.json", &pooling)
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
	if _, err := d.readJSON("sentence_bert_config.json", &bert); err != nil {
		return err
	}
	if bert.MaxSeqLength > 0 {
		f.MaxTokens = min(f.MaxTokens, bert.MaxSeqLength)
	}
	var prompts promptsFile
	if _, err := d.readJSON("config_sentence_transformers.json", &prompts); err != nil {
		return err
	}
	f.Prompt = prompts.Prompts[prompts.Default]
	return nil
}

// ModelFile is the name of the model in the folder of an encoder.
const ModelFile = "model.onnx"

// MaxModelBytes bounds ModelFile: protobuf has no larger messages.
const MaxModelBytes = 2 << 30

// Bounds of the other files in bytes.
const (
	maxTokenizerBytes = 256 << 20
	maxSettingsBytes  = 1 << 20
)

// folder is the folder of an encoder.
type folder struct {
	dir  string
	sums sha256sums.Sums // nil: the files have no known digests
}

// read reads a regular file of the folder and checks its digest.
func (d *folder) read(name string, limit int64) ([]byte, error) {
	data, err := regularfile.Read(d.dir, name, limit)
	if err == nil {
		err = d.sums.Check(name, data)
	}
	return data, err
}

// readJSON decodes a file of the folder, and reports whether the file exists.
func (d *folder) readJSON(name string, into any) (found bool, err error) {
	data, err := d.read(name, maxSettingsBytes)
	if _, listed := d.sums[name]; errors.Is(err, fs.ErrNotExist) && !listed {
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
