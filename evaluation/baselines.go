package evaluation

import (
	"context"

	"relish/features/event"
	"relish/training/replay"
)

// popularityCounts is the baselines' own simple memory: what they know is independent of the code they are
// compared with. It knows as much as the state: where that stands still, so does this.
type popularityCounts struct {
	clicks, shown           map[string]float64
	userInteractions        map[string]int // interactions by user
	totalClicks, totalShown float64
}

func newPopularityCounts() *popularityCounts {
	return &popularityCounts{clicks: map[string]float64{}, shown: map[string]float64{}, userInteractions: map[string]int{}}
}

// Observe implements replay.Follower.
func (c *popularityCounts) Observe(rec *event.Record) {
	switch e := &rec.Event; e.Kind {
	case event.EventImpression:
		for _, id := range e.Shown {
			c.shown[id]++
			c.totalShown++
		}
	case event.EventInteraction:
		c.clicks[e.ItemID]++
		c.totalClicks++
		c.userInteractions[e.UserID]++
	}
}

type baseline struct {
	name  string
	score func(c *replay.Example, i int) float64
}

func (b *baseline) Name() string { return b.name }

func (b *baseline) Score(_ context.Context, c *replay.Example) ([]float64, error) {
	out := make([]float64, len(c.Request.Candidates))
	for i := range out {
		out[i] = b.score(c, i)
	}
	return out, nil
}

// clickRatePrior is the prior strength of the click-rate baseline, in impressions. Strengths from 0.5 to
// 40 make no difference to its NDCG.
const clickRatePrior = 10

// baselines returns the plain scorers that anything worth serving must beat, fed by n: chance, the order that was
// logged, popularity (interactions so far) and the smoothed live click rate. Three of them know nothing of some logs and
// are left out there: the order of lists that nobody showed, the click rate of items that nobody was shown, and what was
// counted of items whose behaviour is hidden.
func (p *TestSet) baselines(n *popularityCounts) []Scorer {
	id := func(c *replay.Example, i int) string { return c.Request.Candidates[i].ID }
	out := []Scorer{&baseline{"random", func(*replay.Example, int) float64 { return 0 }}}
	if p.opt.IsHidden != nil {
		return out
	}
	if p.lists[0].Logged {
		out = append(out, &baseline{"logged order", func(_ *replay.Example, i int) float64 { return -float64(i) }})
	}
	out = append(out, &baseline{"popularity", func(c *replay.Example, i int) float64 { return n.clicks[id(c, i)] }})
	if p.hasEarlierImpressions() {
		out = append(out, &baseline{"live click rate", func(c *replay.Example, i int) float64 {
			rate := 0.0
			if n.totalShown > 0 {
				rate = n.totalClicks / n.totalShown
			}
			return (n.clicks[id(c, i)] + clickRatePrior*rate) / (n.shown[id(c, i)] + clickRatePrior)
		}})
	}
	return out
}

// hasEarlierImpressions reports whether scorers get to know an impression before the last list.
func (p *TestSet) hasEarlierImpressions() bool {
	known := p.lists[0].Seq
	if p.opt.Prequential {
		known = p.lists[len(p.lists)-1].Seq
	}
	return len(p.Log.Lists) > 0 && p.Log.Lists[0].Seq < known
}
