package signals_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"relish/ranker"
	served "relish/ranker/signals"
	"relish/training/examination"
	"relish/training/replay"
	"relish/training/signals"
)

// lowRank returns a corpus whose click log-odds are an item's log-odds plus the inner product of
// hidden vectors of the user and the item, in three dimensions. It also returns the inner products,
// by user and item.
func lowRank(seed uint64, items, users, lists int) (*signals.Corpus, [][]float64) {
	r := rand.New(rand.NewPCG(seed, 6))
	c := newCorpus(items)
	logOdds, place := normals(r, items), normals(r, items*3)
	truth := make([][]float64, users)
	for u := range users {
		mine := normals(r, 3)
		for i := range items {
			truth[u] = append(
				truth[u],
				float64(logOdds[i])*0.7-1.2+1.2*product(mine, place[i*3:i*3+3]),
			)
		}
		var user signals.UserHistory
		for range lists {
			l := signals.List{}
			for _, i := range r.Perm(items)[:12] {
				gain := float32(0)
				if r.Float64() < served.Sigmoid(truth[u][i]) {
					gain = 1
				}
				l.Items, l.Gains = append(l.Items, int32(i)), append(l.Gains, gain)
			}
			user.Lists = append(user.Lists, l)
		}
		c.Users = append(c.Users, user)
	}
	return c, truth
}

// ResidualGP finds a hidden low-rank structure. For users that the training did not see, it
// predicts the residuals of their last list from their earlier lists.
func TestResidualGPFindsLowRankStructure(t *testing.T) {
	all, truth := lowRank(1, 60, 500, 9)
	c := *all
	c.Users = all.Users[:400]
	gp, err := signals.TrainResidualGP(&c, trainContent(t, &c, fixedVariances), 1)
	if err != nil {
		t.Fatal(err)
	}
	squares, left, right := 0.0, 0.0, 0.0
	for u := 400; u < 500; u++ {
		user := all.Users[u]
		asked := signals.UserHistory{Lists: user.Lists[:8]}
		learned := run(t, gp, newInput(&c, asked))["residual.learned"]
		last := user.Lists[8]
		var shown []ranker.Shown
		for k := range last.Items {
			shown = append(shown, ranker.Shown{Clicked: last.Gains[k] > 0})
		}
		for _, r := range gp.Residuals(shown, last.Items) {
			// A preference of x log-odds moves the probability by about x p (1 - p).
			y, p := float64(r.Value), learned[r.Item]*float64(r.Precision)
			squares, left = squares+y*y, left+(y-p)*(y-p)
		}
		for i, x := range truth[u] { // the correlation with the truth, beyond the log-odds
			right += learned[i] * (x - truth[(u+1)%500][i])
		}
	}
	if left > 0.93*squares {
		t.Errorf("it explains %.1f %% of the residual variance", 100*(1-left/squares))
	}
	if right <= 0 {
		t.Error("it does not agree with the truth")
	}
}

// Without any preference in the data, ResidualGP predicts none.
func TestResidualGPFindsNothingInNoise(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 6))
	c := newCorpus(40)
	for range 300 {
		var user signals.UserHistory
		for range 8 {
			l := signals.List{}
			for _, i := range r.Perm(40)[:10] {
				l.Items, l.Gains = append(l.Items, int32(i)), append(l.Gains, float32(r.IntN(5)/4))
			}
			user.Lists = append(user.Lists, l)
		}
		c.Users = append(c.Users, user)
	}
	gp, err := signals.TrainResidualGP(c, trainContent(t, c, fixedVariances), 1)
	if err != nil {
		t.Fatal(err)
	}
	most := 0.0
	for _, u := range c.Users[:50] {
		for _, x := range run(t, gp, newInput(c, u))["residual.learned"] {
			most = max(most, math.Abs(x))
		}
	}
	if most > 0.2 { // log-odds
		t.Errorf("it predicts a preference of %g", most)
	}
}

// Lists without evidence leave no residuals.
func TestResidualsWithoutEvidence(t *testing.T) {
	gp := &served.ResidualGP{LogOdds: make([]float32, 4)}
	shown := []ranker.Shown{
		{Time: 3, Clicked: true},
		{Time: 3, Clicked: true},
		{Time: 2},
		{Time: 2},
		{Time: 1, Clicked: true},
		{Time: 1},
	}
	if got := gp.Residuals(shown, []int32{0, 1, 2, 3, -1, 3}); len(got) != 0 {
		t.Errorf("residuals %+v", got)
	}
	got := gp.Residuals(shown, []int32{0, 1, 2, 3, 2, 3})
	if len(got) != 2 {
		t.Fatalf("residuals %+v", got)
	}
	for i, want := range []served.Residual{
		{Item: 2, Value: 0.5, Precision: 0.25}, {Item: 3, Value: -0.5, Precision: 0.25},
	} {
		if got[i].Item != want.Item || math.Abs(float64(got[i].Value-want.Value)) > 1e-4 ||
			math.Abs(float64(got[i].Precision-want.Precision)) > 1e-4 {
			t.Errorf("residual %d is %+v, want %+v", i, got[i], want)
		}
	}
}

// The expected probabilities of a list sum to its clicks, for any log-odds that a log gives.
func TestListResidualsSumToZero(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 6))
	for range 300 {
		n := 2 + r.IntN(30)
		logOdds, list := make([]float32, n), make([]served.Residual, n)
		clicks, sum := 1+r.IntN(n-1), 0.0
		for i := range list {
			logOdds[i], list[i].Item = float32(r.NormFloat64()*1.5), int32(i)
			list[i].Examined = 1
			if i < clicks {
				list[i].Value = 1
			}
		}
		served.ListResiduals(logOdds, list, clicks)
		for _, x := range list {
			sum += float64(x.Value)
		}
		if math.Abs(sum) > 0.01 {
			t.Fatalf("%d clicks on %v: the residuals sum to %g", clicks, logOdds, sum)
		}
	}
}

// A click is evidence even if the state has forgotten the list that it came from.
func TestOlderClicksAreEvidence(t *testing.T) {
	all, truth := lowRank(1, 60, 500, 9)
	c := *all
	c.Users = all.Users[:400]
	gp, err := signals.TrainResidualGP(&c, trainContent(t, &c, fixedVariances), 1)
	if err != nil {
		t.Fatal(err)
	}
	agreed := 0
	for u := 400; u < 500; u++ {
		var clicked signals.UserHistory
		for _, l := range all.Users[u].Lists {
			for k, gain := range l.Gains {
				if gain > 0 {
					x := signals.Interaction{Item: l.Items[k], Gain: gain}
					clicked.Interactions = append(clicked.Interactions, x)
				}
			}
		}
		learned := run(t, gp, newInput(&c, clicked))["residual.learned"]
		sum := 0.0
		for i, x := range truth[u] {
			sum += learned[i] * (x - truth[400+(u+1)%100][i])
		}
		if sum > 0 {
			agreed++
		}
	}
	if agreed < 80 {
		t.Errorf("the clicks of %d of 100 users tell what they like", agreed)
	}
}

// What stands where nobody looks is no evidence: without a click there, the residual is small.
func TestResidualsKnowWhatIsLookedAt(t *testing.T) {
	gp := &served.ResidualGP{
		LogOdds: make([]float32, 4), Examination: []float32{1, 0.9, 0.2, 0.1},
	}
	shown := []ranker.Shown{{}, {}, {Clicked: true}, {}} // the last one stood at the top
	got := gp.Residuals(shown, []int32{3, 2, 1, 0})
	if len(got) != 4 || got[0].Item != 3 || got[3].Item != 0 {
		t.Fatalf("residuals %+v", got)
	}
	if bottom, top := got[0], got[3]; top.Value > -0.3 || bottom.Value < top.Value/4 ||
		bottom.Value >= 0 || bottom.Precision > top.Precision/4 {
		t.Errorf("not clicked at the top: %+v, at the bottom: %+v", top, bottom)
	}
	if clicked := got[2]; clicked.Value <= 0 {
		t.Errorf("clicked: %+v", clicked)
	}
}

// The residual GP multiplies the probability of a click by that of looking. Its items' log-odds
// must not have the latter too: items that are liked alike have the same, wherever they are shown.
func TestLogOddsAreOfItemsThatAreLookedAt(t *testing.T) {
	const items, liked = 20, 0.3
	r := rand.New(rand.NewPCG(5, 8))
	c, log := newCorpus(items), &replay.Log{}
	c.Users = make([]signals.UserHistory, 3000)
	for user := range c.Users {
		l := signals.List{Gains: make([]float32, items)}
		for _, item := range r.Perm(items) {
			l.Items = append(l.Items, int32(item))
		}
		if user%2 == 0 { // the first half of the items stands at the top
			slices.SortStableFunc(l.Items, func(a, b int32) int { return int(a/10) - int(b/10) })
		}
		for position := range l.Gains {
			if r.Float64() < liked/(1+float64(position)/8) {
				l.Gains[position] = 1
			}
		}
		c.Users[user].Lists = []signals.List{l}
		log.Lists = append(log.Lists, replay.LoggedList{Items: l.Items, Gains: l.Gains})
	}
	c.Examination = examination.FromLog(log, math.MaxUint64).Curve
	gp, err := signals.TrainResidualGP(c, trainContent(t, c, fixedVariances), 1)
	if err != nil {
		t.Fatal(err)
	}
	difference := 0.0
	for i, x := range gp.LogOdds {
		difference += float64(x) * float64(1-2*(i/10)) / 10
	}
	if math.Abs(difference) > 0.08 {
		t.Errorf("items at the top have log-odds that are higher by %.2f", difference)
	}
	odds := math.Log(liked / (1 - liked))
	if got := float64(gp.LogOdds[0]) + gp.Prior.MeanLogOdds; math.Abs(got-odds) > 0.25 {
		t.Errorf("log-odds %.2f of an item that is looked at, want %.2f", got, odds)
	}
}
