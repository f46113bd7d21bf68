package encoder

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/embeddings/onnx"
	"relish/embeddings/wordpiece"
	"relish/ranker"
	"relish/training/match"
)

// corpus is the distinct texts of a catalogue as the encoder reads them, and what was done with them in order.
type corpus struct {
	tokens    [][]int32 // by text: into vocab
	vocab     []int32   // the tokens that occur
	length    int       // of a row, in tokens; no text is longer
	sequences [][]int32 // texts
	fresh     []int     // of the sequences, those of fresh users
	held      []bool    // by text: it takes no part in training
}

// Row lengths: a row is as long as nearly all texts, since attention costs its square; a longer text is cut.
const (
	shortestRow = 64
	rowStep     = 32
	uncut       = 0.98 // share of the texts
	fewestRows  = 4    // of a batch
)

// read takes the corpus apart, for the objective.
func read(in *Input, cfg *Config) (*corpus, error) {
	tok, err := wordpiece.Load(in.Files.Tokenizer)
	if err != nil {
		return nil, fmt.Errorf("encoder: %w", err)
	}
	r := &reader{tok: tok, files: in.Files, cfg: cfg, at: map[uint64]int32{}}
	if cfg.Objective == TitleText {
		r.catalogue(in.Corpus.Infos)
	} else {
		r.histories(in.Corpus, in.Fresh)
	}
	return r.finish(), nil
}

// reader collects texts.
type reader struct {
	tok    *wordpiece.Tokenizer
	files  *onnx.Files
	cfg    *Config
	at     map[uint64]int32 // by the text's key: its number, -1 for a text without tokens
	bodies []string
	out    corpus
}

// text gives a text's number, -1 for one without tokens.
func (r *reader) text(key uint64, body func() string, mayHold bool) int32 {
	if n, ok := r.at[key]; ok {
		return n
	}
	s := r.files.Prompt + body()
	tokens := r.tok.Encode(nil, s, r.files.MaxTokens)
	if len(tokens) <= 2 { // nothing between the special tokens
		r.at[key] = -1
		return -1
	}
	n := int32(len(r.out.tokens))
	r.at[key] = n
	r.out.tokens, r.bodies = append(r.out.tokens, tokens), append(r.bodies, s)
	r.out.held = append(r.out.held, mayHold && r.holds(key))
	return n
}

// holds draws whether a text takes no part, by a hash: the same one in every training.
func (r *reader) holds(key uint64) bool {
	share := float64(xxhash.Sum64String(fmt.Sprintf("guard %d %d", r.cfg.Seed, key))>>11) / (1 << 53)
	return share < r.cfg.HoldOut
}

// histories takes what users did. A text that repeats the one before it counts once.
func (r *reader) histories(c *match.Corpus, fresh []bool) {
	for u := range c.Users {
		var seq []int32
		for _, s := range c.Users[u].Steps {
			info := c.Infos[s.Item]
			if s.Gain <= 0 || info == nil || info.TextKey == 0 {
				continue
			}
			n := r.text(info.TextKey, info.Body, true)
			if n >= 0 && (len(seq) == 0 || seq[len(seq)-1] != n) {
				seq = append(seq, n)
			}
		}
		if r.add(seq) && fresh != nil && fresh[u] {
			r.out.fresh = append(r.out.fresh, len(r.out.sequences)-1)
		}
	}
}

// catalogue takes each item's title as a history that its other text comes after.
func (r *reader) catalogue(items []*ranker.ItemInfo) {
	for _, it := range items {
		if it == nil {
			continue
		}
		rest := ranker.TextSpec{"tags", "text"}.Compose(&it.Item)
		if it.Title == "" || rest == "" {
			continue
		}
		title := r.text(ranker.TextKey(it.Title), func() string { return it.Title }, false)
		if body := r.text(ranker.TextKey(rest), func() string { return rest }, true); title >= 0 && body >= 0 && title != body {
			r.add([]int32{title, body})
		}
	}
}

func (r *reader) add(seq []int32) bool {
	if len(seq) > 1 {
		r.out.sequences = append(r.out.sequences, seq)
	}
	return len(seq) > 1
}

// finish fixes the row's length, cuts what is longer, and numbers the tokens that occur.
func (r *reader) finish() *corpus {
	c := &r.out
	lengths := make([]int, len(c.tokens))
	for i, t := range c.tokens {
		lengths[i] = len(t)
	}
	slices.Sort(lengths)
	c.length = shortestRow
	if n := len(lengths); n > 0 {
		c.length = max(c.length, (lengths[int(uncut*float64(n-1))]+rowStep-1)/rowStep*rowStep)
	}
	c.length = min(c.length, r.files.MaxTokens, max(8, r.cfg.Slots/fewestRows))
	number := map[int32]int32{}
	for i, t := range c.tokens {
		if len(t) > c.length {
			t = r.tok.Encode(nil, r.bodies[i], c.length)
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

// tokensOfText is how many tokens a text has in the mean.
func (c *corpus) tokensOfText() int {
	sum := 0
	for _, t := range c.tokens {
		sum += len(t)
	}
	return max(1, sum/max(1, len(c.tokens)))
}

// pairs counts what there is to learn from: places with something before them, without the texts held out.
func (c *corpus) pairs() (n int) {
	for _, seq := range c.sequences {
		n += max(0, len(c.seen(seq))-1)
	}
	return n
}

// seen is a sequence without the texts that are held out.
func (c *corpus) seen(seq []int32) []int32 {
	if !slices.ContainsFunc(seq, func(t int32) bool { return c.held[t] }) {
		return seq
	}
	return slices.DeleteFunc(slices.Clone(seq), func(t int32) bool { return c.held[t] })
}
