package onnx

import (
	"slices"

	"relish/embeddings/tokenizer"
)

// TextTokenizer turns texts into the tokens that an encoder reads: those of its prompt and those of
// the text, between its special tokens. It is safe for concurrent use.
type TextTokenizer struct {
	tokenizer *tokenizer.Tokenizer
	prompt    string
	empty     []int32 // the tokens of an empty text
}

// NewTextTokenizer returns the tokenizer of an encoder.
func NewTextTokenizer(f *EncoderFiles) (*TextTokenizer, error) {
	t, err := tokenizer.Load(f.Tokenizer)
	if err != nil {
		return nil, err
	}
	return &TextTokenizer{t, f.Prompt, t.Encode(nil, f.Prompt, f.MaxTokens)}, nil
}

// Tokenize appends the tokens of a text to dst, at most maxTokens. A text without a token of its
// own has none at all.
func (t *TextTokenizer) Tokenize(dst []int32, text string, maxTokens int) []int32 {
	start := len(dst)
	dst = t.tokenizer.Encode(dst, t.prompt+text, maxTokens)
	if slices.Equal(dst[start:], t.empty) {
		return dst[:start]
	}
	return dst
}
