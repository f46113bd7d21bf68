package encoder

import (
	"math"
	"math/rand/v2"
	"slices"

	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
)

// outOfReach is what is added to the score of a text that is no negative.
const outOfReach = -1e9

// batch is one training step: packed texts and the queries over them.
type batch struct {
	*pack
	queries int
	mix     []float32 // queries x texts: what a text weighs in a query's mean
	shift   []float32 // queries x texts: added to a text's score
	target  []float32 // queries x texts: 1 at the text that came next
}

// lessons deals out batches: windows of histories in random order, each once before the first comes again.
type lessons struct {
	corpus     *corpus
	cfg        *Config
	shape      shape
	lower      [][]float32
	all, fresh deck
	shift      []float32 // by text
	longest    int       // window
	r          *rand.Rand
}

// deck is sequences without what is held out, and the order in which they come.
type deck struct {
	sequences [][]int32
	order     []int
}

func (d *deck) draw(r *rand.Rand) []int32 {
	if len(d.order) == 0 {
		d.order = r.Perm(len(d.sequences))
	}
	last := len(d.order) - 1
	seq := d.sequences[d.order[last]]
	d.order = d.order[:last]
	return seq
}

// freshShare of the lessons are of users with something new, where it is known who they are.
const freshShare = 0.5

func newLessons(c *corpus, cfg *Config, s shape, lower [][]float32) *lessons {
	l := &lessons{corpus: c, cfg: cfg, shape: s, lower: lower, r: rand.New(rand.NewPCG(cfg.Seed, 0x1e550))}
	l.longest = min(cfg.History, max(2, s.slots()/c.tokensOfText()/fewestUsers))
	often := make([]float64, len(c.tokens))
	total := 0.0
	for i, seq := range c.sequences {
		if seq = c.seen(seq); len(seq) > 1 {
			l.all.sequences = append(l.all.sequences, seq)
			if _, is := slices.BinarySearch(c.fresh, i); is {
				l.fresh.sequences = append(l.fresh.sequences, seq)
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

// next deals a batch.
func (l *lessons) next() *batch {
	b := &batch{pack: newPack(l.shape, l.corpus, l.lower)}
	n := l.shape.texts
	b.mix, b.shift, b.target = make([]float32, n*n), make([]float32, n*n), make([]float32, n*n)
	var windows, owners [][]int32
	for dealt := 0; dealt < len(l.all.sequences); dealt++ {
		from := &l.all
		if len(l.fresh.sequences) > 0 && l.r.Float64() < freshShare {
			from = &l.fresh
		}
		seq := from.draw(l.r)
		window := l.window(seq)
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
		l.ask(b, w, owners[i])
	}
	return b
}

// fewestUsers share a batch, about: where texts are so long that few fit in, less of each history is read.
const fewestUsers = 4

// window is a part of a sequence that is not too long, at random.
func (l *lessons) window(seq []int32) []int32 {
	if len(seq) <= l.longest {
		return seq
	}
	from := l.r.IntN(len(seq) - l.longest + 1)
	return seq[from : from+l.longest]
}

// ask makes a query of each place of a window but the first. Nothing else that the user did is a negative for him.
func (l *lessons) ask(b *batch, window, all []int32) {
	n := l.shape.texts
	for place := 1; place < len(window) && b.queries < n; place++ {
		if slices.Contains(window[:place], window[place]) {
			continue // it would point at itself
		}
		row := b.queries * n
		b.queries++
		for text, number := range b.number {
			b.shift[row+number] = l.shift[text]
		}
		for _, text := range all {
			if number, ok := b.number[text]; ok {
				b.shift[row+number] = outOfReach
			}
		}
		next := b.number[window[place]]
		b.shift[row+next], b.target[row+next] = l.shift[window[place]], 1
		for number := len(b.texts); number < n; number++ {
			b.shift[row+number] = outOfReach
		}
		weigh(window[:place], l.cfg, func(text int32, weight float32) { b.mix[row+b.number[text]] += weight })
	}
}

// weigh tells what the newest texts of a history, oldest first, weigh in a query: each less than the next newer one.
func weigh(history []int32, cfg *Config, use func(text int32, weight float32)) {
	weight := float32(1)
	for k := len(history) - 1; k >= max(0, len(history)-cfg.History); k-- {
		use(history[k], weight)
		weight *= float32(cfg.Decay)
	}
}

// tensors are the batch as the training graph takes it.
func (b *batch) tensors() []any {
	in, n := b.pack.tensors(), b.shape.texts
	for _, part := range [][]float32{b.mix, b.shift, b.target} {
		in = append(in, tensors.FromFlatDataAndDimensions(part, n, n))
	}
	return in
}

// loss is the mean over the queries of the softmax loss of the next text's similarity (InfoNCE, van den Oord et al. 2018).
func loss(vectors, mix, shift, target *Node, temperature float64) *Node {
	query := unit(Dot(mix, vectors))
	score := Add(MulScalar(Dot(query, Transpose(vectors, 0, 1)), 1/temperature), shift)
	top := StopGradient(ReduceAndKeep(score, ReduceMax, -1))
	all := Add(Log(ReduceAndKeep(Exp(Sub(score, top)), ReduceSum, -1)), top)
	return Div(ReduceAllSum(Mul(target, Sub(all, score))), ReduceAllSum(target))
}
