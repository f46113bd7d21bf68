package signals_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"

	"relish/ranker"
	served "relish/ranker/signals"
	"relish/training/signals"
)

// contentWorld returns a corpus in which an item's click rate depends on its price, its genre and
// the first component of its vector.
func contentWorld(seed uint64, items, lists int) *signals.Corpus {
	c, _ := trueContentWorld(seed, items, lists)
	return c
}

// trueContentWorld is contentWorld; it also returns the log-odds of a click on each item.
func trueContentWorld(seed uint64, items, lists int) (c *signals.Corpus, truth []float64) {
	r := rand.New(rand.NewPCG(seed, 2))
	c, truth = newCorpus(items), make([]float64, items)
	for i := range items {
		c.Vectors[i] = normals(r, 8)
		genre, price := r.IntN(3), 1+99*r.Float64()
		describe(c, i, "", map[string]ranker.FieldValue{
			"genre": ranker.StringValue(fmt.Sprint("g", genre)),
			"price": ranker.NumberValue(price),
		})
		truth[i] = -1.5 + []float64{-0.8, 0, 0.8}[genre] + 0.8*float64(c.Vectors[i][0]) -
			0.4*math.Log(price/30)
	}
	for range lists {
		l := signals.List{}
		for _, i := range r.Perm(items)[:25] {
			gain := float32(0)
			if r.Float64() < served.Sigmoid(truth[i]) {
				gain = 1
			}
			l.Items, l.Gains = append(l.Items, int32(i)), append(l.Gains, gain)
		}
		c.Users = append(c.Users, signals.UserHistory{Lists: []signals.List{l}})
	}
	return c, truth
}

// contentFeatures returns the content features of a corpus.
func contentFeatures(t testing.TB, c *signals.Corpus, seed uint64) *served.ContentFeatures {
	t.Helper()
	f, err := signals.TrainContentFeatures(c, seed)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// fixedVariances make the regressions of the tests comparable.
var fixedVariances = signals.ContentVariances{
	Fields: 0.5, Text: 0.5, Numbers: 0.5, PriorImpressions: 20,
}

func trainContent(
	t testing.TB, c *signals.Corpus, v signals.ContentVariances,
) *served.ContentPrior {
	t.Helper()
	prior, err := signals.TrainContentPrior(c, contentFeatures(t, c, 1), v)
	if err != nil {
		t.Fatal(err)
	}
	return prior
}

// trainBestContent also chooses the variances.
func trainBestContent(t testing.TB, c *signals.Corpus, seed uint64) *served.ContentPrior {
	t.Helper()
	features := contentFeatures(t, c, seed)
	v, err := signals.ChooseContentVariances(c, features)
	if err != nil {
		t.Fatal(err)
	}
	prior, err := signals.TrainContentPrior(c, features, v)
	if err != nil {
		t.Fatal(err)
	}
	return prior
}

// setClicks gives the item a click in its first n lists and none in the others.
func setClicks(c *signals.Corpus, item int32, n int) {
	for u := range c.Users {
		for _, l := range c.Users[u].Lists {
			for k, i := range l.Items {
				if i != item {
					continue
				}
				if l.Gains[k] = 0; n > 0 {
					l.Gains[k] = 1
				}
				n--
			}
		}
	}
}

// The content prior of an item comes from the other items: its own clicks do not change it.
func TestContentPriorLeavesTheItemOut(t *testing.T) {
	c := contentWorld(1, 150, 3000)
	const item = 7
	setClicks(c, item, 100)
	before := trainContent(t, c, fixedVariances)
	setClicks(c, item, 200)
	after := trainContent(t, c, fixedVariances)
	// The mean of all items changes, and with it what the prediction is relative to.
	shift := after.MeanLogOdds - before.MeanLogOdds
	moved := math.Abs(float64(after.OutOfFold[item]-before.OutOfFold[item]) + shift)
	if moved > 1e-4 {
		t.Errorf("its clicks changed the item's content prior by %g", moved)
	}
	most := 0.0
	for i := range before.OutOfFold {
		most = max(most, math.Abs(float64(after.OutOfFold[i]-before.OutOfFold[i])))
	}
	if most < 1e-2 {
		t.Errorf("it changed no other item by more than %g: the test checks nothing", most)
	}
}

// What a regression predicts for new items equals the solution of the normal equations, and the
// out-of-fold prediction of an item is what a regression predicts for it that does not know it.
func TestOutOfFoldEqualsARegressionWithoutTheFold(t *testing.T) {
	c := contentWorld(2, 80, 600)
	all := trainContent(t, c, fixedVariances)
	byFold := map[uint64][]int{}
	for i, id := range c.Items.IDs() {
		fold := xxhash.Sum64String("content fold "+id) % 20
		byFold[fold] = append(byFold[fold], i)
	}
	for _, items := range byFold {
		without := *c
		without.Users = nil
		for _, u := range c.Users {
			l := u.Lists[0]
			l.Items = slices.Clone(l.Items)
			for k, item := range l.Items {
				if slices.Contains(items, int(item)) {
					l.Items[k] = -1
				}
			}
			without.Users = append(without.Users, signals.UserHistory{Lists: []signals.List{l}})
		}
		want := trainContent(t, &without, fixedVariances)
		shift := want.MeanLogOdds - all.MeanLogOdds
		for _, item := range items {
			got := float64(all.OutOfFold[item])
			if x := predict(want, c, item) + shift; math.Abs(got-x) > 1e-3 {
				t.Errorf("item %d: %g, a regression without it predicts %g", item, got, x)
			}
		}
	}
}

// predict computes what the content of an item predicts, as of an item that nobody has seen.
func predict(p *served.ContentPrior, c *signals.Corpus, item int) float64 {
	unknown := *p
	unknown.Items = ranker.NewItemTable(nil)
	in := newInput(c, signals.UserHistory{})
	out := make([]float32, 2*c.Items.Len())
	if err := unknown.Compute(context.Background(), in, out); err != nil {
		panic(err)
	}
	return float64(out[2*item])
}

// The regression finds what the click rates depend on.
func TestContentPriorFindsTheClickRates(t *testing.T) {
	c, truth := trueContentWorld(5, 300, 6000)
	prior := trainBestContent(t, c, 1)
	squares, total, mean := 0.0, 0.0, 0.0
	for _, x := range truth {
		mean += x / 300
	}
	for i, x := range truth {
		diff := prior.MeanLogOdds + predict(prior, c, i) - x
		squares, total = squares+diff*diff, total+(x-mean)*(x-mean)
	}
	if squares > 0.1*total {
		t.Errorf("%.1f %% of the variance of the log-odds is not explained", 100*squares/total)
	}
}

// The content prior ranks unknown items by their content as well as known ones.
func TestContentPriorRanksNewItems(t *testing.T) {
	c, truth := trueContentWorld(3, 400, 1500)
	good := map[int]bool{}
	for i := range 40 {
		good[i] = truth[i] > -1.5
	}
	for u := range c.Users {
		for _, l := range c.Users[u].Lists {
			for k, item := range l.Items {
				if item < 40 {
					l.Items[k] = -1
				}
			}
		}
	}
	content := trainBestContent(t, c, 1)
	values := run(t, content, newInput(c, signals.UserHistory{}))["content_prior.strength"][:40]
	if a := auc(values, func(i int) bool { return good[i] }); a < 0.8 {
		t.Errorf("popular new items rank above others with an AUC of %.3f", a)
	}
}

// Without lists, the prediction is the logarithm of the interactions relative to all items.
func TestContentPriorWithoutLists(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 2))
	c := newCorpus(200)
	mean := 0.0
	var user signals.UserHistory
	for i := range 200 {
		genre := r.IntN(3)
		describe(c, i, "", map[string]ranker.FieldValue{
			"genre": ranker.StringValue(fmt.Sprint("g", genre)),
		})
		clicks := []int{0, 3, 12}[genre]
		mean += math.Log1p(float64(clicks)) / 200
		for range clicks {
			user.Interactions = append(user.Interactions, signals.Interaction{Item: int32(i)})
		}
	}
	c.Users = []signals.UserHistory{user}
	prior := trainBestContent(t, c, 1)
	if prior.PriorImpressions != 0 {
		t.Errorf("%g prior impressions", prior.PriorImpressions)
	}
	for i, info := range c.ItemInfos {
		genre, _ := info.Field("genre")
		clicks := map[string]float64{"g0": 0, "g1": 3, "g2": 12}[genre.Str]
		want := math.Log1p(clicks) - mean
		if got := float64(prior.OutOfFold[i]); math.Abs(got-want) > 0.1 {
			t.Errorf("item %d: %g, want %g", i, got, want)
		}
	}
}

// An item without content has the mean of all items.
func TestContentPriorOfAnItemWithoutContent(t *testing.T) {
	c, truth := trueContentWorld(7, 300, 6000)
	c.ItemInfos[0], c.Vectors[0] = nil, nil
	c.ItemInfos[1], c.Vectors[1] = ranker.NewItemInfo(ranker.Item{ID: "1"}, nil), nil
	mean := 0.0
	for _, x := range truth {
		mean += x / 300
	}
	prior := trainBestContent(t, c, 1)
	for i := range 2 {
		if got := prior.MeanLogOdds + float64(prior.OutOfFold[i]); math.Abs(got-mean) > 0.25 {
			t.Errorf("item %d: %g, the mean is %g", i, got, mean)
		}
	}
}

func product(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}
