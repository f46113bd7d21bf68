package evaluate

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
)

// Source gives the log's records in order; it is walked twice.
type Source func() iter.Seq2[event.Record, error]

// Case is one list to be scored, with the labels that no scorer may see.
type Case struct {
	Request *ranker.Request // candidates in the order that was shown; Time is the moment it was shown
	NewUser bool            // the user's first list
	gains   []float64
	// propensity is what the log has for each candidate, nil where it has none that can be used.
	propensity []float64
}

// Scorer scores the candidates of a case, aligned with Request.Candidates.
type Scorer interface {
	Name() string
	Score(ctx context.Context, c *Case) ([]float64, error)
}

// Follower is a Scorer with its own memory of the log.
type Follower interface{ Follow(rec *event.Record) }

// Options says what to score. The zero value of K and Negatives means 10 and 19.
type Options struct {
	Last        float64            // the newest share of the lists that is scored, 0 < Last <= 1
	Prequential bool               // false: state stands still where the scored part begins
	K           int                // NDCG@K
	Gains       map[string]float64 // action -> gain; others count 1
	Negatives   int                // sampled per list where the log has no impressions
	Seed        uint64
	unclicked   bool                  // lists without a label are cases too
	Progress    func(done, total int) // may be nil
}

// Walk replays the log into state and hands every scored case to score before the case's own
// events are applied. Lists whose labels are all zero are passed over: they say nothing of an order.
func Walk(ctx context.Context, src Source, state *features.State, opt Options, followers []Follower, score func(*Case) error) error {
	labels, err := collect(src, opt)
	if err != nil {
		return err
	}
	w := &walker{labels: labels, opt: opt, rng: rand.New(rand.NewPCG(opt.Seed, 1)), known: map[string]map[string]bool{}}
	frozen := false
	for rec, err := range src() {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if c := w.next(&rec); c != nil {
			if err := score(c); err != nil {
				return fmt.Errorf("list at sequence %d: %w", rec.Seq, err)
			}
			frozen = !opt.Prequential
		}
		if !frozen {
			state.Apply(&rec)
			for _, f := range followers {
				f.Follow(&rec)
			}
		}
		w.see(&rec)
	}
	return nil
}

// labels is what the first pass over the log finds.
type labels struct {
	gains map[string]map[string]float64 // impression -> item -> gain
	lists int                           // impressions, or interactions where there are no impressions
	bare  bool                          // no impressions at all
	items []string
}

func collect(src Source, opt Options) (*labels, error) {
	l := &labels{gains: map[string]map[string]float64{}}
	impressions, interactions := 0, 0
	for rec, err := range src() {
		if err != nil {
			return nil, err
		}
		switch e := &rec.Event; e.Kind {
		case event.Item:
			l.items = append(l.items, e.ItemID)
		case event.Impression:
			impressions++
		case event.Interaction:
			interactions++
			if e.ImpressionID == "" {
				continue
			}
			m := l.gains[e.ImpressionID]
			if m == nil {
				m = map[string]float64{}
				l.gains[e.ImpressionID] = m
			}
			m[e.ItemID] = max(m[e.ItemID], opt.gain(e.Action))
		}
	}
	l.lists, l.bare = impressions, impressions == 0
	if l.bare {
		l.lists = interactions
	}
	if l.lists == 0 {
		return nil, fmt.Errorf("the log holds neither impressions nor interactions: import some events first")
	}
	return l, nil
}

func (o *Options) gain(action string) float64 {
	if g, ok := o.Gains[action]; ok {
		return g
	}
	return 1
}

type walker struct {
	labels *labels
	opt    Options
	rng    *rand.Rand
	seen   int                        // lists so far
	known  map[string]map[string]bool // user -> items, for bare logs; user -> nil otherwise
}

// next returns the case that rec opens, or nil.
func (w *walker) next(rec *event.Record) *Case {
	e := &rec.Event
	var c *Case
	switch {
	case e.Kind == event.Impression && !w.labels.bare:
		w.seen++
		c = w.shown(e)
	case e.Kind == event.Interaction && w.labels.bare:
		w.seen++
		if len(w.known[e.UserID]) > 0 && !w.known[e.UserID][e.ItemID] {
			c = w.sampled(e)
		}
	}
	if c == nil || float64(w.seen) <= (1-w.opt.Last)*float64(w.labels.lists) {
		return nil
	}
	if w.opt.Progress != nil {
		w.opt.Progress(w.seen, w.labels.lists)
	}
	return c
}

func (w *walker) shown(e *event.Event) *Case {
	gains := w.labels.gains[e.ID]
	if len(gains) == 0 && !w.opt.unclicked {
		return nil
	}
	c := w.newCase(e)
	at := map[string]bool{}
	for i, id := range e.Shown {
		if at[id] {
			continue
		}
		at[id] = true
		cand := ranker.Candidate{ID: id}
		if e.Scores != nil && e.Scores[i] != 0 {
			cand.Score, cand.HasScore = float32(e.Scores[i]), true
		}
		c.Request.Candidates = append(c.Request.Candidates, cand)
		c.gains = append(c.gains, gains[id])
	}
	if !w.opt.unclicked && !slices.ContainsFunc(c.gains, func(g float64) bool { return g > 0 }) {
		return nil // what was clicked was not in the list
	}
	if interleaved := e.Answer != nil && e.Answer.Interleaved != nil; !interleaved && len(at) == len(e.Shown) {
		c.propensity = e.Propensity // of an interleaved list it is given the teams, which says another thing
	}
	c.Request.Context = e.Context
	return c
}

// sampled makes the list of a log without impressions: the next item among uniform negatives that
// the user has not touched, in random order.
func (w *walker) sampled(e *event.Event) *Case {
	ids := []string{e.ItemID}
	for tries := 0; len(ids) <= w.opt.Negatives && tries < 50*w.opt.Negatives && len(w.labels.items) > 0; tries++ {
		id := w.labels.items[w.rng.IntN(len(w.labels.items))]
		if !w.known[e.UserID][id] && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) < 2 {
		return nil
	}
	w.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	c := w.newCase(e)
	for _, id := range ids {
		c.Request.Candidates = append(c.Request.Candidates, ranker.Candidate{ID: id})
		gain := 0.0
		if id == e.ItemID {
			gain = w.opt.gain(e.Action)
		}
		c.gains = append(c.gains, gain)
	}
	return c
}

func (w *walker) newCase(e *event.Event) *Case {
	_, known := w.known[e.UserID]
	return &Case{NewUser: !known, Request: &ranker.Request{ID: e.ID, User: e.UserID, Session: e.Session, Time: e.Time}}
}

// see remembers whom the walk has met.
func (w *walker) see(rec *event.Record) {
	e := &rec.Event
	switch {
	case w.labels.bare && e.Kind == event.Interaction:
		if w.known[e.UserID] == nil {
			w.known[e.UserID] = map[string]bool{}
		}
		w.known[e.UserID][e.ItemID] = true
	case !w.labels.bare && e.Kind == event.Impression:
		w.known[e.UserID] = nil
	}
}
