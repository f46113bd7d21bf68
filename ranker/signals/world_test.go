package signals_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"relish/ranker"
	"relish/ranker/signals"
)

// world is a catalogue with random trained signals. Items "k0", "k1", … are known to the signals,
// items "n0", "n1", … are not.
type world struct {
	sizes
	r       *rand.Rand
	known   int
	table   *ranker.ItemTable
	infos   map[string]*ranker.ItemInfo
	vectors map[string][]float32

	cooccurrence  *signals.Cooccurrence
	factorization *signals.MatrixFactorization
	residual      *signals.ResidualGP
	contentPrior  *signals.ContentPrior
	lexical       *signals.Lexical
	means         []float32 // of the lexical signal, aligned with idfs
	similarity    signals.TextSimilarity
	queryHistory  *signals.QueryHistory // nil if no item is known
	idfs          []float32             // of the first 12 words of the vocabulary
}

const newItems = 12

// sizes are the dimensions of trained signals.
type sizes struct{ text, textDim, fieldDim, factors, learned, neighbors int }

var (
	small = sizes{text: 12, textDim: 5, fieldDim: 3, factors: 16, learned: 4, neighbors: 12}
	// production has the dimensions that training uses.
	production = sizes{
		text:      384,
		textDim:   48,
		fieldDim:  32,
		factors:   64,
		learned:   16,
		neighbors: 200,
	}
)

func (w *world) floats(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(w.r.NormFloat64())
	}
	return out
}

var vocabulary = strings.Fields(
	"sea bread jazz moon ghost garden war cat river clock salt owl paper engine winter glass")

// describe draws the content of an item. One item in ten has none.
func (w *world) describe(id string) {
	if w.r.IntN(10) == 0 {
		return
	}
	pick := func(n int) (out []string) {
		for range w.r.IntN(n) {
			out = append(out, vocabulary[w.r.IntN(len(vocabulary))])
		}
		return out
	}
	it := ranker.Item{
		ID:     id,
		Title:  strings.Join(pick(5), " "),
		Tags:   pick(3),
		Fields: map[string]ranker.FieldValue{},
	}
	for _, f := range []string{"genre", "mood", "setting", "era"} {
		if w.r.IntN(4) > 0 {
			it.Fields[f] = ranker.StringsValue(pick(4))
		}
	}
	if w.r.IntN(3) > 0 {
		it.Fields["price"] = ranker.NumberValue(w.r.NormFloat64() * math.Exp(6*w.r.Float64()))
	}
	if w.r.IntN(3) > 0 {
		it.Fields["used"] = ranker.BoolValue(w.r.IntN(2) == 0)
	}
	w.infos[id] = ranker.NewItemInfo(it, nil)
	if w.r.IntN(6) > 0 {
		w.vectors[id] = unit(w.r, w.text)
	}
}

func newWorld(seed uint64, known int) *world { return sizedWorld(seed, known, small) }

func sizedWorld(seed uint64, known int, size sizes) *world {
	w := &world{
		sizes:   size,
		r:       rand.New(rand.NewPCG(seed, 77)),
		known:   known,
		infos:   map[string]*ranker.ItemInfo{},
		vectors: map[string][]float32{},
	}
	var ids []string
	for i := range known {
		ids = append(ids, fmt.Sprint("k", i))
		w.describe(ids[i])
	}
	for i := range newItems {
		w.describe(fmt.Sprint("n", i))
	}
	w.table = ranker.NewItemTable(ids)
	w.learn()
	return w
}

// learn draws the trained signals. The order of the draws matters to seeds.
func (w *world) learn() {
	w.learnCooccurrence()
	w.learnFactorization()
	w.learnContent()
	info := ranker.NewItemInfo(ranker.Item{Title: strings.Join(vocabulary[:12], " ")}, nil)
	for range info.Tokens {
		w.idfs = append(w.idfs, 0.2+w.r.Float32()*4)
	}
	for i, idf := range w.idfs {
		w.means = append(w.means, idf*0.02*float32(1+i%3))
	}
	w.lexical = signals.NewLexical(info.Tokens, w.idfs, w.means, 5, 2.5)
	mean := make([]float32, w.text)
	for d := range mean {
		mean[d] = 0.1*float32(d%4) - 0.05
	}
	w.similarity = signals.NewTextSimilarity(mean)
	w.learnQueryHistory()
}

// learnQueryHistory draws up to 8 search texts for each known item.
func (w *world) learnQueryHistory() {
	r := rand.New(rand.NewPCG(uint64(w.known), 78))
	first, rows := []int32{0}, [][]float32(nil)
	for range w.known {
		for range r.IntN(9) {
			rows = append(rows, unit(r, w.text))
		}
		first = append(first, int32(len(rows)))
	}
	if len(rows) > 0 {
		w.queryHistory = signals.NewQueryHistory(w.table, first, rows)
	}
}

func (w *world) learnCooccurrence() {
	c := &signals.Cooccurrence{Items: w.table, First: []int32{0}}
	for range w.known {
		c.Counts = append(c.Counts, float32(w.r.IntN(50)))
		for _, other := range w.r.Perm(w.known)[:w.r.IntN(min(w.known, w.neighbors))] {
			c.Neighbors = append(c.Neighbors, int32(other))
			c.NextCounts = append(c.NextCounts, w.r.Float32()*5)
			c.JointCounts = append(c.JointCounts, w.r.Float32()*9)
		}
		c.First = append(c.First, int32(len(c.Neighbors)))
	}
	w.cooccurrence = c
}

func (w *world) learnFactorization() {
	dim := w.factors
	f := &signals.MatrixFactorization{
		Items:   w.table,
		Dim:     dim,
		Vectors: w.floats(w.known * dim),
		Gram:    make([]float32, dim*dim),
		Alpha:   10,
		Lambda:  1,
	}
	for i := range f.Vectors {
		f.Vectors[i] *= 0.2
	}
	for i := range w.known {
		v := f.Vector(int32(i))
		for a := range dim {
			for b := range dim {
				f.Gram[a*dim+b] += v[a] * v[b]
			}
		}
	}
	w.factorization = f
}

func (w *world) learnContent() {
	projection := &signals.Projection{
		TextDim:        w.textDim,
		FieldDim:       w.fieldDim,
		TextProjection: w.floats(w.textDim * w.text),
		TextOffset:     w.floats(w.textDim),
	}
	for _, f := range []string{"genre", "mood", "setting", "tags"} {
		for _, v := range vocabulary[:10] {
			projection.FieldValues = append(projection.FieldValues, signals.FieldValueKey(f, v))
		}
	}
	slices.Sort(projection.FieldValues)
	projection.FieldVectors = w.floats(w.fieldDim * len(projection.FieldValues))
	f := &signals.ContentFeatures{
		Projection: projection, FieldCount: 4, FieldLimits: []float32{1, 2, 1, 3},
		Numbers: []signals.NumberScale{
			{Name: "price", Knots: []float32{-3, 0, 2, 40}, Quantiles: []float32{0.1, 0.4, 0.7, 1}},
			{Name: "used", Knots: []float32{0, 1}, Quantiles: []float32{0.25, 0.75}},
		},
	}
	for _, key := range projection.FieldValues {
		f.ValueWeights = append(f.ValueWeights, 0.5+w.r.Float32())
		field, _, _ := strings.Cut(key, "=")
		f.ValueFields = append(f.ValueFields, int32(fieldIndex(field)))
	}
	w.contentPrior = &signals.ContentPrior{
		Items: w.table, OutOfFold: w.floats(w.known), Features: f,
		Effects: signals.ContentEffects{
			Values: w.floats(len(f.ValueWeights)), Text: w.floats(w.textDim), Knots: w.floats(6),
			Missing: w.floats(2), Intercept: w.r.NormFloat64(),
		},
		MeanLogOdds: -1.5, PriorImpressions: 20,
	}
	w.learnResidual()
}

// fieldIndex returns the index of a field with strings in the kernel.
func fieldIndex(field string) int {
	return slices.Index([]string{"genre", "mood", "setting", "tags"}, field)
}

// learnResidual needs the content prior.
func (w *world) learnResidual() {
	k := signals.ItemKernel{
		Features: w.contentPrior.Features, LearnedDim: w.learned,
		Weights: signals.KernelWeights{
			Fields: []float32{0.4, 0.9, 0.2, 0.6}, Text: 0.5, Numbers: []float32{0.1, 0.03},
			Learned: 0.7, Scale: 1.5,
		},
	}
	var infos []*ranker.ItemInfo
	var vectors [][]float32
	for _, id := range w.table.IDs() {
		infos, vectors = append(infos, w.infos[id]), append(vectors, w.vectors[id])
	}
	w.residual = &signals.ResidualGP{
		Prior: w.contentPrior, LogOdds: w.floats(w.known),
		Kernel: signals.NewItemKernel(k, infos, vectors),
	}
	if w.r.IntN(2) == 0 {
		w.residual.Examination = []float32{1, 0.9, 0.95, 0.8, 0.7}
	}
	for i := range w.known {
		copy(w.residual.Kernel.LearnedVector(int32(i)), w.floats(w.learned))
	}
}

// trained returns all trained signals but the two-tower model.
func (w *world) trained() []signals.TrainedSignal {
	out := []signals.TrainedSignal{
		w.cooccurrence, w.factorization, w.residual, w.contentPrior, w.lexical, w.similarity,
	}
	if w.queryHistory != nil {
		out = append(out, w.queryHistory)
	}
	return out
}

// anyID returns the id of an item, mostly a known one.
func (w *world) anyID() string {
	if w.known == 0 || w.r.IntN(5) == 0 {
		return fmt.Sprint("n", w.r.IntN(newItems))
	}
	return fmt.Sprint("k", w.r.IntN(w.known))
}

// input returns a request of a user with a random history for random candidates. Some candidates
// are cold starts.
func (w *world) input(candidates, history, shown int) *ranker.SignalInput {
	in := &ranker.SignalInput{Request: &ranker.Request{}, State: &ranker.RequestState{}}
	ids := append(slices.Clone(w.table.IDs()), "n0", "n1", "n2", "n3", "n4", "n5")
	for _, at := range w.r.Perm(len(ids))[:min(candidates, len(ids))] {
		id := ids[at]
		in.Request.Candidates = append(
			in.Request.Candidates,
			ranker.Candidate{ID: id, ColdStart: w.r.IntN(8) == 0},
		)
		in.State.Items = append(in.State.Items, w.infos[id])
		in.ItemVectors = append(in.ItemVectors, w.vectors[id])
		counts := ranker.ItemCounts{Shown: float64(w.r.IntN(50)), Actions: float64(w.r.IntN(30))}
		in.State.Counts = append(in.State.Counts, counts)
	}
	for range history {
		id := w.anyID()
		in.State.Recent = append(in.State.Recent, ranker.Interaction{
			Item: id, Action: "click", Time: 1e12 - int64(w.r.IntN(30_000)),
		})
		in.State.RecentItems = append(in.State.RecentItems, w.infos[id])
		in.RecentVectors = append(in.RecentVectors, w.vectors[id])
	}
	at := int64(1e12)
	for range shown {
		if w.r.IntN(6) == 0 {
			at -= 1000
		}
		shown := ranker.Shown{Item: w.anyID(), Time: at, Clicked: w.r.IntN(4) == 0}
		in.State.Shown = append(in.State.Shown, shown)
	}
	if w.r.IntN(2) == 0 {
		in.Query = ranker.NewItemInfo(ranker.Item{Title: "sea cat nowhere glass"}, nil)
		in.QueryVector = unit(rand.New(rand.NewPCG(uint64(candidates), 79)), w.text)
	}
	return in
}

// index returns a candidate's index in the table, -1 for a cold start.
func (w *world) index(c *ranker.Candidate) int {
	if c.ColdStart {
		return -1
	}
	return int(w.table.Index(c.ID))
}
