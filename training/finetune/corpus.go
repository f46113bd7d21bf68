package finetune

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/embeddings/onnx"
	"relish/ranker"
	"relish/training/signals"
)

// corpus holds the distinct texts of the catalogue as tokens, and the users' sequences of texts.
type corpus struct {
	tokens    [][]int32  // by text: indices into vocab
	vocab     []int32    // ids of the tokens that occur
	rowLength int        // tokens in a row; no text is longer
	sequences [][]int32  // text numbers in order of time, one sequence for a user
	newEvents []int      // indices of the sequences of users with new events, ascending
	heldOut   []bool     // by text: excluded from training
	pairs     *pairTexts // of the objective Pairs, else nil
}

// The cost of attention grows with the square of the row length. So a row is as long as nearly all
// texts, and longer texts are truncated.
const (
	minRowLength  = 64
	rowLengthStep = 32
	uncutShare    = 0.98 // share of the texts that are not truncated
	minBatchRows  = 4    // least number of rows of a batch
)

// buildCorpus tokenizes the texts and builds the sequences of the objective.
func buildCorpus(in *Input, cfg *Config) (*corpus, error) {
	tok, err := onnx.NewTextTokenizer(in.Files)
	if err != nil {
		return nil, fmt.Errorf("finetune: %w", err)
	}
	b := &corpusBuilder{tokenizer: tok, files: in.Files, cfg: cfg, textIndex: map[uint64]int32{}}
	switch cfg.Objective {
	case TitleText:
		b.addCatalogue(in.Corpus.ItemInfos)
	case Pairs:
		b.addPairs(in.Pairs)
	default:
		b.addHistories(in.Corpus, in.HasNewEvents)
	}
	return b.finish(), nil
}

// corpusBuilder collects texts and sequences.
type corpusBuilder struct {
	tokenizer *onnx.TextTokenizer
	files     *onnx.EncoderFiles
	cfg       *Config
	textIndex map[uint64]int32 // text key -> number of the text, -1 for a text without tokens
	bodies    []string
	corpus    corpus
}

// addText returns the number of a text and adds the text if it is new. It returns -1 for a text
// without tokens.
func (b *corpusBuilder) addText(key uint64, body func() string, mayHoldOut bool) int32 {
	if n, ok := b.textIndex[key]; ok {
		return n
	}
	s := body()
	tokens := b.tokenizer.Tokenize(nil, s, b.files.MaxTokens)
	if len(tokens) == 0 {
		b.textIndex[key] = -1
		return -1
	}
	n := int32(len(b.corpus.tokens))
	b.textIndex[key] = n
	b.corpus.tokens, b.bodies = append(b.corpus.tokens, tokens), append(b.bodies, s)
	b.corpus.heldOut = append(b.corpus.heldOut, mayHoldOut && b.isHeldOut(key))
	return n
}

// isHeldOut decides by a hash whether a text is held out, so that every training holds out the same
// texts.
func (b *corpusBuilder) isHeldOut(key uint64) bool {
	share := float64(
		xxhash.Sum64String(fmt.Sprintf("guard %d %d", b.cfg.Seed, key))>>11) / (1 << 53)
	return share < b.cfg.HoldoutShare
}

// addHistories adds what users did. Consecutive interactions with the same text count once.
func (b *corpusBuilder) addHistories(c *signals.Corpus, hasNewEvents []bool) {
	for u := range c.Users {
		var seq []int32
		for _, s := range c.Users[u].Interactions {
			info := c.ItemInfos[s.Item]
			if s.Gain <= 0 || info == nil || info.TextKey == 0 {
				continue
			}
			n := b.addText(info.TextKey, info.Body, true)
			if n >= 0 && (len(seq) == 0 || seq[len(seq)-1] != n) {
				seq = append(seq, n)
			}
		}
		if b.addSequence(seq) && hasNewEvents != nil && hasNewEvents[u] {
			b.corpus.newEvents = append(b.corpus.newEvents, len(b.corpus.sequences)-1)
		}
	}
}

// addCatalogue adds a sequence of two texts for each item: its title and the rest of its text.
func (b *corpusBuilder) addCatalogue(items []*ranker.ItemInfo) {
	for _, it := range items {
		if it == nil {
			continue
		}
		item := it.Item()
		rest := ranker.TextSpec{"tags", "text"}.Compose(&item)
		if item.Title == "" || rest == "" {
			continue
		}
		title := b.addText(ranker.TextKey(item.Title), func() string { return item.Title }, false)
		body := b.addText(ranker.TextKey(rest), func() string { return rest }, true)
		if title >= 0 && body >= 0 && title != body {
			b.addSequence([]int32{title, body})
		}
	}
}

func (b *corpusBuilder) addSequence(seq []int32) bool {
	if len(seq) > 1 {
		b.corpus.sequences = append(b.corpus.sequences, seq)
	}
	return len(seq) > 1
}

// finish sets the row length, truncates longer texts, and replaces token ids by indices into vocab.
func (b *corpusBuilder) finish() *corpus {
	c := &b.corpus
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
	c.rowLength = min(c.rowLength, b.files.MaxTokens, max(8, b.cfg.BatchTokens/minBatchRows))
	newID := map[int32]int32{}
	for i, t := range c.tokens {
		if len(t) > c.rowLength {
			t = b.tokenizer.Tokenize(nil, b.bodies[i], c.rowLength)
		}
		for k, id := range t {
			n, ok := newID[id]
			if !ok {
				n = int32(len(c.vocab))
				newID[id], c.vocab = n, append(c.vocab, id)
			}
			t[k] = n
		}
		c.tokens[i] = t
	}
	return c
}

// meanTokens returns the mean number of tokens of a text, at least 1.
func (c *corpus) meanTokens() int {
	sum := 0
	for _, t := range c.tokens {
		sum += len(t)
	}
	return max(1, sum/max(1, len(c.tokens)))
}

// countPairs returns the number of queries that the sequences give without held-out texts.
func (c *corpus) countPairs() (n int) {
	for _, seq := range c.sequences {
		n += max(0, len(c.withoutHeldOut(seq))-1)
	}
	return n
}

// withoutHeldOut returns the sequence without held-out texts.
func (c *corpus) withoutHeldOut(seq []int32) []int32 {
	if !slices.ContainsFunc(seq, func(t int32) bool { return c.heldOut[t] }) {
		return seq
	}
	return slices.DeleteFunc(slices.Clone(seq), func(t int32) bool { return c.heldOut[t] })
}
