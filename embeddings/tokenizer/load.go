package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// tokenizerFile is the part of tokenizer.json that is used. Padding and truncation are up to the
// caller.
type tokenizerFile struct {
	AddedTokens []struct {
		Content string `json:"content"`
		Special bool   `json:"special"`
	} `json:"added_tokens"`
	Normalizer    normalizer     `json:"normalizer"`
	PreTokenizer  preTokenizer   `json:"pre_tokenizer"`
	PostProcessor *postProcessor `json:"post_processor"`
	Model         struct {
		Type         string          `json:"type"`
		Unk          string          `json:"unk_token"`
		UnkID        *int32          `json:"unk_id"`
		Prefix       *string         `json:"continuing_subword_prefix"`
		MaxChars     *int            `json:"max_input_chars_per_word"`
		ByteFallback bool            `json:"byte_fallback"`
		Vocab        json.RawMessage `json:"vocab"`
	} `json:"model"`
}

// normalizer has the settings of all kinds of normalizers.
type normalizer struct {
	Type        string       `json:"type"`
	Clean       bool         `json:"clean_text"`
	Ideographs  bool         `json:"handle_chinese_chars"`
	Strip       *bool        `json:"strip_accents"`
	Lower       bool         `json:"lowercase"`
	Normalizers []normalizer `json:"normalizers"`
	CharsMap    []byte       `json:"precompiled_charsmap"`
	StripLeft   bool         `json:"strip_left"`
	StripRight  bool         `json:"strip_right"`
	Pattern     struct {
		Regex string
	} `json:"pattern"`
	Content string `json:"content"`
}

// preTokenizer has the settings of all kinds of pre-tokenizers.
type preTokenizer struct {
	Type          string         `json:"type"`
	PreTokenizers []preTokenizer `json:"pretokenizers"`
	Replacement   string         `json:"replacement"`
	PrependScheme string         `json:"prepend_scheme"`
	Split         *bool          `json:"split"`
}

// Load reads a tokenizer.json, of a WordPiece or a Unigram model. It refuses everything that would
// make the ids differ from those of the reference library, and the error names it.
func Load(data []byte) (Tokenizer, error) {
	var f tokenizerFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	load := loadWordPiece
	if f.Model.Type == "Unigram" {
		load = loadUnigram
	}
	t, err := load(&f)
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	return t, nil
}

func loadWordPiece(f *tokenizerFile) (Tokenizer, error) {
	t := &wordPiece{maxChars: 100, clean: f.Normalizer.Clean, ideographs: f.Normalizer.Ideographs,
		lower: f.Normalizer.Lower, strip: f.Normalizer.Lower}
	if f.Normalizer.Strip != nil {
		t.strip = *f.Normalizer.Strip
	}
	if f.Model.MaxChars != nil {
		t.maxChars = *f.Model.MaxChars
	}
	before, after, err := f.PostProcessor.specialTokens()
	t.before, t.after = before, after
	err = errors.Join(f.checkSupported(), f.checkAddedTokens(), t.loadVocabulary(f), err)
	if err != nil {
		return nil, err
	}
	t.buildCharMaps()
	t.states.New = func() any {
		longest := max(t.initialPieces.longest, t.continuationPieces.longest)
		return &encodeState{
			t: t, word: make([]byte, 0, utf8.UTFMax*t.maxChars), hashes: make([]uint32, longest),
		}
	}
	return t, nil
}

// checkSupported returns an error for settings of WordPiece that this package does not support.
func (f *tokenizerFile) checkSupported() error {
	for _, part := range []struct{ field, got, want string }{
		{"model.type", cmp.Or(f.Model.Type, "WordPiece"), "WordPiece"}, // old files do not say
		{"normalizer.type", f.Normalizer.Type, "BertNormalizer"},
		{"pre_tokenizer.type", f.PreTokenizer.Type, "BertPreTokenizer"},
	} {
		if part.got != part.want {
			return fmt.Errorf("%s %q is not supported; only %s is", part.field, part.got, part.want)
		}
	}
	return nil
}

// checkAddedTokens refuses added tokens that are cut out of texts.
func (f *tokenizerFile) checkAddedTokens() error {
	for _, a := range f.AddedTokens {
		if !a.Special {
			return fmt.Errorf("added_tokens: %q is not special, and such tokens are not supported",
				a.Content)
		}
	}
	return nil
}

// maxCharsLimit bounds what Encode keeps of one word.
const maxCharsLimit = 10_000

// loadVocabulary sets the tables of pieces and the unknown token.
func (t *wordPiece) loadVocabulary(f *tokenizerFile) error {
	if t.maxChars < 0 || t.maxChars > maxCharsLimit {
		return fmt.Errorf("model.max_input_chars_per_word is %d; it must be 0 to %d",
			t.maxChars, maxCharsLimit)
	}
	prefix := "##"
	if f.Model.Prefix != nil {
		prefix = *f.Model.Prefix
	}
	var vocabulary map[string]int32
	if err := json.Unmarshal(f.Model.Vocab, &vocabulary); err != nil {
		return fmt.Errorf("model.vocab: %w", err)
	}
	continuations := map[string]int32{}
	for piece, id := range vocabulary {
		if id < 0 {
			return fmt.Errorf("model.vocab: the id of %q is negative", piece)
		}
		if tail, ok := strings.CutPrefix(piece, prefix); ok {
			continuations[tail] = id
		}
	}
	t.initialPieces = newPieceTable(vocabulary)
	t.continuationPieces = newPieceTable(continuations)
	unk, ok := vocabulary[f.Model.Unk]
	if !ok {
		return fmt.Errorf("model.unk_token %q is missing from model.vocab", f.Model.Unk)
	}
	t.unk = unk
	return nil
}
