package finetune

import (
	"math"
	"math/rand/v2"
	"slices"

	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
)

// maskedScore is what is added to the score of a text that is no negative.
const maskedScore = -1e9

// batch is one training step: packed texts and the queries over them.
type batch struct {
	*pack
	queries      int
	queryWeights []float32 // queries x texts: what a text weighs in a query's mean
	shift        []float32 // queries x texts: added to a text's score
	target       []float32 // queries x texts: 1 at the text that came next
}

// sampler deals out batches: windows of histories in random order, each once before the first comes again.
type sampler struct {
	corpus         *corpus
	cfg            *Config
	shape          batchShape
	lowerStates    [][]float32
	all, newEvents shuffle
	shift          []float32 // by text
	maxWindow      int       // window
	rng            *rand.Rand
}

// shuffle is sequences without what is held out, and the order in which they come.
type shuffle struct {
	sequences [][]int32
	order     []int
}

func (d *shuffle) draw(r *rand.Rand) []int32 {
	if len(d.order) == 0 {
		d.order = r.Perm(len(d.sequences))
	}
	last := len(d.order) - 1
	seq := d.sequences[d.order[last]]
	d.order = d.order[:last]
	return seq
}

// newEventsShare of the lessons are of users with something new, where it is known who they are.
const newEventsShare = 0.5

func newSampler(c *corpus, cfg *Config, s batchShape, lower [][]float32) *sampler {
	l := &sampler{
		corpus:      c,
		cfg:         cfg,
		shape:       s,
		lowerStates: lower,
		rng:         rand.New(rand.NewPCG(cfg.Seed, 0x1e550)),
	}
	l.maxWindow = min(cfg.HistoryLength, max(2, s.slots()/c.meanTokens()/minBatchUsers))
	often := make([]float64, len(c.tokens))
	total := 0.0
	for i, seq := range c.sequences {
		if seq = c.withoutHeldOut(seq); len(seq) > 1 {
			l.all.sequences = append(l.all.sequences, seq)
			if _, is := slices.BinarySearch(c.newEvents, i); is {
				l.newEvents.sequences = append(l.newEvents.sequences, seq)
			}
		}
		for _, t := range seq {
			often[t]++
			total++
		}
	}
	// How likely a text is in a batch is in its score unless it is taken out (Bengio and Senécal 2008).
	l.shift = make([]float32, len(often))
	for t, n := range often {
		if n > 0 {
			l.shift[t] = float32(-cfg.LogQ * math.Log(n/total*float64(len(often))))
		}
	}
	return l
}

// nextBatch deals a batch.
func (l *sampler) nextBatch() *batch {
	b := &batch{pack: newPack(l.shape, l.corpus, l.lowerStates)}
	n := l.shape.texts
	b.queryWeights, b.shift, b.target = make([]float32,
		n*n), make([]float32, n*n), make([]float32, n*n)
	var windows, owners [][]int32
	for dealt := 0; dealt < len(l.all.sequences); dealt++ {
		from := &l.all
		if len(l.newEvents.sequences) > 0 && l.rng.Float64() < newEventsShare {
			from = &l.newEvents
		}
		seq := from.draw(l.rng)
		window := l.randomWindow(seq)
		fit := 0
		for fit < len(window) && b.add(window[fit]) {
			fit++
		}
		if fit > 1 {
			windows, owners = append(windows, window[:fit]), append(owners, seq)
		}
		if fit < len(window) {
			break
		}
	}
	for i, w := range windows {
		l.addQueries(b, w, owners[i])
	}
	return b
}

// minBatchUsers share a batch, about: where texts are so long that few fit in, less of each history is read.
const minBatchUsers = 4

// randomWindow is a part of a sequence that is not too long, at random.
func (l *sampler) randomWindow(seq []int32) []int32 {
	if len(seq) <= l.maxWindow {
		return seq
	}
	from := l.rng.IntN(len(seq) - l.maxWindow + 1)
	return seq[from : from+l.maxWindow]
}

// addQueries makes a query of each place of a window but the first. Nothing else that the user did is a negative for him.
func (l *sampler) addQueries(b *batch, window, all []int32) {
	n := l.shape.texts
	for place := 1; place < len(window) && b.queries < n; place++ {
		if slices.Contains(window[:place], window[place]) {
			continue // it would point at itself
		}
		row := b.queries * n
		b.queries++
		for text, number := range b.index {
			b.shift[row+number] = l.shift[text]
		}
		for _, text := range all {
			if number, ok := b.index[text]; ok {
				b.shift[row+number] = maskedScore
			}
		}
		next := b.index[window[place]]
		b.shift[row+next], b.target[row+next] = l.shift[window[place]], 1
		for number := len(b.texts); number < n; number++ {
			b.shift[row+number] = maskedScore
		}
		forEachHistoryWeight(window[:place], l.cfg,
			func(text int32, weight float32) { b.queryWeights[row+b.index[text]] += weight })
	}
}

// forEachHistoryWeight tells what the newest texts of a history, oldest first, weigh in a query: each less than the next newer one.
func forEachHistoryWeight(history []int32, cfg *Config, use func(text int32, weight float32)) {
	weight := float32(1)
	for k := len(history) - 1; k >= max(0, len(history)-cfg.HistoryLength); k-- {
		use(history[k], weight)
		weight *= float32(cfg.HistoryDecay)
	}
}

// tensors are the batch as the training graph takes it.
func (b *batch) tensors() []any {
	in, n := b.pack.tensors(), b.batchShape.texts
	for _, part := range [][]float32{b.queryWeights, b.shift, b.target} {
		in = append(in, tensors.FromFlatDataAndDimensions(part, n, n))
	}
	return in
}

// infoNCE is the mean over the queries of the softmax loss of the next text's similarity (InfoNCE, van den Oord et al. 2018).
func infoNCE(vectors, mix, shift, target *Node, temperature float64) *Node {
	query := unitRows(Dot(mix, vectors))
	score := Add(MulScalar(Dot(query, Transpose(vectors, 0, 1)), 1/temperature), shift)
	top := StopGradient(ReduceAndKeep(score, ReduceMax, -1))
	all := Add(Log(ReduceAndKeep(Exp(Sub(score, top)), ReduceSum, -1)), top)
	return Div(ReduceAllSum(Mul(target, Sub(all, score))), ReduceAllSum(target))
}
