package finetune

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/embeddings/onnx"
	"relish/embeddings/tokenizer"
	"relish/ranker"
	"relish/training/signals"
)

// corpus is the distinct texts of a catalogue as the encoder reads them, and what was done with them in order.
type corpus struct {
	tokens    [][]int32 // by text: into vocab
	vocab     []int32   // the tokens that occur
	rowLength int       // of a row, in tokens; no text is longer
	sequences [][]int32 // texts
	newEvents []int     // of the sequences, those of fresh users
	heldOut   []bool    // by text: it takes no part in training
}

// Row lengths: a row is as long as nearly all texts, since attention costs its square; a longer text is cut.
const (
	minRowLength  = 64
	rowLengthStep = 32
	uncutShare    = 0.98 // share of the texts
	minBatchRows  = 4    // of a batch
)

// buildCorpus takes the corpus apart, for the objective.
func buildCorpus(in *Input, cfg *Config) (*corpus, error) {
	tok, err := tokenizer.Load(in.Files.Tokenizer)
	if err != nil {
		return nil, fmt.Errorf("encoder: %w", err)
	}
	r := &corpusBuilder{tokenizer: tok, files: in.Files, cfg: cfg, textIndex: map[uint64]int32{}}
	if cfg.Objective == TitleText {
		r.addCatalogue(in.Corpus.ItemInfos)
	} else {
		r.addHistories(in.Corpus, in.HasNewEvents)
	}
	return r.finish(), nil
}

// corpusBuilder collects texts.
type corpusBuilder struct {
	tokenizer *tokenizer.Tokenizer
	files     *onnx.EncoderFiles
	cfg       *Config
	textIndex map[uint64]int32 // by the text's key: its number, -1 for a text without tokens
	bodies    []string
	corpus    corpus
}

// addText gives a text's number, -1 for one without tokens.
func (r *corpusBuilder) addText(key uint64, body func() string, mayHold bool) int32 {
	if n, ok := r.textIndex[key]; ok {
		return n
	}
	s := r.files.Prompt + body()
	tokens := r.tokenizer.Encode(nil, s, r.files.MaxTokens)
	if len(tokens) <= 2 { // nothing between the special tokens
		r.textIndex[key] = -1
		return -1
	}
	n := int32(len(r.corpus.tokens))
	r.textIndex[key] = n
	r.corpus.tokens, r.bodies = append(r.corpus.tokens, tokens), append(r.bodies, s)
	r.corpus.heldOut = append(r.corpus.heldOut, mayHold && r.isHeldOut(key))
	return n
}

// isHeldOut draws whether a text takes no part, by a hash: the same one in every training.
func (r *corpusBuilder) isHeldOut(key uint64) bool {
	share := float64(
		xxhash.Sum64String(fmt.Sprintf("guard %d %d", r.cfg.Seed, key))>>11) / (1 << 53)
	return share < r.cfg.HoldoutShare
}

// addHistories takes what users did. A text that repeats the one before it counts once.
func (r *corpusBuilder) addHistories(c *signals.Corpus, fresh []bool) {
	for u := range c.Users {
		var seq []int32
		for _, s := range c.Users[u].Interactions {
			info := c.ItemInfos[s.Item]
			if s.Gain <= 0 || info == nil || info.TextKey == 0 {
				continue
			}
			n := r.addText(info.TextKey, info.Body, true)
			if n >= 0 && (len(seq) == 0 || seq[len(seq)-1] != n) {
				seq = append(seq, n)
			}
		}
		if r.addSequence(seq) && fresh != nil && fresh[u] {
			r.corpus.newEvents = append(r.corpus.newEvents, len(r.corpus.sequences)-1)
		}
	}
}

// addCatalogue takes each item's title as a history that its other text comes after.
func (r *corpusBuilder) addCatalogue(items []*ranker.ItemInfo) {
	for _, it := range items {
		if it == nil {
			continue
		}
		rest := ranker.TextSpec{"tags", "text"}.Compose(&it.Item)
		if it.Title == "" || rest == "" {
			continue
		}
		title := r.addText(ranker.TextKey(it.Title), func() string { return it.Title }, false)
		if body := r.addText(ranker.TextKey(rest), func() string { return rest }, true); title >= 0 &&
			body >= 0 &&
			title != body {
			r.addSequence([]int32{title, body})
		}
	}
}

func (r *corpusBuilder) addSequence(seq []int32) bool {
	if len(seq) > 1 {
		r.corpus.sequences = append(r.corpus.sequences, seq)
	}
	return len(seq) > 1
}

// finish fixes the row's length, cuts what is longer, and numbers the tokens that occur.
func (r *corpusBuilder) finish() *corpus {
	c := &r.corpus
	lengths := make([]int, len(c.tokens))
	for i, t := range c.tokens {
		lengths[i] = len(t)
	}
	slices.Sort(lengths)
	c.rowLength = minRowLength
	if n := len(lengths); n > 0 {
		c.rowLength = max(c.rowLength,
			(lengths[int(uncutShare*float64(n-1))]+rowLengthStep-1)/rowLengthStep*rowLengthStep)
	}
	c.rowLength = min(c.rowLength, r.files.MaxTokens, max(8, r.cfg.BatchTokens/minBatchRows))
	number := map[int32]int32{}
	for i, t := range c.tokens {
		if len(t) > c.rowLength {
			t = r.tokenizer.Encode(nil, r.bodies[i], c.rowLength)
		}
		for k, id := range t {
			n, ok := number[id]
			if !ok {
				n = int32(len(c.vocab))
				number[id], c.vocab = n, append(c.vocab, id)
			}
			t[k] = n
		}
		c.tokens[i] = t
	}
	return c
}

// meanTokens is how many tokens a text has in the mean.
func (c *corpus) meanTokens() int {
	sum := 0
	for _, t := range c.tokens {
		sum += len(t)
	}
	return max(1, sum/max(1, len(c.tokens)))
}

// countPairs counts what there is to learn from: places with something before them, without the texts held out.
func (c *corpus) countPairs() (n int) {
	for _, seq := range c.sequences {
		n += max(0, len(c.withoutHeldOut(seq))-1)
	}
	return n
}

// withoutHeldOut is a sequence without the texts that are held out.
func (c *corpus) withoutHeldOut(seq []int32) []int32 {
	if !slices.ContainsFunc(seq, func(t int32) bool { return c.heldOut[t] }) {
		return seq
	}
	return slices.DeleteFunc(slices.Clone(seq), func(t int32) bool { return c.heldOut[t] })
}
