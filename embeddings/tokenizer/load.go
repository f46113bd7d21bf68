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
	Normalizer struct {
		Type       string `json:"type"`
		Clean      bool   `json:"clean_text"`
		Ideographs bool   `json:"handle_chinese_chars"`
		Strip      *bool  `json:"strip_accents"`
		Lower      bool   `json:"lowercase"`
	} `json:"normalizer"`
	PreTokenizer struct {
		Type string `json:"type"`
	} `json:"pre_tokenizer"`
	PostProcessor *postProcessor `json:"post_processor"`
	Model         struct {
		Type     string           `json:"type"`
		Unk      string           `json:"unk_token"`
		Prefix   *string          `json:"continuing_subword_prefix"`
		MaxChars *int             `json:"max_input_chars_per_word"`
		Vocab    map[string]int32 `json:"vocab"`
	} `json:"model"`
}

type postProcessor struct {
	Type   string `json:"type"`
	Single []struct {
		SpecialToken *templatePart
		Sequence     *templatePart
	} `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
	Cls [2]any `json:"cls"` // name, id
	Sep [2]any `json:"sep"`
}

type templatePart struct {
	ID     string `json:"id"`
	TypeID int    `json:"type_id"`
}

// Load reads a tokenizer.json. It refuses everything that would make the ids differ from those of
// the reference library, and the error names it.
func Load(data []byte) (Tokenizer, error) {
	var f tokenizerFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	t := &wordPiece{maxChars: 100, clean: f.Normalizer.Clean, ideographs: f.Normalizer.Ideographs,
		lower: f.Normalizer.Lower, strip: f.Normalizer.Lower}
	if f.Normalizer.Strip != nil {
		t.strip = *f.Normalizer.Strip
	}
	if f.Model.MaxChars != nil {
		t.maxChars = *f.Model.MaxChars
	}
	err := errors.Join(f.checkSupported(), t.loadVocabulary(&f),
		t.loadSpecialTokens(f.PostProcessor))
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
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

// checkSupported returns an error for settings that this package does not support.
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
	continuations := map[string]int32{}
	for piece, id := range f.Model.Vocab {
		if id < 0 {
			return fmt.Errorf("model.vocab: the id of %q is negative", piece)
		}
		if tail, ok := strings.CutPrefix(piece, prefix); ok {
			continuations[tail] = id
		}
	}
	t.initialPieces = newPieceTable(f.Model.Vocab)
	t.continuationPieces = newPieceTable(continuations)
	unk, ok := f.Model.Vocab[f.Model.Unk]
	if !ok {
		return fmt.Errorf("model.unk_token %q is missing from model.vocab", f.Model.Unk)
	}
	t.unk = unk
	return nil
}

// loadSpecialTokens sets the special tokens before and after a text. Without a post_processor
// there are none.
func (t *wordPiece) loadSpecialTokens(p *postProcessor) error {
	if p == nil {
		return nil
	}
	switch p.Type {
	case "BertProcessing", "RobertaProcessing":
		cls, ok1 := p.Cls[1].(float64)
		sep, ok2 := p.Sep[1].(float64)
		if !ok1 || !ok2 {
			return errors.New("post_processor: cls and sep must each be a name and an id")
		}
		t.before, t.after = []int32{int32(cls)}, []int32{int32(sep)}
		return nil
	case "TemplateProcessing":
	default:
		return fmt.Errorf("post_processor.type %q is not supported; only TemplateProcessing, "+
			"BertProcessing and RobertaProcessing are", p.Type)
	}
	at, texts := &t.before, 0
	for i, part := range p.Single {
		switch {
		case part.Sequence != nil && part.Sequence.TypeID == 0:
			at = &t.after
			texts++
		case part.SpecialToken != nil && part.SpecialToken.TypeID == 0:
			special, ok := p.SpecialTokens[part.SpecialToken.ID]
			if !ok {
				return fmt.Errorf("post_processor.special_tokens has no %q", part.SpecialToken.ID)
			}
			*at = append(*at, special.IDs...)
		default:
			return fmt.Errorf("post_processor.single[%d] is not supported; only a Sequence or a "+
				"SpecialToken with type_id 0 is", i)
		}
	}
	if texts != 1 {
		return fmt.Errorf(
			"post_processor.single contains the text %d times; it must contain it once",
			texts,
		)
	}
	return nil
}
