// Package tokenizer turns text into the token ids that text encoders read. The ids are exactly
// those of the Hugging Face tokenizers library for the same tokenizer.json. The file says which
// algorithm it is for: WordPiece, for encoders of the BERT family, or Unigram, for those of the
// XLM-RoBERTa family, which read some 100 languages.
//
// WordPiece takes special tokens that stand in a text for ordinary text, because users must not
// write structure.
package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// Tokenizer is a loaded tokenizer.json. It is immutable and safe for concurrent use.
type Tokenizer interface {
	// Encode appends the ids of text to dst and returns the extended slice. The special tokens are
	// included, such as [CLS] before and [SEP] after the text. There are at most maxTokens ids, but
	// never fewer than the special tokens. A text much longer than maxTokens costs no more than a
	// short one.
	Encode(dst []int32, text string, maxTokens int) []int32
	// UnknownShare returns which share of the letters at the beginning of a text, some hundred, is
	// in unknown tokens: 0 to 1, and 0 for a text without letters.
	UnknownShare(text string) float64
	// Unknown returns the id of the unknown token.
	Unknown() int32
}

// beginningBytes is how much of a text UnknownShare reads.
const beginningBytes = 1024

// beginning returns the part of a text that UnknownShare reads.
func beginning(text string) string { return prefix(text, beginningBytes) }

// prefix returns the first n bytes of a text, or a few less: it cuts no character.
func prefix(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// letterCounts counts the letters of a text.
type letterCounts struct{ all, unknown int }

// add counts the letters of a token.
func (c *letterCounts) add(token []byte, known bool) {
	for len(token) > 0 {
		r, size := utf8.DecodeRune(token)
		token = token[size:]
		if !unicode.IsLetter(r) {
			continue
		}
		if c.all++; !known {
			c.unknown++
		}
	}
}

func (c *letterCounts) unknownShare() float64 {
	return float64(c.unknown) / float64(max(c.all, 1))
}
