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

// InterleavingTrial compares two models of the demo's world by an A/B experiment and by an
// interleaving experiment. Both models know the true click probabilities, with noise added to the
// log-odds. The second model has less noise and is better.
type InterleavingTrial struct {
	Seed        uint64
	NoiseFirst  float64     // standard deviation of the first model's noise, in log-odds
	NoiseSecond float64     // standard deviation of the second model's noise, in log-odds
	logOdds     [][]float64 // true log-odds of a click, by profile and item
	items       []string
}

const (
	// trialProfiles is how many different users the demo's world has. Simulated users share them.
	trialProfiles = 500
	// listsPerUser and candidatesPerList are those of an average user of the demo.
	listsPerUser      = 15
	candidatesPerList = 24
)

// NewInterleavingTrial prepares a trial in the demo's world.
func NewInterleavingTrial(seed uint64, noiseFirst, noiseSecond float64) *InterleavingTrial {
	world := demo.New(demo.Options{Seed: seed, Users: trialProfiles})
	t := &InterleavingTrial{
		Seed:        seed,
		NoiseFirst:  noiseFirst,
		NoiseSecond: noiseSecond,
		logOdds:     make([][]float64, trialProfiles),
	}
	for _, it := range demo.Catalogue() {
		t.items = append(t.items, it.ID)
	}
	for u := range t.logOdds {
		t.logOdds[u] = make([]float64, len(t.items))
		for i, item := range t.items {
			p := world.ClickProbability(fmt.Sprintf("user-%04d", u), item)
			t.logOdds[u][i] = math.Log(p / (1 - p))
		}
	}
	return t
}

// rank orders candidates as a model with this noise does.
func (t *InterleavingTrial) rank(
	rng *rand.Rand, profile int, candidates []int, noise float64,
) []int {
	type scored struct {
		item  int
		score float64
	}
	list := make([]scored, len(candidates))
	for k, i := range candidates {
		list[k] = scored{i, t.logOdds[profile][i] + noise*rng.NormFloat64()}
	}
	slices.SortFunc(list, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	order := make([]int, len(list))
	for k := range list {
		order[k] = list[k].item
	}
	return order
}

// teamDraft merges two rankings by team draft, as package ranker does (Radlinski, Kurup and
// Joachims, CIKM 2008). The team with fewer items picks its best remaining item; a coin breaks
// ties.
func teamDraft(rng *rand.Rand, rankings [2][]int) (merged []int, teams []uint8) {
	var counts [2]int
	for len(merged) < len(rankings[0]) {
		team := 0
		if counts[1] < counts[0] || counts[0] == counts[1] && rng.Uint64()&1 == 1 {
			team = 1
		}
		remaining := func(i int) bool { return !slices.Contains(merged, i) }
		item := rankings[team][slices.IndexFunc(rankings[team], remaining)]
		counts[team]++
		merged, teams = append(merged, item), append(teams, uint8(team))
	}
	return merged, teams
}

// Records returns the log of an experiment with this many users.
func (t *InterleavingTrial) Records(
	seed uint64, users int, interleave bool,
) iter.Seq2[event.Record, error] {
	return func(yield func(event.Record, error) bool) {
		w := writer{yield: yield, rng: rand.New(rand.NewPCG(seed, 0xd0e1))}
		for k := range users * listsPerUser {
			if !t.showList(&w, k%users, startMillis+int64(k)*1000, interleave) {
				return
			}
		}
	}
}

// showList shows one list to a user, who clicks as the demo's users do. It returns false when the
// reader of the log has stopped.
func (t *InterleavingTrial) showList(w *writer, user int, at int64, interleave bool) bool {
	profile := user % trialProfiles
	candidates := w.rng.Perm(len(t.items))[:candidatesPerList]
	id, userID := fmt.Sprint("l", w.seq), fmt.Sprint("u", user)
	imp := &ranker.Impression{Served: true, Exposed: []string{Experiment}}
	arm := ranker.InterleavedArm
	var order []int
	switch {
	case interleave:
		imp.Interleaved = &ranker.Interleaved{
			Experiment: Experiment, Arms: [2]string{Control, Treated},
		}
		order, imp.Interleaved.Teams = teamDraft(w.rng, [2][]int{
			t.rank(w.rng, profile, candidates, t.NoiseFirst),
			t.rank(w.rng, profile, candidates, t.NoiseSecond),
		})
	case (user/trialProfiles+user)%2 == 0: // half of each profile's users
		arm, order = Control, t.rank(w.rng, profile, candidates, t.NoiseFirst)
	default:
		arm, order = Treated, t.rank(w.rng, profile, candidates, t.NoiseSecond)
	}
	imp.Experiments = map[string]string{Experiment: arm}
	for _, i := range order {
		imp.Items = append(imp.Items, t.items[i])
	}
	shown := ranker.Event{
		Kind: ranker.EventImpression, ID: id, Time: at, UserID: userID, Impression: imp,
	}
	if !w.put(shown) {
		return false
	}
	for position, i := range order {
		p := demo.Examination(position) / (1 + math.Exp(-t.logOdds[profile][i]))
		if w.rng.Float64() < p && !w.put(click(id, userID, t.items[i], at+500)) {
			return false
		}
	}
	return true
}

// DesignComparison says how many users it takes to decide which of the two models is better, at
// level 0.05 with power 0.8.
type DesignComparison struct {
	Lift       float64 `json:"lift"`       // of clicks per list, by A/B
	Preference float64 `json:"preference"` // by interleaving
	AB         float64 `json:"ab_users"`
	Interleave float64 `json:"interleave_users"`
	Ratio      float64 `json:"ratio"` // AB / Interleave
}

// Compare measures the effect and the noise of both designs on many users, and plans each with
// them. A/B needs UnitsPerArm users in each of two arms. Interleaving is a paired design: it needs
// (z(alpha/2) + z(power))^2 sd^2 / mean^2 users with a click. The number of users is higher,
// because not all of them click.
func (t *InterleavingTrial) Compare(ctx context.Context, users int) (DesignComparison, error) {
	ab, err := t.report(ctx, t.Seed+1, users, false)
	if err != nil {
		return DesignComparison{}, err
	}
	mixed, err := t.report(ctx, t.Seed+2, users, true)
	if err != nil {
		return DesignComparison{}, err
	}
	c, in := ab.Comparisons[0], mixed.Interleaving
	out := DesignComparison{
		Lift:       float64(c.Lift.Value),
		Preference: float64(in.Preference.Value),
	}
	// Standard deviations follow from the intervals: of one user of A/B, and of one with a click.
	sd := standardError(c.Difference) * math.Sqrt(float64(users)) / 2
	out.AB = 2 * stats.UnitsPerArm(sd, float64(c.Difference.Value), 0.05, 0.8)
	voterSD := standardError(in.Preference) * math.Sqrt(float64(in.Voters))
	// UnitsPerArm is for the difference of two means, which has twice the variance of one mean.
	voters := stats.UnitsPerArm(voterSD, out.Preference, 0.05, 0.8) / 2
	out.Interleave = math.Ceil(voters * float64(in.Users) / float64(in.Voters))
	out.Ratio = out.AB / out.Interleave
	return out, nil
}

func (t *InterleavingTrial) report(
	ctx context.Context, seed uint64, users int, interleave bool,
) (*analysis.Report, error) {
	opt := analysis.Options{Experiment: Experiment}
	return analysis.Run(ctx, t.Records(seed, users, interleave), opt)
}

// standardError returns the standard error behind a 95 % interval.
func standardError(r analysis.Range) float64 { return float64(r.High-r.Low) / 2 / 1.96 }

// Power runs both designs with these numbers of users, and counts how often a test at one look
// finds the second model better.
func (t *InterleavingTrial) Power(
	ctx context.Context, runs, abUsers, interleaveUsers int,
) (ab, interleave Count, err error) {
	var abWins, interleaveWins int
	for i := range uint64(runs) {
		r, err := t.report(ctx, t.Seed+100+2*i, abUsers, false)
		if err != nil {
			return ab, interleave, err
		}
		abWins += oneIf(r.Comparisons[0].P < 0.05 && r.Comparisons[0].Lift.Value > 0)
		if r, err = t.report(ctx, t.Seed+101+2*i, interleaveUsers, true); err != nil {
			return ab, interleave, err
		}
		interleaveWins += oneIf(r.Interleaving.P < 0.05 && r.Interleaving.Preference.Value > 0)
	}
	ab = observed(fmt.Sprintf("the better model found by A/B with %d users", abUsers), abWins, runs)
	interleave = observed(fmt.Sprintf("the better model found by interleaving with %d users",
		interleaveUsers), interleaveWins, runs)
	return ab, interleave, nil
}
