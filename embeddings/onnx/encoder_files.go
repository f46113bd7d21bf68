package onnx

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// EncoderFiles are all that makes an encoder: what is in its folder's model.onnx and tokenizer.json, and what
// sentence-transformers' own files say where they are present. Nothing is changed once it is made.
type EncoderFiles struct {
	Model, Tokenizer []byte
	Pooling          string // "mean" or "cls"
	MaxTokens        int    // longest text, special tokens included
	Prompt           string // put before every text
}

// sentence-transformers' files, the parts that matter here.
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

// ReadEncoderFiles reads the encoder in dir. Texts are cut at maxTokens (0 = 128), or where the encoder says, if that is less.
func ReadEncoderFiles(dir string, maxTokens int) (*EncoderFiles, error) {
	if maxTokens == 0 {
		maxTokens = 128
	}
	f := &EncoderFiles{Pooling: "mean", MaxTokens: maxTokens}
	var err error
	if f.Model, err = readInside(dir, "model.onnx"); err != nil {
		return nil, fmt.Errorf("encoder %s: %w; run make build, or relish encoder pull NAME", dir, err)
	}
	if f.Tokenizer, err = readInside(dir, "tokenizer.json"); err != nil {
		return nil, fmt.Errorf("encoder %s: %w", dir, err)
	}
	var pooling poolingFile
	if found, err := readJSON(dir, "1_Pooling/config.json", &pooling); err != nil {
		return nil, err
	} else if found {
		switch {
		case pooling.CLS && !pooling.Mean && !pooling.Max:
			f.Pooling = "cls"
		case pooling.Mean && !pooling.CLS && !pooling.Max:
		default:
			return nil, fmt.Errorf("encoder %s: its pooling is neither mean nor cls alone, which is not supported", dir)
		}
	}
	var bert bertFile
	if _, err := readJSON(dir, "sentence_bert_config.json", &bert); err != nil {
		return nil, err
	}
	if bert.MaxSeqLength > 0 {
		f.MaxTokens = min(f.MaxTokens, bert.MaxSeqLength)
	}
	var prompts promptsFile
	if _, err := readJSON(dir, "config_sentence_transformers.json", &prompts); err != nil {
		return nil, err
	}
	f.Prompt = prompts.Prompts[prompts.Default]
	return f, nil
}

// readInside reads a file that must be a regular file of the folder itself: a link could lead out of it.
func readInside(dir, name string) ([]byte, error) {
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

func readJSON(dir, name string, into any) (found bool, err error) {
	data, err := readInside(dir, filepath.FromSlash(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return false, fmt.Errorf("encoder %s: %s: %w", dir, name, err)
	}
	return true, nil
}

// Digest names, by its SHA-256, everything that decides a vector.
func (f *EncoderFiles) Digest() string {
	d := sha256.New()
	for _, part := range [][]byte{f.Model, f.Tokenizer, []byte(fmt.Sprintf("%s|%d|%s", f.Pooling, f.MaxTokens, f.Prompt))} {
		fmt.Fprintf(d, "%d|", len(part))
		d.Write(part)
	}
	return hex.EncodeToString(d.Sum(nil))
}

// IsQuantised tells a quantised model by the operators that only such a model has.
func (f *EncoderFiles) IsQuantised() bool {
	return strings.Contains(string(f.Model), "MatMulInteger") || strings.Contains(string(f.Model), "QLinearMatMul")
}
