package replay_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"relish/features"
	"relish/ranker"
	served "relish/ranker/signals"
	"relish/training/signals"
)

// counted is the state configuration of the tests' server. Its bounds are small, so that they take
// effect.
func counted() features.Config {
	cfg := features.DefaultConfig()
	cfg.Actions, cfg.Fields, cfg.HalfLives = []string{
		"view",
		"click",
		"purchase",
	}, []string{
		"tags",
		"genre",
		"brand",
	}, []string{
		"all",
		"1h",
		"7d",
	}
	cfg.Recent, cfg.Shown, cfg.UserValues, cfg.FieldValues, cfg.MaxAge = 12, 20, 5, 9, "30d"
	return cfg
}

// newSchema returns a schema with each kind of feature in each scope and all columns of the
// signals.
func newSchema(t testing.TB, trained []ranker.Signal) *ranker.Schema {
	t.Helper()
	low, high, fill := -1.5, 40.0, 7.0
	list := []ranker.Feature{
		{Kind: ranker.KindNumber, Field: "price", Min: &low, Max: &high, Missing: true},
		{Kind: ranker.KindNumber, Field: "price", Default: &fill},
		{Kind: ranker.KindNumber, Field: "user.age"},
		{Kind: ranker.KindBoolean, Field: "used"},
		{Kind: ranker.KindCategory, Field: "genre", Values: []string{"sea", "jazz"}, Missing: true},
		{Kind: ranker.KindCategory, Field: "brand", Values: []string{"b0", "b1"}, Encode: "index"},
		{Kind: ranker.KindWordCount, Field: "title"}, {Kind: ranker.KindWordCount, Field: "text"},
		{Kind: ranker.KindAge}, {Kind: ranker.KindAge, Field: "released"},
		{
			Kind:  ranker.KindInteracted,
			Field: "genre",
		}, {Kind: ranker.KindInteracted, Field: "tags", Action: "purchase"},
		{Kind: ranker.KindTimeOfDay}, {Kind: ranker.KindHistory}, {Kind: ranker.KindPosition},
		{
			Kind:  ranker.KindContext,
			Field: "hour",
		}, {Kind: ranker.KindContext, Field: "device", Values: []string{"phone", "tv"}},
		{
			Kind:   ranker.KindTable,
			Column: "ofitems.score",
		}, {Kind: ranker.KindTable, Column: "ofusers.score"},
		{Kind: ranker.KindRetrieval}, {Kind: ranker.KindRetrieval, Missing: true},
	}
	for _, kind := range []string{ranker.KindCount, ranker.KindRate} {
		for _, scope := range []string{
			ranker.ScopeItem, ranker.ScopeField, ranker.ScopeUser, ranker.ScopeUserField,
			ranker.ScopeGlobal,
		} {
			for i, action := range []string{
				"click", "purchase", features.ActionAny, features.ActionImpression,
			} {
				list = append(
					list,
					ranker.Feature{
						Kind:     kind,
						Scope:    scope,
						Field:    "genre",
						Action:   action,
						HalfLife: []string{"all", "1h", "7d"}[i%3],
					},
				)
			}
		}
	}
	for _, m := range trained {
		for _, c := range m.Columns() {
			list = append(list, ranker.Feature{Kind: ranker.KindSignal, Column: c})
		}
	}
	// Each feature again, relative to the list, with one of the transforms in turn.
	for i, f := range slices.Clone(list) {
		if f.Values == nil || f.Encode != "" {
			f.WithinList = []string{"rank", "zscore", "ratio"}[i%3]
			list = append(list, f)
		}
	}
	for i := range list {
		list[i].Name = fmt.Sprint("f", i)
	}
	s, err := ranker.NewSchema(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// vectors gives each text its own random direction.
type vectors struct{}

func (vectors) Lookup(items []*ranker.ItemInfo, out [][]float32) int {
	for i, it := range items {
		if out[i] = nil; it != nil && it.TextKey != 0 {
			out[i] = direction(it.TextKey)
		}
	}
	return 0
}

func (v vectors) Fetch(_ context.Context, items []*ranker.ItemInfo, out [][]float32) {
	v.Lookup(items, out)
}

// HasText implements ranker.Vectors.
func (vectors) HasText(it *ranker.ItemInfo) bool { return it != nil && it.TextKey != 0 }

func direction(key uint64) []float32 {
	r := rand.New(rand.NewPCG(key, 8))
	v, sum := make([]float32, 16), 0.0
	for i := range v {
		v[i] = float32(r.NormFloat64())
		sum += float64(v[i]) * float64(v[i])
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

// total scores a row by the sum of its cells.
type total struct{}

func (total) Score(m *ranker.Matrix, out []float64) error {
	for i := range out {
		out[i] = 0
		for _, x := range m.Row(i) {
			if x == x {
				out[i] += float64(x)
			}
		}
	}
	return nil
}

func (total) Explain(*ranker.Matrix, int, []float64) (float64, error) { return 0, nil }

func itemID(r *rand.Rand) string { return fmt.Sprint("i", r.IntN(liveItems)) }

func userID(r *rand.Rand) string { return fmt.Sprint("u", r.IntN(liveUsers)) }

// described returns a random description of an item.
func described(r *rand.Rand, id string) ranker.Event {
	words := strings.Fields("sea bread jazz moon ghost garden war cat river clock")
	pick := func(n int) []string {
		out := []string{}
		for range r.IntN(n) {
			out = append(out, words[r.IntN(len(words))])
		}
		return out
	}
	e := ranker.Event{
		Kind:    ranker.EventItem,
		ItemID:  id,
		Replace: r.IntN(3) == 0,
		Fields:  map[string]ranker.FieldValue{"genre": ranker.StringsValue(append(pick(4), "sea"))},
	}
	if r.IntN(4) > 0 {
		title := strings.Join(append(pick(4), "a"), " ")
		e.Title = &title
	}
	if r.IntN(2) == 0 {
		e.Tags = pick(3)
		text := strings.Join(pick(9), " ")
		e.Text = &text
	}
	e.Fields["brand"] = ranker.StringValue(fmt.Sprint("b", r.IntN(4)))
	if r.IntN(2) == 0 {
		e.Fields["price"] = ranker.NumberValue(r.NormFloat64() * 50)
		e.Fields["used"] = ranker.BoolValue(r.IntN(2) == 0)
	}
	if r.IntN(2) == 0 {
		e.Fields["released"] = ranker.NumberValue(float64(1_600_000_000 + r.IntN(200_000_000)))
	}
	return e
}

// learned returns signals trained on a small random corpus.
func learned(t testing.TB, r *rand.Rand) (out []ranker.Signal) {
	t.Helper()
	c := &signals.Corpus{}
	var ids []string
	for i := range liveItems {
		ids = append(ids, fmt.Sprint("i", i))
		e := described(r, ids[i])
		it := ranker.Item{ID: ids[i], Tags: e.Tags, Fields: e.Fields}
		if e.Title != nil {
			it.Title = *e.Title
		}
		c.ItemInfos = append(c.ItemInfos, ranker.NewItemInfo(it, nil))
	}
	c.Items, c.Vectors = ranker.NewItemTable(
		ids[:liveItems-6],
	), make(
		[][]float32,
		liveItems-6,
	) // some items are unknown to the signals
	c.ItemInfos = c.ItemInfos[:liveItems-6]
	vectors{}.Lookup(c.ItemInfos, c.Vectors)
	for range 40 {
		var u signals.UserHistory
		for range 6 {
			u.Interactions = append(
				u.Interactions,
				signals.Interaction{Item: int32(r.IntN(c.Items.Len())), Gain: 1},
			)
			l := signals.List{Gains: make([]float32, 8)}
			for _, item := range r.Perm(c.Items.Len())[:8] {
				l.Items = append(l.Items, int32(item))
			}
			l.Gains[r.IntN(8)] = 1
			u.Lists = append(u.Lists, l)
		}
		c.Users = append(c.Users, u)
	}
	features, err := signals.TrainContentFeatures(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	variances, err := signals.ChooseContentVariances(c, features)
	if err != nil {
		t.Fatal(err)
	}
	content, err := signals.TrainContentPrior(c, features, variances)
	if err != nil {
		t.Fatal(err)
	}
	gp, err := signals.TrainResidualGP(c, content, 1)
	if err != nil {
		t.Fatal(err)
	}
	return []ranker.Signal{
		served.TextSimilarity{},
		served.TokenOverlap{},
		signals.TrainLexical(c),
		signals.TrainCooccurrence(c),
		signals.TrainMatrixFactorization(
			c,
			signals.FactorizationOptions{Dim: 8, Seed: 1},
		),
		gp,
		content,
	}
}
