// Package wordpiece turns text into the ids that BERT-family encoders read, exactly as the Hugging Face
// tokenizers library does for the same tokenizer.json.
//
// A text is cleaned of control characters, ideographs are set apart, accents are dropped (canonical
// decomposition without non-spacing marks), letters lower-cased; then it is split at white space and
// around punctuation, and each word is cut greedily into the longest pieces of the vocabulary.
// Special tokens inside a text are ordinary text: users must not write structure.
//
// The Unicode sets in tables.go are read off the reference library, whose tables are of other
// versions than Go's.
package wordpiece

import (
	"errors"
	"fmt"
	"sync"

	"encoding/json"
)

// Tokenizer is a loaded tokenizer.json. It is immutable and safe for concurrent use.
type Tokenizer struct {
	whole, rest   map[string]int32 // pieces that begin a word, and those that go on with one (without prefix)
	cls, sep, unk int32
	maxChars      int // a longer word is unknown
	maxPiece      int // bytes of the longest piece
	clean         bool
	ideographs    bool
	strip         bool
	lower         bool
	ascii         [128]class
	scratch       sync.Pool
}

// file is the part of tokenizer.json that matters here.
type file struct {
	AddedTokens []struct {
		ID      int32  `json:"id"`
		Content string `json:"content"`
	} `json:"added_tokens"`
	Normalizer *struct {
		Type       string `json:"type"`
		Clean      bool   `json:"clean_text"`
		Ideographs bool   `json:"handle_chinese_chars"`
		Strip      *bool  `json:"strip_accents"`
		Lower      bool   `json:"lowercase"`
	} `json:"normalizer"`
	PreTokenizer *struct {
		Type string `json:"type"`
	} `json:"pre_tokenizer"`
	Model struct {
		Type     string           `json:"type"`
		Unk      string           `json:"unk_token"`
		Prefix   string           `json:"continuing_subword_prefix"`
		MaxChars int              `json:"max_input_chars_per_word"`
		Vocab    map[string]int32 `json:"vocab"`
	} `json:"model"`
}

// Load reads a tokenizer.json. The error names what of it is not supported.
func Load(data []byte) (*Tokenizer, error) {
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	switch {
	case f.Model.Type != "WordPiece" && f.Model.Type != "":
		return nil, fmt.Errorf("tokenizer.json: model type %q is not supported, only WordPiece", f.Model.Type)
	case f.Normalizer == nil || f.Normalizer.Type != "BertNormalizer":
		return nil, errors.New("tokenizer.json: only the BertNormalizer is supported")
	case f.PreTokenizer == nil || f.PreTokenizer.Type != "BertPreTokenizer":
		return nil, errors.New("tokenizer.json: only the BertPreTokenizer is supported")
	case len(f.Model.Vocab) == 0:
		return nil, errors.New("tokenizer.json: the vocabulary is empty")
	}
	t := &Tokenizer{whole: map[string]int32{}, rest: map[string]int32{}, maxChars: f.Model.MaxChars,
		clean: f.Normalizer.Clean, ideographs: f.Normalizer.Ideographs, lower: f.Normalizer.Lower, strip: f.Normalizer.Lower}
	if f.Normalizer.Strip != nil {
		t.strip = *f.Normalizer.Strip
	}
	if t.maxChars == 0 {
		t.maxChars = 100
	}
	t.vocabulary(&f)
	if err := t.specials(&f); err != nil {
		return nil, err
	}
	t.classify()
	t.scratch.New = func() any { return new(scratch) }
	return t, nil
}

func (t *Tokenizer) vocabulary(f *file) {
	prefix := f.Model.Prefix
	if prefix == "" {
		prefix = "##"
	}
	for piece, id := range f.Model.Vocab {
		t.whole[piece] = id
		t.maxPiece = max(t.maxPiece, len(piece))
		if len(piece) > len(prefix) && piece[:len(prefix)] == prefix {
			t.rest[piece[len(prefix):]] = id
		}
	}
}

func (t *Tokenizer) specials(f *file) error {
	added := map[string]int32{}
	for _, a := range f.AddedTokens {
		added[a.Content] = a.ID
	}
	unk := f.Model.Unk
	if unk == "" {
		unk = "[UNK]"
	}
	for name, to := range map[string]*int32{"[CLS]": &t.cls, "[SEP]": &t.sep, unk: &t.unk} {
		id, ok := added[name]
		if !ok {
			id, ok = f.Model.Vocab[name]
		}
		if !ok {
			return fmt.Errorf("tokenizer.json: the token %s is missing", name)
		}
		*to = id
	}
	return nil
}

// Encode appends the ids of text between [CLS] and [SEP] to dst, maxTokens at most in all, and returns
// the extended slice. Of a longer text no more is looked at than is needed. It does not allocate once
// warm, if dst has room.
func (t *Tokenizer) Encode(dst []int32, text string, maxTokens int) []int32 {
	s := t.scratch.Get().(*scratch)
	s.t, s.dst, s.room = t, append(dst, t.cls), maxTokens-2
	s.run(text)
	dst = append(s.dst, t.sep)
	s.dst = nil
	t.scratch.Put(s)
	return dst
}
