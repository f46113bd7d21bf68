package signals_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"relish/ranker"
	served "relish/ranker/signals"
	"relish/training/signals"
)

// newCorpus returns a corpus of n items without content and without users.
func newCorpus(n int) *signals.Corpus {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	return &signals.Corpus{
		Items:     ranker.NewItemTable(ids),
		ItemInfos: make([]*ranker.ItemInfo, n),
		Vectors:   make([][]float32, n),
	}
}

func describe(c *signals.Corpus, i int, title string, fields map[string]ranker.FieldValue) {
	c.ItemInfos[i] = ranker.NewItemInfo(
		ranker.Item{ID: fmt.Sprint(i), Title: title, Fields: fields},
		nil,
	)
}

func normals(r *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.NormFloat64())
	}
	return out
}

// group returns which of two groups an item or user belongs to.
func group(i int) int { return i % 2 }

// twoGroups returns a corpus of two groups. Users interact with and click items of their own group,
// and sometimes others. With content, titles, genres and vectors differ between the groups.
func twoGroups(seed uint64, items, users int, content bool) *signals.Corpus {
	r := rand.New(rand.NewPCG(seed, 1))
	c := newCorpus(items)
	centres := [][]float32{normals(r, 16), normals(r, 16)}
	for i := range items {
		if !content {
			continue
		}
		v := normals(r, 16)
		for d := range v {
			v[d] += 2 * centres[group(i)][d]
		}
		c.Vectors[i] = v
		describe(
			c,
			i,
			[]string{"sea", "jazz"}[group(i)]+fmt.Sprint(" t", i),
			map[string]ranker.FieldValue{
				"genre": ranker.StringsValue(
					[]string{fmt.Sprint("g", group(i)), fmt.Sprint("h", r.IntN(5))},
				), "price": ranker.NumberValue(float64(r.IntN(100)))},
		)
	}
	of := func(g int) int32 {
		if r.IntN(10) == 0 {
			g = 1 - g
		}
		return int32(2*r.IntN(items/2) + g)
	}
	for u := range users {
		var user signals.UserHistory
		for range 12 {
			user.Interactions = append(
				user.Interactions,
				signals.Interaction{Item: of(group(u)), Gain: 1},
			)
		}
		for range 6 {
			l := signals.List{}
			for _, i := range r.Perm(items)[:10] {
				gain := float32(0)
				if p := []float64{0.5, 0.08}[(group(u)+group(i))%2]; r.Float64() < p {
					gain = 1
				}
				l.Items, l.Gains = append(l.Items, int32(i)), append(l.Gains, gain)
			}
			user.Lists = append(user.Lists, l)
		}
		c.Users = append(c.Users, user)
	}
	return c
}

// trained returns all trained signals of a corpus by kind, nil for those that it has no data for.
func trained(t testing.TB, c *signals.Corpus, seed uint64) map[string]served.TrainedSignal {
	t.Helper()
	out := map[string]served.TrainedSignal{
		served.KindCooccurrence: signals.TrainCooccurrence(c),
		served.KindMatrixFactorization: signals.TrainMatrixFactorization(
			c,
			signals.FactorizationOptions{Dim: 16, Seed: seed},
		),
	}
	if terms := signals.TrainLexical(c); terms != nil {
		out[served.KindLexical] = terms
	}
	prior := trainBestContent(t, c, seed)
	gp, err := signals.TrainResidualGP(c, prior, seed)
	if err != nil {
		t.Fatal(err)
	}
	if gp != nil {
		out[served.KindResidualGP] = gp
	}
	if !prior.Features.IsEmpty() {
		out[served.KindContentPrior] = prior
	}
	return out
}

// newInput returns the input of a request for all items of the corpus, by a user with this history.
func newInput(c *signals.Corpus, u signals.UserHistory) *ranker.SignalInput {
	in := &ranker.SignalInput{Request: &ranker.Request{}, State: &ranker.RequestState{}}
	ids := c.Items.IDs()
	for i, id := range ids {
		in.Request.Candidates = append(in.Request.Candidates, ranker.Candidate{ID: id})
		in.State.Items, in.ItemVectors = append(
			in.State.Items,
			c.ItemInfos[i],
		), append(
			in.ItemVectors,
			c.Vectors[i],
		)
	}
	for _, s := range slices.Backward(u.Interactions) {
		in.State.Recent = append(
			in.State.Recent,
			ranker.Interaction{Item: ids[s.Item], Action: "click"},
		)
		in.State.RecentItems, in.RecentVectors = append(
			in.State.RecentItems,
			c.ItemInfos[s.Item],
		), append(
			in.RecentVectors,
			c.Vectors[s.Item],
		)
	}
	for k, l := range slices.Backward(u.Lists) {
		for i, item := range l.Items {
			in.State.Shown = append(
				in.State.Shown,
				ranker.Shown{Item: ids[item], Time: int64(k), Clicked: l.Gains[i] > 0},
			)
		}
	}
	return in
}

func run(t testing.TB, m ranker.Signal, in *ranker.SignalInput) map[string][]float64 {
	t.Helper()
	columns := m.Columns()
	cells := make([]float32, len(in.Request.Candidates)*len(columns))
	if err := m.Compute(t.Context(), in, cells); err != nil {
		t.Fatal(err)
	}
	out := map[string][]float64{}
	for i, x := range cells {
		out[columns[i%len(columns)]] = append(out[columns[i%len(columns)]], float64(x))
	}
	return out
}

// auc returns the probability that an item of the group has a higher value than one outside it.
func auc(values []float64, in func(i int) bool) float64 {
	wins, pairs := 0.0, 0.0
	for i, x := range values {
		for k, y := range values {
			if !in(i) || in(k) || math.IsNaN(x) || math.IsNaN(y) {
				continue
			}
			pairs++
			if x > y {
				wins++
			} else if x == y {
				wins += 0.5
			}
		}
	}
	return wins / pairs
}

// Every signal that reads behaviour ranks items of the user's group first, for users that the
// training did not see, in both groups.
func TestSignalsFindTwoGroups(t *testing.T) {
	all := twoGroups(1, 60, 240, true)
	hidden := all.Users[200:]
	c := *all
	c.Users = all.Users[:200]
	ms := trained(t, &c, 1)
	for _, column := range []struct {
		kind, name string
		least      float64
	}{
		{served.KindCooccurrence, "cooccurrence.next", 0.8},
		{served.KindCooccurrence, "cooccurrence.lift", 0.8},
		{served.KindCooccurrence, "cooccurrence.with", 0.95},
		{served.KindCooccurrence, "cooccurrence.max", 0.75},
		{served.KindCooccurrence, "cooccurrence.last", 0.6},
		{served.KindMatrixFactorization, "factorization.score", 0.95},
		{served.KindMatrixFactorization, "factorization.cosine", 0.95},
		{served.KindResidualGP, "residual.learned", 0.85},
		{served.KindResidualGP, "residual.score", 0.95},
		{served.KindResidualGP, "residual.content", 0.9},
		{served.KindLexical, "lexical.history", 0.9},
		{served.KindLexical, "lexical.max", 0.7},
	} {
		sum := 0.0
		for u, user := range hidden {
			sum += auc(
				run(t, ms[column.kind], newInput(&c, user))[column.name],
				func(i int) bool { return group(i) == group(u) },
			)
		}
		if mean := sum / float64(len(hidden)); mean < column.least {
			t.Errorf(
				"%s finds the user's group with an AUC of %.3f, want at least %.2f",
				column.name,
				mean,
				column.least,
			)
		}
	}
}

// The same seed gives the same files, for any number of cores and any order of maps.
func TestTrainingIsRepeatable(t *testing.T) {
	c := twoGroups(2, 40, 60, true)
	files := func(seed uint64) map[string]string {
		out := map[string]string{}
		for kind, m := range trained(t, c, seed) {
			out[kind] = string(m.Encode())
		}
		return out
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	want := files(7)
	for _, cores := range []int{1, 2, 5} {
		runtime.GOMAXPROCS(cores)
		for kind, file := range files(7) {
			if file != want[kind] {
				t.Errorf("%s: the file differs with %d cores", kind, cores)
			}
		}
	}
	for kind, file := range files(8) {
		isRandom := kind == served.KindMatrixFactorization || kind == served.KindResidualGP
		if isRandom && file == want[kind] {
			t.Errorf("%s does not depend on the seed", kind)
		}
	}
}

// Training ends for any degenerate corpus. Its signals neither panic nor return an infinite value,
// and their files can be read again.
func TestDegenerateCorpora(t *testing.T) {
	steps := func(items ...int32) (u signals.UserHistory) {
		for _, i := range items {
			u.Interactions = append(u.Interactions, signals.Interaction{Item: i, Gain: 1})
		}
		return u
	}
	lists := func(n int, items []int32, gains []float32) (u signals.UserHistory) {
		for range n {
			u.Lists = append(u.Lists, signals.List{Items: items, Gains: gains})
		}
		return u
	}
	with := func(c *signals.Corpus, users ...signals.UserHistory) *signals.Corpus {
		c.Users = users
		return c
	}
	sameText := func() *signals.Corpus {
		c := newCorpus(5)
		for i := range 5 {
			describe(
				c,
				i,
				"one title",
				map[string]ranker.FieldValue{
					"genre": ranker.StringValue("g"),
					"price": ranker.NumberValue(3),
				},
			)
			c.Vectors[i] = []float32{1, 0, 0}
		}
		return c
	}
	extreme := sameText()
	for i := range 5 {
		describe(
			extreme,
			i,
			"",
			map[string]ranker.FieldValue{
				"price": ranker.NumberValue(math.Pow(10, float64(60*i))),
				"genre": ranker.StringsValue(nil),
			},
		)
	}
	three := []int32{0, 1, 2}
	for name, c := range map[string]*signals.Corpus{
		"nothing":              newCorpus(0),
		"items only":           newCorpus(3),
		"described items only": sameText(),
		"one item": with(newCorpus(1), steps(0, 0, 0),
			lists(40, []int32{0}, []float32{1})),
		"one user":             with(newCorpus(3), steps(0, 1, 2, 1)),
		"one step each":        with(newCorpus(3), steps(0), steps(1)),
		"users who do nothing": with(newCorpus(3), signals.UserHistory{}, signals.UserHistory{}),
		"no content, long": with(newCorpus(3), lists(40, three, []float32{1, 0, 0}),
			lists(40, three, []float32{0, 1, 0})),
		"all clicked":      with(sameText(), lists(9, three, []float32{1, 1, 1})),
		"none clicked":     with(sameText(), lists(9, three, []float32{0, 0, 0})),
		"all items hidden": with(sameText(), lists(9, []int32{-1, -1}, []float32{1, 0})),
		"the same text":    with(sameText(), steps(0, 1), lists(40, three, []float32{1, 0, 0})),
		"always the same": with(sameText(), lists(400, three, []float32{1, 0, 0}),
			lists(400, three, []float32{1, 0, 0})),
		"extreme numbers": with(extreme, steps(0, 1),
			lists(9, []int32{0, 4}, []float32{0, 1})),
	} {
		t.Run(name, func(t *testing.T) {
			for kind, m := range trained(t, c, 1) {
				user := signals.UserHistory{}
				if len(c.Users) > 0 {
					user = c.Users[0]
					for _, l := range user.Lists {
						if slices.Contains(l.Items, -1) {
							user.Lists = nil
							break
						}
					}
				}
				in := newInput(c, user)
				in.Request.Candidates = append(in.Request.Candidates, ranker.Candidate{ID: "new"})
				in.State.Items = append(
					in.State.Items,
					ranker.NewItemInfo(
						ranker.Item{
							ID:    "new",
							Title: "one",
							Fields: map[string]ranker.FieldValue{
								"price": ranker.NumberValue(1e300),
							},
						},
						nil,
					),
				)
				in.ItemVectors = append(in.ItemVectors, []float32{0, 1, 0})
				for column, values := range run(t, m, in) {
					for i, x := range values {
						if math.IsInf(x, 0) {
							t.Errorf("%s of item %d is infinite", column, i)
						}
					}
				}
				if _, err := new(served.Loader).Load(kind, m.Encode()); err != nil {
					t.Errorf("its file: %v", err) // Encode refuses NaN
				}
			}
		})
	}
}
