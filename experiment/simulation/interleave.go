package simulation

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"

	"relish/experiment/analysis"
	"relish/features/event"
	"relish/internal/demo"
	"relish/internal/stats"
	"relish/ranker"
)

// InterleavingTrial is two models of the demo's world: both know what a user would click, blurred by noise in the
// log-odds; the second one's is smaller. The same decision, which one is better, is asked of an A/B
// experiment and of an interleaving.
type InterleavingTrial struct {
	Seed        uint64
	NoiseFirst  float64     // standard deviation, in log-odds
	NoiseSecond float64     // likewise
	logOdds     [][]float64 // the world's users: log-odds by item
	items       []string
}

// trialProfiles is how many different tastes the simulated users have; each sees as many lists as a user of
// the demo does on average.
const (
	trialProfiles = 500
	listsPerUser  = 15
)

// NewInterleavingTrial prepares a duel in the demo's world.
func NewInterleavingTrial(seed uint64, noiseFirst, noiseSecond float64) *InterleavingTrial {
	w := demo.New(demo.Options{Seed: seed, Users: trialProfiles})
	d := &InterleavingTrial{Seed: seed, NoiseFirst: noiseFirst, NoiseSecond: noiseSecond, logOdds: make([][]float64, trialProfiles)}
	for _, it := range demo.Catalogue() {
		d.items = append(d.items, it.ID)
	}
	for u := range d.logOdds {
		d.logOdds[u] = make([]float64, len(d.items))
		for i, item := range d.items {
			p := w.ClickProbability(fmt.Sprintf("user-%04d", u), item)
			d.logOdds[u][i] = math.Log(p / (1 - p))
		}
	}
	return d
}

// candidatesPerList is how many candidates a list has, as the demo's.
const candidatesPerList = 24

// rank orders candidates as a model with this noise does.
func (d *InterleavingTrial) rank(rng *rand.Rand, user int, candidates []int, noise float64) []int {
	type scored struct {
		item  int
		score float64
	}
	list := make([]scored, len(candidates))
	for k, i := range candidates {
		list[k] = scored{i, d.logOdds[user][i] + noise*rng.NormFloat64()}
	}
	slices.SortFunc(list, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	order := make([]int, len(list))
	for k := range list {
		order[k] = list[k].item
	}
	return order
}

// teamDraft merges two lists by team draft, as package ranker serves it: the team with fewer items picks
// its best one that is left, a coin decides where both have as many.
func teamDraft(rng *rand.Rand, lists [2][]int) (merged []int, teams []uint8) {
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
func (d *InterleavingTrial) Records(seed uint64, n int, interleave bool) iter.Seq2[event.Record, error] {
	return func(yield func(event.Record, error) bool) {
		w := writer{yield: yield, rng: rand.New(rand.NewPCG(seed, 0xd0e1))}
		for k := range n * listsPerUser {
			if !d.showList(&w, k%n, startMillis+int64(k)*1000, interleave) {
				return
			}
		}
	}
}

// showList shows one list to a user and lets him click as the demo's users do.
func (d *InterleavingTrial) showList(w *writer, user int, at int64, interleave bool) bool {
	taste := user % trialProfiles
	candidates := w.rng.Perm(len(d.items))[:candidatesPerList]
	id := fmt.Sprint("l", w.seq)
	e := ranker.Event{Kind: ranker.EventImpression, ID: id, Time: at, UserID: fmt.Sprint("u", user),
		Impression: &ranker.Impression{Served: true, Exposed: []string{Experiment}}}
	imp := e.Impression
	var order []int
	switch {
	case interleave:
		lists := [2][]int{d.rank(w.rng, taste, candidates, d.NoiseFirst), d.rank(w.rng, taste, candidates, d.NoiseSecond)}
		in := &ranker.Interleaved{Experiment: Experiment, Arms: [2]string{Control, Treated}}
		order, in.Teams = teamDraft(w.rng, lists)
		imp.Interleaved, imp.Experiments = in, map[string]string{Experiment: ranker.InterleavedArm}
	case (user/trialProfiles+user)%2 == 0: // half of each taste
		order, imp.Experiments = d.rank(w.rng, taste, candidates, d.NoiseFirst), map[string]string{Experiment: Control}
	default:
		order, imp.Experiments = d.rank(w.rng, taste, candidates, d.NoiseSecond), map[string]string{Experiment: Treated}
	}
	for _, i := range order {
		imp.Items = append(imp.Items, d.items[i])
	}
	if !w.put(e) {
		return false
	}
	for place, i := range order {
		if w.rng.Float64() < demo.Examination(place)/(1+math.Exp(-d.logOdds[taste][i])) &&
			!w.put(ranker.Event{Kind: ranker.EventInteraction, ID: id + d.items[i], Time: at + 500, UserID: e.UserID, ItemID: d.items[i], Action: "click", ImpressionID: id}) {
			return false
		}
	}
	return true
}

// DesignComparison says how many users one decision takes: which of two models is better, at level 0.05 with
// power 0.8.
type DesignComparison struct {
	Lift       float64 `json:"lift"`       // of clicks per list, by A/B
	Preference float64 `json:"preference"` // by interleaving
	AB         float64 `json:"ab_users"`
	Interleave float64 `json:"interleave_users"`
	Ratio      float64 `json:"ratio"`
}

// Compare measures both designs' signal and noise on many users, and plans with them: A/B needs
// UnitsPerArm twice; a paired design (z + z)^2 sd^2 / mean^2 voters, and more users as not all vote.
func (d *InterleavingTrial) Compare(ctx context.Context, users int) (DesignComparison, error) {
	ab, err := analysis.Run(ctx, d.Records(d.Seed+1, users, false), analysis.Options{Experiment: Experiment})
	if err != nil {
		return DesignComparison{}, err
	}
	mixed, err := analysis.Run(ctx, d.Records(d.Seed+2, users, true), analysis.Options{Experiment: Experiment})
	if err != nil {
		return DesignComparison{}, err
	}
	c, in := ab.Comparisons[0], mixed.Interleaving
	out := DesignComparison{Lift: float64(c.Lift.Value), Preference: float64(in.Preference.Value)}
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

// Power runs both designs with n users each and counts how often a one-look test finds the second
// model better.
func (d *InterleavingTrial) Power(ctx context.Context, runs, abUsers, interleaveUsers int) (ab, interleave Count, err error) {
	var a, b int
	for i := range uint64(runs) {
		r, err := analysis.Run(ctx, d.Records(d.Seed+100+2*i, abUsers, false), analysis.Options{Experiment: Experiment})
		if err != nil {
			return ab, interleave, err
		}
		a += oneIf(r.Comparisons[0].P < 0.05 && r.Comparisons[0].Lift.Value > 0)
		if r, err = analysis.Run(ctx, d.Records(d.Seed+101+2*i, interleaveUsers, true), analysis.Options{Experiment: Experiment}); err != nil {
			return ab, interleave, err
		}
		b += oneIf(r.Interleaving.P < 0.05 && r.Interleaving.Preference.Value > 0)
	}
	return observed(fmt.Sprintf("the better model found by A/B with %d users", abUsers), a, runs),
		observed(fmt.Sprintf("the better model found by interleaving with %d users", interleaveUsers), b, runs), nil
}
