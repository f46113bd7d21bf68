package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// unknownPenalty is how much lower the score of a character that no piece has is than the lowest
// score of a piece.
const unknownPenalty = 10

func loadUnigram(f *tokenizerFile) (Tokenizer, error) {
	t := &unigram{chars: &charsMap{trie: []uint32{0}}}
	before, after, err := f.PostProcessor.specialTokens()
	t.before, t.after = before, after
	err = errors.Join(err, f.checkAddedTokens(), t.loadPieces(f),
		t.loadNormalizer(&f.Normalizer), t.loadPreTokenizer(&f.PreTokenizer))
	if err != nil {
		return nil, err
	}
	t.states.New = func() any { return &unigramState{t: t} }
	return t, nil
}

// piece is an entry of the vocabulary, in the file a list of a string and a number.
type piece struct {
	text  string
	score float64
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *piece) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&p.text, &p.score})
}

// loadPieces sets the pieces, their scores and the unknown token.
func (t *unigram) loadPieces(f *tokenizerFile) error {
	var vocabulary []piece
	if err := json.Unmarshal(f.Model.Vocab, &vocabulary); err != nil {
		return fmt.Errorf("model.vocab: %w", err)
	}
	if f.Model.ByteFallback {
		return errors.New("model.byte_fallback is not supported: use an encoder without it")
	}
	if id := f.Model.UnkID; id == nil || *id < 0 || int(*id) >= len(vocabulary) {
		return errors.New("model.unk_id must be the number of a piece in model.vocab")
	}
	t.unk = *f.Model.UnkID
	ids, lowest := make(map[string]int32, len(vocabulary)), math.Inf(1)
	for id, p := range vocabulary {
		ids[p.text] = int32(id)
		t.scores = append(t.scores, p.score)
		lowest = min(lowest, p.score)
	}
	t.unkScore = lowest - unknownPenalty
	t.pieces = newPieceTrie(ids)
	return nil
}

// loadNormalizer sets how texts are normalized: by a Precompiled charsmap, and after it Strip and
// Replace as the converters of SentencePiece models write them.
func (t *unigram) loadNormalizer(n *normalizer) (err error) {
	steps := []normalizer{*n}
	if n.Type == "Sequence" {
		steps = n.Normalizers
	}
	for i, step := range steps {
		switch {
		case step.Type == "Precompiled" && i == 0:
			if t.chars, err = newCharsMap(step.CharsMap); err != nil {
				return err
			}
		case step.Type == "Strip" && step.StripRight && !step.StripLeft && t.joined == "":
			t.trimRight = true
		case step.Type == "Replace" && step.Pattern.Regex == " {2,}" && step.Content != "" &&
			t.joined == "":
			t.joined = step.Content
		default:
			return fmt.Errorf("normalizer: the step %q is not supported for Unigram; only "+
				"Precompiled is, followed by Strip at the right and Replace of \" {2,}\"",
				step.Type)
		}
	}
	return nil
}

// loadPreTokenizer sets how texts are split: by Metaspace, with or without WhitespaceSplit before
// it.
func (t *unigram) loadPreTokenizer(p *preTokenizer) error {
	steps := []preTokenizer{*p}
	if p.Type == "Sequence" {
		steps = p.PreTokenizers
	}
	if len(steps) == 2 && steps[0].Type == "WhitespaceSplit" {
		t.splitSpace, steps = true, steps[1:]
	}
	if len(steps) != 1 || steps[0].Type != "Metaspace" || steps[0].Replacement == "" {
		return fmt.Errorf("pre_tokenizer.type %q is not supported for Unigram; only Metaspace is, "+
			"and WhitespaceSplit followed by it", p.Type)
	}
	m := steps[0]
	t.space, t.split = m.Replacement, m.Split == nil || *m.Split
	switch m.PrependScheme {
	case "always", "": // older files say nothing
		t.prepend = true
	case "never":
	default:
		return fmt.Errorf("pre_tokenizer.prepend_scheme %q is not supported; only always and "+
			"never are", m.PrependScheme)
	}
	return nil
}
