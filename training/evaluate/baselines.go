package evaluate

import (
	"context"

	"relish/features/event"
	"relish/training/replay"
)

// counts is the baselines' own simple memory: what they know is independent of the code they are
// compared with. It knows as much as the state: where that stands still, so does this.
type counts struct {
	clicks, shown       map[string]float64
	history             map[string]int // interactions by user
	allClicks, allShown float64
}

func newCounts() *counts {
	return &counts{clicks: map[string]float64{}, shown: map[string]float64{}, history: map[string]int{}}
}

// Follow implements replay.Follower.
func (c *counts) Follow(rec *event.Record) {
	switch e := &rec.Event; e.Kind {
	case event.Impression:
		for _, id := range e.Shown {
			c.shown[id]++
			c.allShown++
		}
	case event.Interaction:
		c.clicks[e.ItemID]++
		c.allClicks++
		c.history[e.UserID]++
	}
}

type baseline struct {
	name  string
	score func(c *replay.Case, i int) float64
}

func (b *baseline) Name() string { return b.name }

func (b *baseline) Score(_ context.Context, c *replay.Case) ([]float64, error) {
	out := make([]float64, len(c.Request.Candidates))
	for i := range out {
		out[i] = b.score(c, i)
	}
	return out, nil
}

// smoothing is the prior strength of the click-rate baseline, in impressions. Strengths from 0.5 to
// 40 make no difference to its NDCG.
const smoothing = 10

// baselines returns the plain scorers that anything worth serving must beat, fed by n: chance, the order that was
// logged, popularity (interactions so far) and the smoothed live click rate. Three of them know nothing of some logs and
// are left out there: the order of lists that nobody showed, the click rate of items that nobody was shown, and what was
// counted of items whose behaviour is hidden.
func (p *Part) baselines(n *counts) []Scorer {
	id := func(c *replay.Case, i int) string { return c.Request.Candidates[i].ID }
	out := []Scorer{&baseline{"random", func(*replay.Case, int) float64 { return 0 }}}
	if p.opt.Hide != nil {
		return out
	}
	if p.picks[0].Shown {
		out = append(out, &baseline{"logged order", func(_ *replay.Case, i int) float64 { return -float64(i) }})
	}
	out = append(out, &baseline{"popularity", func(c *replay.Case, i int) float64 { return n.clicks[id(c, i)] }})
	if p.rated() {
		out = append(out, &baseline{"live click rate", func(c *replay.Case, i int) float64 {
			rate := 0.0
			if n.allShown > 0 {
				rate = n.allClicks / n.allShown
			}
			return (n.clicks[id(c, i)] + smoothing*rate) / (n.shown[id(c, i)] + smoothing)
		}})
	}
	return out
}

// rated reports whether scorers get to know an impression before the last list.
func (p *Part) rated() bool {
	known := p.picks[0].Seq
	if p.opt.Prequential {
		known = p.picks[len(p.picks)-1].Seq
	}
	return len(p.Log.Lists) > 0 && p.Log.Lists[0].Seq < known
}
