package ranker

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"relish/internal/parallel"
)

// matchInput gathers the vectors of candidates, history and query, by the model's encoder: those at hand at once,
// and what is missing for as long as the deadline's slice lasts.
func (r *ranking) matchInput(ctx context.Context, model *Model) *SignalInput {
	start := time.Now()
	defer func() { r.timing(StageVectors, start) }()
	n, h := len(r.req.Candidates), len(r.state.RecentItems)
	in := &SignalInput{Request: r.req, State: r.state, Now: r.now, Query: r.query(), indexCache: &itemIndexCache{}}
	items := make([]*ItemInfo, 0, n+h+1)
	items = append(append(append(items, r.state.Items...), r.state.RecentItems...), in.Query)
	texts := r.texts(model)
	vectors := r.fetch(ctx, texts, items)
	in.ItemVectors, in.RecentVectors, in.QueryVector = vectors[:n:n], vectors[n:n+h:n+h], vectors[n+h]
	r.vectors = in.ItemVectors
	r.cover(texts != nil)
	return in
}

// texts are the vectors of the encoder that a model was trained with.
func (r *ranking) texts(m *Model) Vectors {
	if m.Vectors != nil {
		return m.Vectors
	}
	return r.opt.Vectors
}

// query is the request's search text as an item, nil without one.
func (r *ranking) query() *ItemInfo {
	q := r.req.Context["query"]
	if q.Kind != String || q.Str == "" {
		return nil
	}
	return NewItemInfo(Item{Title: q.Str}, TextSpec{"title"})
}

func (r *ranking) fetch(ctx context.Context, texts Vectors, items []*ItemInfo) [][]float32 {
	vectors := make([][]float32, len(items))
	if texts == nil || texts.Lookup(items, vectors) == 0 {
		return vectors
	}
	ctx, cancel := r.slice(ctx, vectorsBy)
	defer cancel()
	fetched, err := within(ctx, func(ctx context.Context) ([][]float32, error) {
		out := make([][]float32, len(items))
		texts.Fetch(ctx, items, out)
		return out, nil
	})
	if err != nil {
		// Vectors returns when its context ends; this is the race between the two, or a fault.
		r.errs = append(r.errs, fmt.Errorf("vectors: %w", err))
		texts.Lookup(items, vectors)
		return vectors
	}
	return fetched
}

// cover sets coverage.text, and names embeddings_partial exactly when it is below 1.
func (r *ranking) cover(read bool) {
	texts, found := 0, 0
	for i, it := range r.state.Items {
		if it == nil || it.TextKey == 0 || !read {
			continue
		}
		texts++
		if r.vectors[i] != nil {
			found++
		}
	}
	r.resp.Coverage.Text = 1
	if found < texts {
		r.resp.Coverage.Text = float64(found) / float64(texts)
		r.degrade(EmbeddingsPartial)
	}
}

// fewCandidates are matched on one processor: to wake another would take longer.
const fewCandidates = 32

// match runs the matchers, several at once; the columns of one that fails or is late are missing (its block is nil).
func match(ctx context.Context, until time.Time, matchers []Signal, in *SignalInput) (blocks [][]float32, errs []error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	blocks, errs = make([][]float32, len(matchers)), make([]error, len(matchers))
	one := func(k int) {
		m := matchers[k]
		block := make([]float32, len(in.ItemVectors)*len(m.Columns()))
		if err := guard(func() error { return m.Compute(ctx, in, block) }); err != nil {
			errs[k] = fmt.Errorf("matcher %v: %w", m.Columns(), err)
			return
		}
		blocks[k] = block
	}
	if len(in.ItemVectors) < fewCandidates {
		for k := range matchers {
			one(k)
		}
	} else {
		parallel.Each(len(matchers), one)
	}
	return blocks, slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// tieBreak is what equal scores are ordered by: a hash of item and seed, so that neither the input's order
// nor the id itself decides.
func tieBreak(id string, seed uint64) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(seed)
	_, _ = d.WriteString(id)
	return d.Sum64()
}

// sortByScore orders candidate indices by descending score, ties by hash.
func (r *ranking) sortByScore(scores []float64) []int {
	type key struct {
		score float64
		tie   uint64
		index int
	}
	keys := make([]key, len(scores))
	for i, s := range scores {
		keys[i] = key{s, tieBreak(r.req.Candidates[i].ID, r.seed), i}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.score != b.score {
			return cmp.Compare(b.score, a.score)
		}
		if a.tie != b.tie {
			return cmp.Compare(a.tie, b.tie)
		}
		return cmp.Compare(r.req.Candidates[a.index].ID, r.req.Candidates[b.index].ID)
	})
	out := make([]int, len(keys))
	for i, k := range keys {
		out[i] = k.index
	}
	return out
}

func (r *ranking) order() {
	r.list = List{Request: r.req, State: r.state, Vectors: r.vectors, Entries: make([]Entry, len(r.scores))}
	for place, i := range r.sortByScore(r.scores) {
		r.list.Entries[place] = Entry{Index: i, Score: r.scores[i]}
	}
}

// steps applies the post-steps; one that fails leaves the list as it was.
func (r *ranking) steps(ctx context.Context) {
	if r.plan.Rules == (RuleSet{}) {
		return
	}
	start := time.Now()
	defer func() { r.timing(StageRules, start) }()
	for slot := range r.plan.Rules {
		s := r.plan.Rules[slot] // not ranged over: an arm that falls takes its later steps along
		if s == nil {
			continue
		}
		kept := r.list
		kept.Entries = slices.Clone(r.list.Entries)
		if err := guard(func() error { return s.Apply(ctx, &r.list) }); err != nil {
			r.errs = append(r.errs, fmt.Errorf("step %s: %w", s.Name(), err))
			r.list = kept
			r.fall(RuleKind(slot).Part(), err)
		}
	}
}

func (r *ranking) answer() {
	n := len(r.list.Entries)
	if r.req.Limit > 0 {
		n = min(n, r.req.Limit)
	}
	r.resp.Items = make([]RankedItem, n)
	for i, e := range r.list.Entries[:n] {
		r.resp.Items[i] = RankedItem{ID: r.req.Candidates[e.Index].ID, Rank: i + 1, Score: r.side(i).scores[e.Index]}
	}
}

// explain explains the first items of the answer in the time that is left.
func (r *ranking) explain(ctx context.Context) {
	if r.req.Explain == 0 {
		return
	}
	start := time.Now()
	defer func() { r.timing(StageExplain, start) }()
	ctx, cancel := r.slice(ctx, explainBy)
	defer cancel()
	if r.model == nil || ctx.Err() != nil {
		r.degrade(ExplainPartial)
		return
	}
	for i := range r.resp.Items[:min(r.req.Explain, len(r.resp.Items))] {
		err := ctx.Err()
		if err == nil {
			err = guard(func() (err error) {
				r.resp.Items[i].Explain, err = r.side(i).explainOne(r.list.Entries[i])
				return err
			})
		}
		if err != nil {
			r.errs = append(r.errs, fmt.Errorf("explain: %w", err))
			r.degrade(ExplainPartial)
			return
		}
	}
}

// placesWithoutText returns each candidate's place, among those that the rules left, when every text
// column is missing. It is computed once.
func (r *ranking) placesWithoutText() ([]int, error) {
	if r.places != nil {
		return r.places, nil
	}
	scores := make([]float64, len(r.scores))
	if err := r.model.Scorer.Score(r.matrix.withoutGroup(GroupText), scores); err != nil {
		return nil, err
	}
	left := make([]bool, len(scores))
	for _, e := range r.list.Entries {
		left[e.Index] = true
	}
	places := make([]int, len(scores))
	place := 0
	for _, i := range r.sortByScore(scores) {
		if left[i] {
			place++
			places[i] = place
		}
	}
	r.places = places
	return places, nil
}

func (r *ranking) explainOne(e Entry) (*Explanation, error) {
	places, err := r.placesWithoutText()
	if err != nil {
		return nil, err
	}
	parts := make([]float64, len(r.blended.Columns))
	base, err := r.model.Scorer.Explain(r.blended, e.Index, parts)
	if err != nil {
		return nil, err
	}
	x := &Explanation{Base: base, MovedBy: e.MovedBy, RankWithoutText: places[e.Index]}
	row := r.blended.Row(e.Index)
	for c, part := range parts {
		if part != 0 {
			col := r.blended.Columns[c]
			x.Contributions = append(x.Contributions, Contribution{col.Name, col.Group, float64(row[c]), part})
		}
	}
	slices.SortStableFunc(x.Contributions, func(a, b Contribution) int {
		return cmp.Compare(math.Abs(b.Contribution), math.Abs(a.Contribution))
	})
	return x, nil
}

// record hands the impression to the recorder. A request with a clock of its own, or that asks not
// to be recorded, leaves no trace.
func (r *ranking) record() {
	if r.opt.Recorder == nil || !r.req.Record || r.req.Time != 0 || len(r.resp.Items) == 0 {
		return
	}
	n := min(len(r.resp.Items), MaxImpressionItems)
	imp := &Impression{ID: r.req.ID, Time: r.now, User: r.req.User, Session: r.req.Session, Context: r.req.Context,
		Model: r.resp.Model, Degraded: r.resp.Degraded, StateSeq: r.state.Seq, Took: time.Since(r.start)}
	imp.Items, imp.Replayable = make([]string, n), n == len(r.req.Candidates)
	for i, e := range r.list.Entries[:n] {
		c := &r.req.Candidates[e.Index]
		imp.Items[i] = c.ID
		imp.Replayable = imp.Replayable && c.Inline == nil
		if !c.HasScore {
			continue
		}
		if imp.Scores == nil {
			imp.Scores = make([]float64, n)
		}
		imp.Scores[i] = float64(c.Score)
	}
	r.recordArms(imp, n)
	if r.list.Propensity != nil {
		imp.Propensity = slices.Clone(r.list.Propensity[:n])
	}
	if r.model != nil {
		imp.SchemaHash, imp.MatrixHash = r.model.Schema.Hash(), r.matrix.Hash(r.req.Candidates)
		if share := float64(xxhash.Sum64String(r.req.ID)>>11) / (1 << 53); share < r.opt.LogFeatures {
			for _, e := range r.list.Entries[:n] {
				imp.Matrix = append(imp.Matrix, r.matrix.Row(e.Index)...)
			}
		}
	}
	r.opt.Recorder.Record(imp)
}
