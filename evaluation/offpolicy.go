package evaluation

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/cespare/xxhash/v2"

	"relish/features"
	"relish/internal/plackettluce"
	"relish/internal/stats"
	"relish/training/replay"
)

// OffPolicyEstimate estimates the gain that a ranker (the policy) would have had on lists that
// another ranker served with some exploration.
//
// The value of a list is the gain (Options.Gains) of its first K positions. The estimate assumes
// the item-position model: an item's gain at a position does not depend on the items around it (Li,
// Abbasi-Yadkori, Kveton, Muthukrishnan, Vinay and Wen, Offline evaluation of ranking policies with
// click models, KDD 2018). A position of a logged list then counts if the policy would show the
// same item there, with weight 1 / P(item at this position). These probabilities follow exactly
// from the logged Plackett-Luce propensities. With n candidates, one list in n counts at each of
// the K positions; without the assumption, only one list in n^K would.
type OffPolicyEstimate struct {
	Policy string `json:"policy"`
	K      int    `json:"k"`
	Lists  int    `json:"lists"` // used

	// Lists that are left out: not explored (or interleaved), or logged only in part.
	Unexplored int `json:"unexplored"`
	Truncated  int `json:"truncated"`

	// Refused says why there are no estimates, "" if there are.
	Refused string `json:"refused,omitempty"`
	// EffectiveLists is the effective sample size of the lists' mean weights, (sum w)^2 / sum w^2
	// (Kish, Survey Sampling, 1965); 0 if policy and log never agree.
	EffectiveLists float64 `json:"effective_lists"`
	// Unsupported is the share of the policy's positions whose item the log could not have shown
	// there.
	Unsupported float64 `json:"unsupported"`
	MeanWeight  float64 `json:"mean_weight"` // 1-Unsupported if the propensities are right

	Logged *stats.Interval `json:"logged,omitempty"` // gain of the lists as they were served

	// IPS is inverse propensity scoring: unbiased (Horvitz and Thompson, JASA 1952).
	IPS *stats.Interval `json:"ips,omitempty"`
	// SNIPS normalises by the weights of each position: less variance (Swaminathan and Joachims,
	// The self-normalized estimator for counterfactual learning, NIPS 2015).
	SNIPS *stats.Interval `json:"snips,omitempty"`
	// DR is doubly robust (Dudik, Langford and Li, ICML 2011), with a model of gain by item and
	// position that is fitted on other users' lists.
	DR            *stats.Interval `json:"dr,omitempty"`
	DRMinusLogged *stats.Interval `json:"dr_minus_logged,omitempty"` // paired by list
}

// Estimates are refused beyond these limits.
const (
	minEffectiveLists = 100
	maxUnsupported    = 0.05
	maxWeightError    = 4.5 // standard errors of the mean weight
)

// loggedPosition is one position of a list.
type loggedPosition struct {
	shown, target int32   // item numbers: what was shown, what the policy would show
	weight        float64 // 1 / P(target at this position) if shown == target, else 0
	gain          float64 // of the shown item
}

type loggedList struct {
	user      uint64 // hash of the user id
	positions []loggedPosition
}

// offPolicyEstimator collects the lists of one estimate.
type offPolicyEstimator struct {
	OffPolicyEstimate
	itemCount            int
	lists                []loggedList
	unsupportedPositions int
	rng                  *rand.Rand // of ties
}

// EstimateOffPolicy replays the log as Run does and estimates the policy's value on the newest
// lists, clicked or not. Intervals are 95 %, clustered by user. An error is about the log or the
// policy; too little overlap between them is no error but a refusal in the result.
func EstimateOffPolicy(
	ctx context.Context, src replay.Source, state *features.State, opt Options, policy Scorer,
) (*OffPolicyEstimate, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	log, err := replay.Scan(ctx, src, replay.Options{
		State: state.Config(), Base: opt.Base, Gains: opt.Gains, FollowUpMillis: opt.FollowUp,
	})
	if err != nil {
		return nil, err
	}
	from, err := log.HoldoutStart(opt.TestShare)
	if err != nil {
		return nil, err
	}
	o := &offPolicyEstimator{
		OffPolicyEstimate: OffPolicyEstimate{Policy: policy.Name(), K: opt.K},
		itemCount:         log.Items.Len(),
		rng:               rand.New(rand.NewPCG(opt.Seed, 4)),
	}
	walk := replay.WalkOptions{FreezeState: !opt.Prequential, Progress: opt.Progress}
	add := func(ex *replay.Example) error { return o.addList(ctx, ex, policy) }
	lists := log.Impressions(from, math.MaxUint64)
	if err := log.Walk(ctx, src, state, lists, walk, add); err != nil {
		return nil, err
	}
	if o.Refused = o.refusalReason(); o.Refused == "" {
		o.estimate()
	}
	return &o.OffPolicyEstimate, nil
}

// addList compares one logged list with the policy's order of it.
func (o *offPolicyEstimator) addList(
	ctx context.Context, ex *replay.Example, policy Scorer,
) error {
	propensity := ex.Propensity
	if ex.Impression != nil && ex.Impression.Interleaved != nil {
		propensity = nil // it is conditional on the teams, so the draw cannot be recovered
	}
	draw, complete := plackettluce.Recover(propensity)
	switch {
	case len(draw.Positions) == 0:
		o.Unexplored++
		return nil
	case !complete:
		o.Truncated++
		return nil
	}
	scores, err := policy.Score(ctx, ex)
	if err != nil {
		return fmt.Errorf("%s: %w", policy.Name(), err)
	}
	order, err := Order(scores, o.rng)
	if err != nil {
		return fmt.Errorf("%s: %w", policy.Name(), err)
	}
	drawIndex := make(map[int]int, len(draw.Positions)) // by position
	for k, position := range draw.Positions {
		drawIndex[position] = k
	}
	l := loggedList{user: xxhash.Sum64String(ex.Request.User)}
	for position := range min(o.K, len(order)) {
		// The candidates are in the order shown, so the target's index is also its logged position.
		target := order[position]
		p := loggedPosition{
			shown:  ex.Items[position],
			target: ex.Items[target],
			gain:   float64(ex.Gains[position]),
		}
		k, drawn := drawIndex[position]
		switch _, targetDrawn := drawIndex[target]; {
		case drawn != targetDrawn, !drawn && target != position:
			o.unsupportedPositions++
		case target == position && drawn:
			p.weight = 1 / draw.Marginal(k)
		case target == position:
			p.weight = 1
		}
		l.positions = append(l.positions, p)
	}
	o.lists = append(o.lists, l)
	return nil
}

// refusalReason fills in the measures of overlap and says why they do not allow an estimate, "" if
// they do.
func (o *offPolicyEstimator) refusalReason() string {
	o.Lists = len(o.lists)
	if o.Lists == 0 {
		return fmt.Sprintf("the log has no list to estimate from: %d were not explored, "+
			"%d were logged only in part. An order that was always shown says nothing about "+
			"other orders. Serve with rules.exploration for a while", o.Unexplored, o.Truncated)
	}
	var sum, squares, positions float64
	var weights userClusters
	for _, l := range o.lists {
		w := 0.0
		for _, p := range l.positions {
			w += p.weight
		}
		w /= float64(len(l.positions))
		sum, squares, positions = sum+w, squares+w*w, positions+float64(len(l.positions))
		weights.add(l.user, w)
	}
	if squares > 0 {
		o.EffectiveLists = sum * sum / squares
	}
	o.Unsupported = float64(o.unsupportedPositions) / positions
	mean := weights.mean()
	o.MeanWeight = mean.Value
	expected := 1 - o.Unsupported
	switch {
	case o.Unsupported > maxUnsupported:
		return fmt.Sprintf("the log could never have shown %.0f %% of the policy's items at their "+
			"positions. Score fewer positions (-k), or explore more of them", 100*o.Unsupported)
	case o.EffectiveLists < minEffectiveLists:
		return fmt.Sprintf("the log agrees too rarely with this ranker: its lists are worth %.0f, "+
			"%d are needed. Explore with a higher temperature, or longer",
			o.EffectiveLists, minEffectiveLists)
	case math.Abs(mean.Value-expected) > maxWeightError*mean.SE+0.02:
		return fmt.Sprintf("the mean weight is %.3f, %.3f is expected: the logged propensities "+
			"do not describe how these lists were drawn. Check what writes them",
			mean.Value, expected)
	}
	return ""
}
