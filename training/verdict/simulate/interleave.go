package simulate

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"

	"relish/features/event"
	"relish/internal/demo"
	"relish/internal/stats"
	"relish/ranker"
	"relish/training/verdict"
)

// Duel is two models of the demo's world: both know what a user would click, blurred by noise in the
// log-odds; the second one's is smaller. The same decision, which one is better, is asked of an A/B
// experiment and of an interleaving.
type Duel struct {
	Seed        uint64
	NoiseFirst  float64     // standard deviation, in log-odds
	NoiseSecond float64     // likewise
	people      [][]float64 // the world's users: log-odds by item
	items       []string
}

// duelPeople is how many different tastes the simulated users have; each sees as many lists as a user of
// the demo does on average.
const (
	duelPeople = 500
	duelLists  = 15
)

// NewDuel prepares a duel in the demo's world.
func NewDuel(seed uint64, noiseFirst, noiseSecond float64) *Duel {
	w := demo.New(demo.Options{Seed: seed, Users: duelPeople})
	d := &Duel{Seed: seed, NoiseFirst: noiseFirst, NoiseSecond: noiseSecond, people: make([][]float64, duelPeople)}
	for _, it := range demo.Catalogue() {
		d.items = append(d.items, it.ID)
	}
	for u := range d.people {
		d.people[u] = make([]float64, len(d.items))
		for i, item := range d.items {
			p := w.ClickProbability(fmt.Sprintf("user-%04d", u), item)
			d.people[u][i] = math.Log(p / (1 - p))
		}
	}
	return d
}

// duelList is how many candidates a list has, as the demo's.
const duelList = 24

// rank orders candidates as a model with this noise does.
func (d *Duel) rank(rng *rand.Rand, user int, candidates []int, noise float64) []int {
	type scored struct {
		item  int
		score float64
	}
	list := make([]scored, len(candidates))
	for k, i := range candidates {
		list[k] = scored{i, d.people[user][i] + noise*rng.NormFloat64()}
	}
	slices.SortFunc(list, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	order := make([]int, len(list))
	for k := range list {
		order[k] = list[k].item
	}
	return order
}

// draft merges two lists by team draft, as package ranker serves it: the team with fewer items picks
// its best one that is left, a coin decides where both have as many.
func draft(rng *rand.Rand, lists [2][]int) (merged []int, teams []uint8) {
	var counts [2]int
	for len(merged) < len(lists[0]) {
		team := 0
		if counts[1] < counts[0] || counts[0] == counts[1] && rng.Uint64()&1 == 1 {
			team = 1
		}
		at := slices.IndexFunc(lists[team], func(i int) bool { return !slices.Contains(merged, i) })
		item := lists[team][at]
		counts[team]++
		merged, teams = append(merged, item), append(teams, uint8(team))
	}
	return merged, teams
}

// Records gives the log of an experiment on n users.
func (d *Duel) Records(seed uint64, n int, interleave bool) iter.Seq2[event.Record, error] {
	return func(yield func(event.Record, error) bool) {
		w := writer{yield: yield, rng: rand.New(rand.NewPCG(seed, 0xd0e1))}
		for k := range n * duelLists {
			if !d.list(&w, k%n, start+int64(k)*1000, interleave) {
				return
			}
		}
	}
}

// list shows one list to a user and lets him click as the demo's users do.
func (d *Duel) list(w *writer, user int, at int64, interleave bool) bool {
	taste := user % duelPeople
	candidates := w.rng.Perm(len(d.items))[:duelList]
	id := fmt.Sprint("l", w.seq)
	e := event.Event{Kind: event.Impression, ID: id, Time: at, UserID: fmt.Sprint("u", user), Answer: &event.Answer{Exposed: []string{Experiment}}}
	var order []int
	switch {
	case interleave:
		lists := [2][]int{d.rank(w.rng, taste, candidates, d.NoiseFirst), d.rank(w.rng, taste, candidates, d.NoiseSecond)}
		in := &ranker.Interleaved{Experiment: Experiment, Arms: [2]string{Control, Treated}}
		order, in.Teams = draft(w.rng, lists)
		e.Answer.Interleaved, e.Experiments = in, map[string]string{Experiment: ranker.Interleaving}
	case (user/duelPeople+user)%2 == 0: // half of each taste
		order, e.Experiments = d.rank(w.rng, taste, candidates, d.NoiseFirst), map[string]string{Experiment: Control}
	default:
		order, e.Experiments = d.rank(w.rng, taste, candidates, d.NoiseSecond), map[string]string{Experiment: Treated}
	}
	for _, i := range order {
		e.Shown = append(e.Shown, d.items[i])
	}
	if !w.put(e) {
		return false
	}
	for place, i := range order {
		if w.rng.Float64() < demo.Examination(place)/(1+math.Exp(-d.people[taste][i])) &&
			!w.put(event.Event{Kind: event.Interaction, ID: id + d.items[i], Time: at + 500, UserID: e.UserID, ItemID: d.items[i], Action: "click", ImpressionID: id}) {
			return false
		}
	}
	return true
}

// Comparison says how many users one decision takes: which of two models is better, at level 0.05 with
// power 0.8.
type Comparison struct {
	Lift       float64 `json:"lift"`       // of clicks per list, by A/B
	Preference float64 `json:"preference"` // by interleaving
	AB         float64 `json:"ab_users"`
	Interleave float64 `json:"interleave_users"`
	Ratio      float64 `json:"ratio"`
}

// Compare measures both designs' signal and noise on many users, and plans with them: A/B needs
// UnitsPerArm twice; a paired design (z + z)^2 sd^2 / mean^2 voters, and more users as not all vote.
func (d *Duel) Compare(ctx context.Context, users int) (Comparison, error) {
	ab, err := verdict.Run(ctx, d.Records(d.Seed+1, users, false), verdict.Options{Experiment: Experiment})
	if err != nil {
		return Comparison{}, err
	}
	mixed, err := verdict.Run(ctx, d.Records(d.Seed+2, users, true), verdict.Options{Experiment: Experiment})
	if err != nil {
		return Comparison{}, err
	}
	c, in := ab.Comparisons[0], mixed.Interleave
	out := Comparison{Lift: float64(c.Lift.Value), Preference: float64(in.Preference.Value)}
	// Standard deviations from the standard errors: of the two arms together, and of the voters.
	sd := float64(c.Difference.High-c.Difference.Low) / 2 / 1.96 * math.Sqrt(float64(users)) / 2
	out.AB = 2 * stats.UnitsPerArm(sd, float64(c.Difference.Value), 0.05, 0.8)
	voterSD := float64(in.Preference.High-in.Preference.Low) / 2 / 1.96 * math.Sqrt(float64(in.Voters))
	// UnitsPerArm is for the difference of two means, which has twice the variance of one.
	voters := stats.UnitsPerArm(voterSD, out.Preference, 0.05, 0.8) / 2
	out.Interleave = math.Ceil(voters * float64(in.Users) / float64(in.Voters))
	out.Ratio = out.AB / out.Interleave
	return out, nil
}

// Powers runs both designs with n users each and counts how often a one-look test finds the second
// model better.
func (d *Duel) Powers(ctx context.Context, runs, abUsers, interleaveUsers int) (ab, interleave Count, err error) {
	var a, b int
	for i := range uint64(runs) {
		r, err := verdict.Run(ctx, d.Records(d.Seed+100+2*i, abUsers, false), verdict.Options{Experiment: Experiment})
		if err != nil {
			return ab, interleave, err
		}
		a += one(r.Comparisons[0].P < 0.05 && r.Comparisons[0].Lift.Value > 0)
		if r, err = verdict.Run(ctx, d.Records(d.Seed+101+2*i, interleaveUsers, true), verdict.Options{Experiment: Experiment}); err != nil {
			return ab, interleave, err
		}
		b += one(r.Interleave.P < 0.05 && r.Interleave.Preference.Value > 0)
	}
	return observed(fmt.Sprintf("the better model found by A/B with %d users", abUsers), a, runs),
		observed(fmt.Sprintf("the better model found by interleaving with %d users", interleaveUsers), b, runs), nil
}
