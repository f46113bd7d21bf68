package signals_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"relish/ranker"
	served "relish/ranker/signals"
	"relish/training/signals"
)

// contentWorld returns a corpus in which an item's click rate depends on its price, its genre and
// the first component of its vector.
func contentWorld(seed uint64, items, lists int) *signals.Corpus {
	r := rand.New(rand.NewPCG(seed, 2))
	c := newCorpus(items)
	truth := make([]float64, items)
	for i := range items {
		c.Vectors[i] = normals(r, 8)
		genre, price := r.IntN(3), 1+99*r.Float64()
		describe(
			c,
			i,
			"",
			map[string]ranker.FieldValue{
				"genre": ranker.StringValue(fmt.Sprint("g", genre)),
				"price": ranker.NumberValue(price),
			},
		)
		truth[i] = -1.5 + []float64{-0.8, 0, 0.8}[genre] + 0.8*float64(
			c.Vectors[i][0],
		) - 0.4*math.Log(
			price/30,
		)
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
	return c
}

func trainContent(t testing.TB, c *signals.Corpus) *served.ContentPrior {
	t.Helper()
	projection, err := signals.TrainProjection(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	content, err := signals.TrainContentPrior(c, projection)
	if err != nil {
		t.Fatal(err)
	}
	return content
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
	before := trainContent(t, c)
	setClicks(
		c,
		item,
		101,
	) // one click only, because the mean of all items changes a little with it
	after := trainContent(t, c)
	moved := math.Abs(float64(after.LeaveOneOut[item] - before.LeaveOneOut[item]))
	if moved > 1e-4 {
		t.Errorf("one more click on the item changed its content prior by %g", moved)
	}
	most := 0.0
	for i := range before.LeaveOneOut {
		if i != item {
			most = max(most, math.Abs(float64(after.LeaveOneOut[i]-before.LeaveOneOut[i])))
		}
	}
	if most < 3e-4 {
		t.Errorf("it changed no other item by more than %g: the test checks nothing", most)
	}
}

// LeaveOneOut equals the prediction of a regression without the item's impressions.
func TestLeaveOneOutEqualsARegressionWithoutTheItem(t *testing.T) {
	c := contentWorld(2, 60, 400)
	content := trainContent(t, c)
	logOdds, shown := c.ClickLogOdds()
	for item := range 10 {
		row := make([]float32, len(content.Weights))
		var a [][]float64
		var b []float64
		dim := len(row) + 1
		for d := range dim {
			a, b = append(a, make([]float64, dim)), append(b, 0)
			if a[d][d] = 20; d == dim-1 {
				a[d][d] = 1e-6
			}
		}
		design := func(i int) []float64 {
			content.Regressors(c.ItemInfos[i], c.Vectors[i], row)
			x := make([]float64, 0, dim)
			for _, v := range row {
				x = append(x, float64(v))
			}
			return append(x, 1)
		}
		for i := range c.ItemInfos {
			if i == item {
				continue
			}
			x, w := design(i), shown[i]/(shown[i]+10)
			for d := range x {
				for e := range x {
					a[d][e] += w * x[d] * x[e]
				}
				b[d] += w * x[d] * float64(logOdds[i])
			}
		}
		want := 0.0
		weights := eliminate(a, b)
		for d, x := range design(item) {
			want += x * weights[d]
		}
		if got := float64(content.LeaveOneOut[item]); math.Abs(got-want) > 1e-4 {
			t.Errorf("item %d: %g, a regression without it predicts %g", item, got, want)
		}
	}
}

// eliminate solves a well-conditioned system by Gaussian elimination.
func eliminate(a [][]float64, b []float64) []float64 {
	for col := range b {
		for r := col + 1; r < len(b); r++ {
			f := a[r][col] / a[col][col]
			for k := col; k < len(b); k++ {
				a[r][k] -= f * a[col][k]
			}
			b[r] -= f * b[col]
		}
	}
	x := make([]float64, len(b))
	for r := len(b) - 1; r >= 0; r-- {
		x[r] = b[r]
		for k := r + 1; k < len(b); k++ {
			x[r] -= a[r][k] * x[k]
		}
		x[r] /= a[r][r]
	}
	return x
}

// The content prior ranks unknown items by their content as well as known ones.
func TestContentPriorRanksNewItems(t *testing.T) {
	c := contentWorld(3, 400, 1500)
	truth := func(i int) float64 { s, _ := c.ClickLogOdds(); return float64(s[i]) }
	good := map[int]bool{}
	for i := range 40 {
		good[i] = truth(i) > 0
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
	content := trainContent(t, c)
	values := run(t, content, newInput(c, signals.UserHistory{}))["content_prior.strength"][:40]
	if a := auc(values, func(i int) bool { return good[i] }); a < 0.8 {
		t.Errorf("popular new items rank above others with an AUC of %.3f", a)
	}
}

// Without lists, the log-odds are the popularity.
func TestClickLogOddsWithoutLists(t *testing.T) {
	c := newCorpus(3)
	c.Users = []signals.UserHistory{
		{Interactions: []signals.Interaction{{Item: 0}, {Item: 0}, {Item: 0}, {Item: 1}}},
	}
	logOdds, weight := c.ClickLogOdds()
	mean := (math.Log(4) + math.Log(2)) / 3
	for i, want := range []float64{math.Log(4) - mean, math.Log(2) - mean, -mean} {
		if math.Abs(float64(logOdds[i])-want) > 1e-6 || weight[i] <= 0 {
			t.Errorf("item %d: %g of weight %g, want %g", i, logOdds[i], weight[i], want)
		}
	}
}

// The directions of a projection are orthonormal up to their scaling. Content vectors have unit
// length in the text part and in the field part.
func TestProjection(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	c := newCorpus(300)
	for i := range c.ItemInfos {
		c.Vectors[i] = normals(r, 20)
		for d := range c.Vectors[i] {
			c.Vectors[i][d] = c.Vectors[i][d]*float32(1+d) + 3
		}
		var genres []string
		for range 1 + r.IntN(3) {
			genres = append(genres, fmt.Sprint("g", r.IntN(12)))
		}
		describe(
			c,
			i,
			"",
			map[string]ranker.FieldValue{
				"genre":      ranker.StringsValue(genres),
				"everywhere": ranker.StringValue("x"),
				"once":       ranker.StringValue(fmt.Sprint(i)),
			},
		)
	}
	s, err := signals.TrainProjection(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	if s.TextDim != 20 || s.FieldDim != 12 || len(s.FieldValues) != 12 {
		t.Fatalf(
			"%d directions of text, %d of %d field values",
			s.TextDim,
			s.FieldDim,
			len(s.FieldValues),
		)
	}
	for a := range s.TextDim {
		for b := range a {
			x, y := s.TextProjection[a*20:a*20+20], s.TextProjection[b*20:b*20+20]
			if cos := product(x, y) / math.Sqrt(product(x, x)*product(y, y)); math.Abs(cos) > 1e-4 {
				t.Errorf("directions %d and %d of text have a cosine of %g", a, b, cos)
			}
		}
	}
	// Half whitened: the variance along a direction is the square root of the original variance, so
	// the square of the scale is its inverse.
	for a := range s.TextDim {
		x := s.TextProjection[a*20 : a*20+20]
		mean, square := 0.0, 0.0
		for i := range c.Vectors {
			p := product(x, c.Vectors[i]) - float64(s.TextOffset[a])
			mean, square = mean+p/300, square+p*p/300
		}
		if scale := product(x, x); math.Abs(mean) > 1e-3 || math.Abs(square*scale-1) > 1e-2 {
			t.Errorf(
				"direction %d: mean %g, variance %g with a squared scale of %g",
				a,
				mean,
				square,
				scale,
			)
		}
	}
	out := make([]float32, s.Dim())
	for i := range c.ItemInfos {
		if !s.Project(c.ItemInfos[i], c.Vectors[i], out) {
			t.Fatal("an item has no content vector")
		}
		for part, x := range map[string][]float32{"text": out[:20], "field": out[20:]} {
			if n := product(x, x); math.Abs(n-1) > 1e-4 {
				t.Fatalf("item %d: the %s part has length %g", i, part, math.Sqrt(n))
			}
		}
	}
	for name, vector := range map[string][]float32{
		"no vector": nil, "a vector of another encoder": make([]float32, 7),
	} {
		if s.Project(&ranker.ItemInfo{}, vector, out) || product(out, out) != 0 {
			t.Errorf("%s: an item without content has a content vector", name)
		}
	}
}

func product(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}
