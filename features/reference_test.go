package features

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unique"

	"relish/features/event"
	"relish/ranker"
)

// reference computes each cell of a request by its definition, and keeps nothing.
type reference struct {
	s   *State
	q   *ranker.FeatureQuery
	now int64
}

// counts returns the decayed counts of an action and of impressions.
func (r *reference) counts(n *decayedCounts, f *ranker.Feature) (actions, shown float64) {
	cfg := &r.s.cfg
	if n == nil || n.values == nil {
		return 0, 0
	}
	h, decay := slices.Index(cfg.HalfLives, halfLife(f)), 1.0
	if d, _ := ParseHalfLife(halfLife(f)); d > 0 && r.now > n.ref {
		decay = math.Exp(-math.Ln2 / float64(d.Milliseconds()) * float64(r.now-n.ref))
	}
	for k, a := range append([]string{ActionImpression}, cfg.Actions...) {
		if v := n.values[k*len(cfg.HalfLives)+h]; f.Action == a || f.Action == ActionAny && k > 0 {
			actions += v
		}
	}
	return actions * decay, n.values[h] * decay
}

// smoothed returns the smoothed rate, the prior without data.
func (r *reference) smoothed(n *decayedCounts, f *ranker.Feature, prior float64) float64 {
	weight := f.Weight
	if weight == 0 {
		weight = 10
	}
	actions, shown := r.counts(n, f)
	if actions == 0 && shown == 0 {
		return prior
	}
	return min(max((actions+weight*prior)/(max(shown, actions)+weight), minRate), maxRate)
}

// prior returns the global rate in steps of 1/128 of its log-odds. ok is false if nothing was
// shown.
func (r *reference) prior(f *ranker.Feature) (rate float64, ok bool) {
	actions, shown := r.counts(&r.s.global, f)
	if shown == 0 {
		return 0, false
	}
	rate = min(max(actions/shown, minRate), maxRate)
	steps := math.Round(math.Log(rate/(1-rate)) * 128)
	return min(max(1/(1+math.Exp(-steps/128)), minRate), maxRate), true
}

// number returns log1p of the count, or the log-odds of the rate minus those of the prior.
func (r *reference) number(n *decayedCounts, f *ranker.Feature, prior float64) float64 {
	actions, shown := r.counts(n, f)
	if f.Kind == ranker.KindCount {
		return math.Log1p(actions)
	}
	if actions == 0 && shown == 0 {
		return 0
	}
	return logOdds(r.smoothed(n, f, prior)) - logOdds(prior)
}

func (r *reference) cell(f *ranker.Feature, i int) float32 {
	c := &r.q.Candidates[i]
	it, user := r.s.items.get(c.ID), r.s.users.state(r.q.User)
	content := &Content{}
	if it != nil {
		content = &it.Content
	}
	if c.Inline != nil {
		info := inlineInfo(c.ID, content.Info, c.Inline, r.s.cfg.Text)
		content = &Content{Info: info}
	}
	switch f.Kind {
	case ranker.KindAge:
		switch {
		case f.Field != "":
			if content.Info == nil {
				return float32(nan)
			}
			v, _ := content.Info.Field(f.Field)
			if at, ok := millisOf(v); ok {
				return ageCell(r.now, at)
			}
		case c.ColdStart:
			return 0
		case it != nil:
			return ageCell(r.now, it.first)
		}
		return float32(nan)
	case ranker.KindNumber:
		if content.Info != nil {
			if v, ok := content.Info.Field(f.Field); ok && v.Kind == ranker.Number {
				return float32(v.Num)
			}
		}
		return float32(nan)
	case ranker.KindInteracted:
		return r.share(f, content, user)
	}
	prior, ok := r.prior(f)
	if f.Kind == ranker.KindRate && !ok {
		return float32(nan)
	}
	switch f.Scope {
	case ranker.ScopeItem:
		if it == nil || c.ColdStart {
			return float32(r.number(nil, f, prior))
		}
		return float32(r.number(&it.counts, f, prior))
	case ranker.ScopeUser:
		if user == nil {
			return float32(r.number(nil, f, prior))
		}
		return float32(r.number(&user.counts, f, prior))
	case ranker.ScopeGlobal:
		if f.Kind == ranker.KindRate {
			return float32(logOdds(prior))
		}
		return float32(r.number(&r.s.global, f, prior))
	}
	return r.mean(f, content, user, prior)
}

// mean returns the mean over the item's values of a field.
func (r *reference) mean(
	f *ranker.Feature, content *Content, user *UserState, prior float64,
) float32 {
	field, values := slices.Index(r.s.cfg.Fields, f.Field), valuesOf(content, f.Field)
	if len(values) == 0 {
		return float32(nan)
	}
	sum := 0.0
	for _, v := range values {
		all := r.s.lookup(CounterKey{field, v.Value()})
		if f.Scope == ranker.ScopeField {
			sum += float64(float32(r.number(all, f, prior)))
			continue
		}
		if user == nil {
			continue
		}
		for k := range user.values[field] {
			if n := &user.values[field][k]; n.value == v {
				sum += r.number(&n.decayedCounts, f, r.smoothed(all, f, prior))
			}
		}
	}
	return float32(sum / float64(len(values)))
}

// valuesOf returns the item's values of a field.
func valuesOf(content *Content, field string) (values []fieldValue) {
	if content.Info == nil {
		return nil
	}
	v, _ := fieldOf(content.Info, field)
	for _, s := range v.AsStrings() {
		values = append(values, unique.Make(s))
	}
	return values
}

// share returns the share of the item's values that the user's history has.
func (r *reference) share(f *ranker.Feature, content *Content, user *UserState) float32 {
	values := valuesOf(content, f.Field)
	if len(values) == 0 {
		return float32(nan)
	}
	hits := 0
	for _, v := range values {
		if user != nil && slices.ContainsFunc(user.recent, func(in ranker.Interaction) bool {
			it := r.s.items.get(in.Item)
			return it != nil && slices.Contains(valuesOf(&it.Content, f.Field), v) &&
				(f.Action == "" || f.Action == ActionAny || f.Action == in.Action)
		}) {
			hits++
		}
	}
	n := len(values)
	if f.MaxValues > 0 && n > f.MaxValues {
		steps := math.Floor(float64(hits) * float64(f.MaxValues) / float64(n))
		return float32(steps / float64(f.MaxValues))
	}
	return float32(hits) / float32(n)
}

// The columns equal those of the reference, bit for bit, whatever was read and counted before: with
// several schemas in turns, values beyond the bound of the counters, cold starts, inline content,
// unknown items, and clocks that go forward and back.
func TestColumnsEqualTheReference(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &referenceWorld{Rand: rand.New(rand.NewPCG(seed, 1))}
			cfg := DefaultConfig()
			cfg.FieldValues, cfg.UserValues, cfg.Recent = 6, 3, 10
			if seed%2 == 1 {
				cfg.HalfLives = []string{allTime, "2s", "10m", "30d"}
			}
			s, schemas := New(cfg), w.schemas(t, &cfg)
			for step := range 300 {
				w.apply(s)
				q := w.query(schemas[step/3%len(schemas)])
				w.check(t, s, q)
			}
		})
	}
}

type referenceWorld struct {
	*rand.Rand
	seq     uint64
	arrival int64
}

const referenceStart = int64(1_700_000_000_123)

// schemas returns three schemas of random features.
func (w *referenceWorld) schemas(t *testing.T, cfg *Config) (out []*ranker.Schema) {
	pick := func(list ...string) string { return list[w.IntN(len(list))] }
	for range 3 {
		f := []ranker.Feature{
			{Kind: ranker.KindAge}, {Kind: ranker.KindAge, Field: "at"},
			{Kind: ranker.KindNumber, Field: "price"},
			{Kind: ranker.KindInteracted, Field: "tags", Action: pick("", "click", "any")},
			{Kind: ranker.KindInteracted, Field: "genres"},
			{Kind: ranker.KindInteracted, Field: "tags", MaxValues: 2},
		}
		for range 25 {
			f = append(f, ranker.Feature{
				Kind: pick(ranker.KindCount, ranker.KindRate),
				Scope: pick(ranker.ScopeItem, ranker.ScopeField, ranker.ScopeUser,
					ranker.ScopeUserField, ranker.ScopeGlobal),
				Action: pick("click", "view", ActionAny, ActionImpression),
				Field:  pick("tags", "genres"), HalfLife: pick(cfg.HalfLives...),
				Weight: float64(w.IntN(2) * 3),
			})
		}
		w.Shuffle(len(f), func(i, j int) { f[i], f[j] = f[j], f[i] })
		for i := range f {
			f[i].Name = fmt.Sprint("f", i)
		}
		s, err := ranker.NewSchema(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func (w *referenceWorld) id(prefix string, n int) string { return fmt.Sprint(prefix, w.IntN(n)) }

func (w *referenceWorld) item() ranker.Item {
	it := ranker.Item{Fields: map[string]ranker.FieldValue{}}
	for range w.IntN(4) {
		it.Tags = append(it.Tags, w.id("tag", 12))
	}
	if w.IntN(2) == 0 {
		it.Fields["genres"] = ranker.StringValue(w.id("genre", 4))
		it.Fields["price"] = ranker.NumberValue(w.Float64())
	}
	if w.IntN(2) == 0 {
		it.Fields["at"] = ranker.NumberValue(float64(referenceStart - w.Int64N(1e9)))
	}
	return it
}

// apply applies up to three random events.
func (w *referenceWorld) apply(s *State) {
	for range w.IntN(4) {
		w.seq++
		w.arrival = max(w.arrival, referenceStart) + w.Int64N(30_000)
		e := ranker.Event{
			ID: "e", UserID: w.id("u", 4), ItemID: w.id("i", 15),
			Time: w.arrival - w.Int64N(60_000),
		}
		switch w.IntN(5) {
		case 0:
			it := w.item()
			e.Kind, e.Tags, e.Fields, e.Replace = ranker.EventItem, it.Tags, it.Fields, true
		case 1:
			e.Kind = ranker.EventImpression
			e.Impression = &ranker.Impression{Items: []string{w.id("i", 8), w.id("i", 15)}}
		case 2:
			if e.Kind = ranker.EventDelete; w.IntN(4) > 0 {
				continue
			}
		default:
			e.Kind, e.Action = ranker.EventInteraction, []string{"view", "click"}[w.IntN(2)]
		}
		s.Apply(&event.Record{Seq: w.seq, Arrival: w.arrival, Event: e})
	}
}

func (w *referenceWorld) query(schema *ranker.Schema) *ranker.FeatureQuery {
	q := &ranker.FeatureQuery{User: w.id("u", 5), Schema: schema, Now: w.arrival}
	switch w.IntN(4) {
	case 0:
		q.Now += w.Int64N(int64(48 * time.Hour / time.Millisecond))
	case 1:
		q.Now = max(0, q.Now-w.Int64N(1e8))
	}
	for i := range 17 {
		c := ranker.Candidate{ID: fmt.Sprint("i", i), ColdStart: w.IntN(8) == 0}
		if w.IntN(8) == 0 {
			it := w.item()
			c.Inline = &it
		}
		q.Candidates = append(q.Candidates, c)
	}
	return q
}

func (w *referenceWorld) check(t *testing.T, s *State, q *ranker.FeatureQuery) {
	t.Helper()
	got, err := s.Read(q)
	if err != nil {
		t.Fatal(err)
	}
	tick := s.cfg.Tick().Milliseconds()
	r := &reference{s, q, q.Now / tick * tick}
	width := len(q.Schema.Columns())
	for k, f := range q.Schema.Features() {
		for i := range q.Candidates {
			have, want := got.Columns[i*width+k], r.cell(&f, i)
			if math.Float32bits(have) != math.Float32bits(want) && (have == have || want == want) {
				t.Fatalf("record %d, candidate %d, %+v: %g, want %g", w.seq, i, f, have, want)
			}
		}
	}
	for i := range q.Candidates {
		want := ranker.ItemCounts{}
		if it := s.items.get(q.Candidates[i].ID); it != nil && !q.Candidates[i].ColdStart {
			want.Actions, want.Shown = r.counts(
				&it.counts, &ranker.Feature{Action: ActionAny, HalfLife: allTime})
		}
		if got.Counts[i] != want {
			t.Fatalf("record %d, candidate %d: counts %v, want %v", w.seq, i, got.Counts[i], want)
		}
	}
}
