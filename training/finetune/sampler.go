package finetune

import (
	"math"
	"math/rand/v2"
	"slices"

	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
)

// maskedScore is added to the score of a text that must not be a negative.
const maskedScore = -1e9

// batch is one training step: packed texts and the queries over them.
type batch struct {
	*pack
	queries      int
	queryWeights []float32 // queries x texts: weight of a text in the mean of the query
	shift        []float32 // queries x texts: added to the score of a text
	target       []float32 // queries x texts: 1 at the text that came next, else 0
}

// sampler draws batches. Sequences come in random order, each once before any repeats.
type sampler struct {
	corpus         *corpus
	cfg            *Config
	shape          batchShape
	lowerStates    [][]float32
	all, newEvents shuffle
	shift          []float32 // by text: popularity correction, see Config.LogQ
	maxWindow      int       // largest length of a window
	rng            *rand.Rand
}

// shuffle draws sequences in random order without replacement, and starts again after the last one.
// The sequences contain no held-out texts.
type shuffle struct {
	sequences [][]int32
	order     []int
}

func (s *shuffle) draw(r *rand.Rand) []int32 {
	if len(s.order) == 0 {
		s.order = r.Perm(len(s.sequences))
	}
	last := len(s.order) - 1
	seq := s.sequences[s.order[last]]
	s.order = s.order[:last]
	return seq
}

// newEventsShare is the probability of drawing a user with new events, if Input.HasNewEvents is
// given.
const newEventsShare = 0.5

func newSampler(c *corpus, cfg *Config, shape batchShape, lower [][]float32) *sampler {
	s := &sampler{
		corpus:      c,
		cfg:         cfg,
		shape:       shape,
		lowerStates: lower,
		rng:         rand.New(rand.NewPCG(cfg.Seed, 0x1e550)),
	}
	s.maxWindow = min(cfg.HistoryLength, max(2, shape.slots()/c.meanTokens()/minBatchUsers))
	counts := make([]float64, len(c.tokens))
	total := 0.0
	for i, seq := range c.sequences {
		if seq = c.withoutHeldOut(seq); len(seq) > 1 {
			s.all.sequences = append(s.all.sequences, seq)
			if _, found := slices.BinarySearch(c.newEvents, i); found {
				s.newEvents.sequences = append(s.newEvents.sequences, seq)
			}
		}
		for _, t := range seq {
			counts[t]++
			total++
		}
	}
	// Popular texts are negatives more often, which lowers their learned scores. The shift
	// compensates for this (Bengio and Senécal 2008).
	s.shift = make([]float32, len(counts))
	for t, n := range counts {
		if n > 0 {
			s.shift[t] = float32(-cfg.LogQ * math.Log(n/total*float64(len(counts))))
		}
	}
	return s
}

// nextBatch draws windows of sequences until the next text does not fit.
func (s *sampler) nextBatch() *batch {
	b := &batch{pack: newPack(s.shape, s.corpus, s.lowerStates)}
	n := s.shape.texts
	b.queryWeights, b.shift = make([]float32, n*n), make([]float32, n*n)
	b.target = make([]float32, n*n)
	var windows, sequences [][]int32
	for drawn := 0; drawn < len(s.all.sequences); drawn++ {
		from := &s.all
		if len(s.newEvents.sequences) > 0 && s.rng.Float64() < newEventsShare {
			from = &s.newEvents
		}
		seq := from.draw(s.rng)
		window := s.randomWindow(seq)
		added := 0
		for added < len(window) && b.add(window[added]) {
			added++
		}
		if added > 1 {
			windows, sequences = append(windows, window[:added]), append(sequences, seq)
			s.addHardNegatives(b, seq)
		}
		if added < len(window) {
			break
		}
	}
	for i, w := range windows {
		s.addQueries(b, w, sequences[i])
	}
	return b
}

// addHardNegatives adds some of the texts that were offered beside the one of a pair, as far as
// they fit.
func (s *sampler) addHardNegatives(b *batch, pair []int32) {
	if s.corpus.pairs == nil {
		return
	}
	others := s.corpus.pairs.others[pair[0]]
	for range min(hardNegatives, len(others)) {
		b.add(others[s.rng.IntN(len(others))])
	}
}

// minBatchUsers is the approximate least number of users in a batch. If texts are long and few fit,
// the windows of the histories get shorter.
const minBatchUsers = 4

// randomWindow returns a random part of a sequence with at most maxWindow texts.
func (s *sampler) randomWindow(seq []int32) []int32 {
	if len(seq) <= s.maxWindow {
		return seq
	}
	from := s.rng.IntN(len(seq) - s.maxWindow + 1)
	return seq[from : from+s.maxWindow]
}

// addQueries adds a query for each position of a window except the first. No other text of the
// user's sequence, all, is a negative.
func (s *sampler) addQueries(b *batch, window, all []int32) {
	n := s.shape.texts
	for pos := 1; pos < len(window) && b.queries < n; pos++ {
		if slices.Contains(window[:pos], window[pos]) {
			continue // the query would contain its own target
		}
		row := b.queries * n
		b.queries++
		for text, number := range b.index {
			b.shift[row+number] = s.shift[text]
		}
		for _, text := range all {
			if number, ok := b.index[text]; ok {
				b.shift[row+number] = maskedScore
			}
		}
		for number, text := range b.texts {
			if s.corpus.pairs.isFalseNegative(window[0], text) {
				b.shift[row+number] = maskedScore
			}
		}
		next := b.index[window[pos]]
		b.shift[row+next], b.target[row+next] = s.shift[window[pos]], 1
		for number := len(b.texts); number < n; number++ {
			b.shift[row+number] = maskedScore
		}
		forEachHistoryWeight(window[:pos], s.cfg,
			func(text int32, weight float32) { b.queryWeights[row+b.index[text]] += weight })
	}
}

// forEachHistoryWeight calls use with the newest texts of a history and their weights. The history
// starts with its oldest text. Each text weighs less than the next newer one.
func forEachHistoryWeight(history []int32, cfg *Config, use func(text int32, weight float32)) {
	weight := float32(1)
	for k := len(history) - 1; k >= max(0, len(history)-cfg.HistoryLength); k-- {
		use(history[k], weight)
		weight *= float32(cfg.HistoryDecay)
	}
}

// tensors returns the batch in the order of the training graph's inputs.
func (b *batch) tensors() []any {
	in, n := b.pack.tensors(), b.batchShape.texts
	for _, part := range [][]float32{b.queryWeights, b.shift, b.target} {
		in = append(in, tensors.FromFlatDataAndDimensions(part, n, n))
	}
	return in
}

// infoNCE is the mean softmax loss of the next text over the queries (InfoNCE, van den Oord et al.
// 2018). vectors is texts x dim; the other nodes are queries x texts, as in batch.
func infoNCE(vectors, weights, shift, target *Node, temperature float64) *Node {
	query := unitRows(Dot(weights, vectors))
	score := Add(MulScalar(Dot(query, Transpose(vectors, 0, 1)), 1/temperature), shift)
	top := StopGradient(ReduceAndKeep(score, ReduceMax, -1))
	all := Add(Log(ReduceAndKeep(Exp(Sub(score, top)), ReduceSum, -1)), top)
	return Div(ReduceAllSum(Mul(target, Sub(all, score))), ReduceAllSum(target))
}
