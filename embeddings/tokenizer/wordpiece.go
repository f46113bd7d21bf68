// Package wordpiece turns text into the ids that BERT-family encoders read, exactly as the Hugging Face
// tokenizers library does for the same tokenizer.json.
//
// A text is cleaned of control characters, ideographs are set apart, accents are dropped (canonical
// decomposition without non-spacing marks), letters lower-cased; then it is split at white space and
// around punctuation, and each word is cut greedily into the longest pieces of the vocabulary.
// Special tokens inside a text are ordinary text: users must not write structure.
//
// All of that happens in one pass over the text. What becomes of a character is looked up in a table
// made when the tokenizer is loaded; the Unicode sets behind it (tables.go) are read off the reference
// library, whose tables are of other versions than Go's.
package tokenizer

import "sync"

// Tokenizer is a loaded tokenizer.json. It is immutable and safe for concurrent use.
type Tokenizer struct {
	initialPieces, continuationPieces pieceTable // those that begin a word, and those that go on with one (without prefix)
	before, after                     []int32    // the special tokens around a text
	unk                               int32
	maxChars                          int // a longer word is unknown
	clean                             bool
	ideographs                        bool
	strip                             bool
	lower                             bool
	asciiMap                          [256]byte       // a byte that is a letter as it enters the word, else 0
	charMap                           [0x10000]uint16 // a character as it enters the word, or one of the codes in split.go
	scratch                           sync.Pool
}

// Encode appends the ids of text to dst, the special tokens ([CLS] before, [SEP] after) included,
// maxTokens at most in all, and returns the extended slice; the special tokens are always there, so
// maxTokens below their number counts as their number. It stops reading where the room ends: a long
// text costs what a short one does. It does not allocate once warm, if dst has room.
func (t *Tokenizer) Encode(dst []int32, text string, maxTokens int) []int32 {
	s := t.scratch.Get().(*scratch)
	s.dst = append(dst, t.before...)
	s.remaining = maxTokens - len(t.before) - len(t.after)
	s.run(text)
	dst = append(s.dst, t.after...)
	s.dst = nil
	t.scratch.Put(s)
	return dst
}
