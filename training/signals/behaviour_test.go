package signals_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"relish/ranker"
	"relish/training/signals"
)

// Pair counts equal those of a plain double loop over each history, for items with fewer neighbours
// than the limit.
func TestCooccurrenceEqualsItsDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	c := newCorpus(30)
	for range 25 {
		var u signals.UserHistory
		for range r.IntN(80) {
			u.Interactions = append(
				u.Interactions,
				signals.Interaction{Item: int32(r.IntN(29)), Gain: 1},
			)
		}
		c.Users = append(c.Users, u)
	}
	type pair struct{ a, b int32 }
	next, with, count := map[pair]float64{}, map[pair]float64{}, map[int32]float64{}
	for _, u := range c.Users {
		for i, a := range u.Interactions {
			count[a.Item]++
			for k, b := range u.Interactions {
				if a.Item == b.Item || max(i-k, k-i) > 50 {
					continue
				}
				p := pair{a.Item, b.Item}
				with[p] += 1 / math.Log2(1+float64(len(u.Interactions)))
				if d := k - i; d > 0 && d <= 10 {
					next[p] += 1 / float64(d)
				}
			}
		}
	}
	m := signals.TrainCooccurrence(c)
	found := 0
	for item := range int32(30) {
		if float64(m.Counts[item]) != count[item] {
			t.Errorf("item %d: %g interactions, want %g", item, m.Counts[item], count[item])
		}
		for e := m.First[item]; e < m.First[item+1]; e++ {
			p := pair{item, m.Neighbors[e]}
			if math.Abs(float64(m.NextCounts[e])-next[p]) > 1e-3 ||
				math.Abs(float64(m.JointCounts[e])-with[p]) > 1e-3 {
				t.Errorf(
					"%+v: next %g, joint %g; want %g and %g",
					p,
					m.NextCounts[e],
					m.JointCounts[e],
					next[p],
					with[p],
				)
			}
			found++
		}
	}
	if found != len(with) || found == 0 {
		t.Errorf("%d pairs, want %d", found, len(with))
	}
}

// The signal keeps the 200 nearest neighbours of each item.
func TestNeighboursAreBounded(t *testing.T) {
	c := newCorpus(300)
	for i := range int32(300) {
		u := signals.UserHistory{Interactions: []signals.Interaction{{Item: 0}, {Item: i}}}
		if i >= 1 && i <= 20 { // the nearest
			c.Users = append(c.Users, u, u, u)
		}
		c.Users = append(c.Users, u)
	}
	m := signals.TrainCooccurrence(c)
	if n := m.First[1] - m.First[0]; n != 200 {
		t.Fatalf("%d neighbours", n)
	}
	kept := map[int32]bool{}
	for _, item := range m.Neighbors[:20] {
		kept[item] = true
	}
	for i := range int32(20) {
		if !kept[i+1] {
			t.Errorf("item %d is not among the nearest 20", i+1)
		}
	}
}

// Alternating least squares lowers its objective and ends where each side solves its equations.
func TestFactorizationMinimisesItsObjective(t *testing.T) {
	c := twoGroups(3, 30, 50, false)
	loss := func(rounds int) float64 {
		m := signals.TrainMatrixFactorization(
			c,
			signals.FactorizationOptions{Dim: 6, Rounds: rounds, Alpha: 10, Lambda: 1, Seed: 1},
		)
		sum := 0.0
		for _, u := range c.Users {
			var items []int32
			has := map[int32]bool{}
			for _, s := range u.Interactions {
				if !has[s.Item] {
					has[s.Item], items = true, append(items, s.Item)
				}
			}
			x := m.FoldIn(items)
			for i := range int32(30) {
				p := product(x, m.Vector(i))
				if has[i] {
					sum += 11 * (1 - p) * (1 - p)
				} else {
					sum += p * p
				}
			}
			sum += float64(len(items)) * product(x, x)
			for _, i := range items {
				sum += product(m.Vector(i), m.Vector(i))
			}
		}
		return sum
	}
	first, second, tenth := loss(1), loss(2), loss(10)
	if !(tenth < second && second < first) || math.IsNaN(tenth) {
		t.Errorf("the objective goes %g, %g, %g after 1, 2 and 10 rounds", first, second, tenth)
	}
	m := signals.TrainMatrixFactorization(c, signals.FactorizationOptions{Dim: 6, Seed: 1})
	for a := range 6 {
		for b := range 6 {
			want := 0.0
			for i := range int32(30) {
				want += float64(m.Vector(i)[a]) * float64(m.Vector(i)[b])
			}
			if math.Abs(float64(m.Gram[a*6+b])-want) > 1e-3*(1+math.Abs(want)) {
				t.Fatalf("Gram[%d][%d] is %g, want %g", a, b, m.Gram[a*6+b], want)
			}
		}
	}
	if m.FoldIn(nil) != nil {
		t.Error("a user without a history has a place")
	}
}

// A word counts more if fewer items have it. A word that no item has counts most.
func TestLexicalWeightsRareWordsHigher(t *testing.T) {
	c := newCorpus(40)
	for i := range 40 {
		title := "sea"
		if i < 20 {
			title = "sea jazz"
		}
		if i == 0 {
			title = "sea jazz owl"
		}
		describe(c, i, title, nil)
	}
	m := signals.TrainLexical(c)
	score := func(query string) float64 {
		in := &ranker.SignalInput{
			Request:     &ranker.Request{},
			State:       &ranker.RequestState{},
			Query:       ranker.NewItemInfo(ranker.Item{Title: query}, nil),
			ItemVectors: [][]float32{nil},
		}
		in.Request.Candidates = []ranker.Candidate{{ID: "x"}}
		in.State.Items = []*ranker.ItemInfo{
			ranker.NewItemInfo(ranker.Item{Title: "sea jazz owl new"}, nil),
		}
		return run(t, m, in)["lexical.query"][0]
	}
	sea, jazz, owl, unseen := score("sea"), score("jazz"), score("owl"), score("new")
	if !(0 < sea && sea < jazz && jazz < owl && owl < unseen) {
		t.Errorf("in all items %g, in half %g, in one %g, in none %g", sea, jazz, owl, unseen)
	}
	if signals.TrainLexical(newCorpus(3)) != nil {
		t.Error("a catalogue without a word has terms")
	}
}
