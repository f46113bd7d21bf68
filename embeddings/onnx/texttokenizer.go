package onnx

import (
	"slices"

	"relish/embeddings/tokenizer"
)

// TextTokenizer turns texts into the tokens that an encoder reads: those of its prompt and those of
// the text, between its special tokens. It is safe for concurrent use.
type TextTokenizer struct {
	tokenizer tokenizer.Tokenizer
	prompt    string
	empty     []int32 // the tokens of an empty text
	unknown   int32
}

// NewTextTokenizer returns the tokenizer of an encoder.
func NewTextTokenizer(f *EncoderFiles) (*TextTokenizer, error) {
	t, err := tokenizer.Load(f.Tokenizer)
	if err != nil {
		return nil, err
	}
	return &TextTokenizer{t, f.Prompt, t.Encode(nil, f.Prompt, f.MaxTokens), t.Unknown()}, nil
}

// MaxUnknownShare is the share of unknown letters from which on a text has no tokens. The vector of
// a text in a script that the encoder has not learned resembles those of all other such texts.
const MaxUnknownShare = 1. / 3

// Tokenize appends the tokens of a text to dst, at most maxTokens. A text without a token of its
// own has none at all, and neither has a text of whose letters a third or more is unknown.
func (t *TextTokenizer) Tokenize(dst []int32, text string, maxTokens int) []int32 {
	start := len(dst)
	dst = t.tokenizer.Encode(dst, t.prompt+text, maxTokens)
	if slices.Equal(dst[start:], t.empty) ||
		slices.Contains(dst[start:], t.unknown) && t.UnknownShare(text) >= MaxUnknownShare {
		return dst[:start]
	}
	return dst
}

// UnknownShare returns which share of the letters of a text the encoder does not know, 0 to 1.
func (t *TextTokenizer) UnknownShare(text string) float64 { return t.tokenizer.UnknownShare(text) }
