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

// world is a catalogue with random learned tables over it. Items "k0", "k1", ... are known, "n0", ... are not.
type world struct {
	sizes
	r       *rand.Rand
	known   int
	table   *ranker.ItemTable
	infos   map[string]*ranker.ItemInfo
	vectors map[string][]float32

	pairs   *signals.Cooccurrence
	factor  *signals.MatrixFactorization
	taste   *signals.ResidualGP
	content *signals.ContentPrior
	terms   *signals.Lexical
	idfs    []float32
}

const newItems = 12

// sizes are those of learned tables.
type sizes struct{ text, textDim, fieldDim, factors, taste, neighbours int }

var (
	small  = sizes{text: 12, textDim: 5, fieldDim: 3, factors: 16, taste: 4, neighbours: 12}
	served = sizes{text: 384, textDim: 48, fieldDim: 32, factors: 64, taste: 16, neighbours: 200} // what training makes
)

func (w *world) floats(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(w.r.NormFloat64())
	}
	return out
}

var vocabulary = strings.Fields("sea bread jazz moon ghost garden war cat river clock salt owl paper engine winter glass")

func (w *world) item(id string) {
	if w.r.IntN(10) == 0 {
		return // nobody described it
	}
	pick := func(n int) (out []string) {
		for range w.r.IntN(n) {
			out = append(out, vocabulary[w.r.IntN(len(vocabulary))])
		}
		return out
	}
	it := ranker.Item{ID: id, Title: strings.Join(pick(5), " "), Tags: pick(3), Fields: map[string]ranker.FieldValue{}}
	for _, f := range []string{"genre", "mood", "place", "era"} {
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
	w := &world{sizes: size, r: rand.New(rand.NewPCG(seed, 77)), known: known, infos: map[string]*ranker.ItemInfo{}, vectors: map[string][]float32{}}
	var ids []string
	for i := range known {
		ids = append(ids, fmt.Sprint("k", i))
		w.item(ids[i])
	}
	for i := range newItems {
		w.item(fmt.Sprint("n", i))
	}
	w.table = ranker.NewItemTable(ids)
	w.learn()
	return w
}

func (w *world) learn() {
	n := w.known
	w.pairs = &signals.Cooccurrence{Items: w.table, First: []int32{0}}
	for range n {
		w.pairs.Counts = append(w.pairs.Counts, float32(w.r.IntN(50)))
		for _, other := range w.r.Perm(n)[:w.r.IntN(min(n, w.neighbours))] {
			w.pairs.Neighbors = append(w.pairs.Neighbors, int32(other))
			w.pairs.NextCounts, w.pairs.JointCounts = append(w.pairs.NextCounts, w.r.Float32()*5), append(w.pairs.JointCounts, w.r.Float32()*9)
		}
		w.pairs.First = append(w.pairs.First, int32(len(w.pairs.Neighbors)))
	}

	dim := w.factors
	w.factor = &signals.MatrixFactorization{Items: w.table, Dim: dim, Vectors: w.floats(n * dim), Gram: make([]float32, dim*dim), Alpha: 10, Lambda: 1}
	for i := range w.factor.Vectors {
		w.factor.Vectors[i] *= 0.2
	}
	for i := range n {
		v := w.factor.Vector(int32(i))
		for a := range dim {
			for b := range dim {
				w.factor.Gram[a*dim+b] += v[a] * v[b]
			}
		}
	}

	space := &signals.Projection{TextDim: w.textDim, FieldDim: w.fieldDim, TextProjection: w.floats(w.textDim * w.text), TextOffset: w.floats(w.textDim)}
	for _, f := range []string{"genre", "mood", "place", "tags"} {
		for _, v := range vocabulary[:10] {
			space.FieldValues = append(space.FieldValues, signals.FieldValueKey(f, v))
		}
	}
	slices.Sort(space.FieldValues)
	space.FieldVectors = w.floats(w.fieldDim * len(space.FieldValues))

	cd, td := space.Dim(), w.sizes.taste
	w.taste = &signals.ResidualGP{Items: w.table, LogOdds: w.floats(n), Content: space, ContentVectors: make([]float32, n*cd), Dim: td, LearnedVectors: w.floats(n * td),
		ContentToLearned: w.floats(td * cd), LearnedNoise: 0.5 + w.r.Float64(), ContentNoise: 1 + 4*w.r.Float64()}
	for i := range n {
		id := w.table.IDs()[i]
		space.Project(w.infos[id], w.vectors[id], w.taste.ContentVectors[i*cd:(i+1)*cd])
	}

	numbers := []string{"price", "used"}
	w.content = &signals.ContentPrior{Items: w.table, LeaveOneOut: w.floats(n), Projection: space, NumericFields: numbers, Means: w.floats(2),
		InverseStdDevs: []float32{0.7, 2}, Weights: w.floats(cd + 4), Intercept: w.r.NormFloat64()}

	info := ranker.NewItemInfo(ranker.Item{Title: strings.Join(vocabulary[:12], " ")}, nil)
	var idfs []float32
	for range info.Tokens {
		idfs = append(idfs, 0.2+w.r.Float32()*4)
	}
	w.idfs, w.terms = idfs, signals.NewLexical(info.Tokens, idfs, 5, 2.5)
}

func (w *world) all() []signals.TrainedSignal {
	return []signals.TrainedSignal{w.pairs, w.factor, w.taste, w.content, w.terms}
}

// anyID is mostly a known item.
func (w *world) anyID() string {
	if w.known == 0 || w.r.IntN(5) == 0 {
		return fmt.Sprint("n", w.r.IntN(newItems))
	}
	return fmt.Sprint("k", w.r.IntN(w.known))
}

// input asks for random candidates, some ranked as new, for a user with a random history.
func (w *world) input(candidates, history, shown int) *ranker.SignalInput {
	in := &ranker.SignalInput{Request: &ranker.Request{}, State: &ranker.RequestState{}}
	ids := append(slices.Clone(w.table.IDs()), "n0", "n1", "n2", "n3", "n4", "n5")
	for _, at := range w.r.Perm(len(ids))[:min(candidates, len(ids))] {
		id := ids[at]
		in.Request.Candidates = append(in.Request.Candidates, ranker.Candidate{ID: id, ColdStart: w.r.IntN(8) == 0})
		in.State.Items = append(in.State.Items, w.infos[id])
		in.ItemVectors = append(in.ItemVectors, w.vectors[id])
	}
	for range history {
		id := w.anyID()
		in.State.Recent = append(in.State.Recent, ranker.Interaction{Item: id, Action: "click"})
		in.State.RecentItems = append(in.State.RecentItems, w.infos[id])
		in.RecentVectors = append(in.RecentVectors, w.vectors[id])
	}
	at := int64(1e12)
	for range shown {
		if w.r.IntN(6) == 0 {
			at -= 1000
		}
		in.State.Shown = append(in.State.Shown, ranker.Shown{Item: w.anyID(), Time: at, Clicked: w.r.IntN(4) == 0})
	}
	if w.r.IntN(2) == 0 {
		in.Query = ranker.NewItemInfo(ranker.Item{Title: "sea cat nowhere glass"}, nil)
	}
	return in
}

// number is the table's for a candidate.
func (w *world) number(c *ranker.Candidate) int {
	if c.ColdStart {
		return -1
	}
	return int(w.table.Index(c.ID))
}
