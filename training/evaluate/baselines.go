package evaluate

import (
	"context"

	"relish/features/event"
	"relish/training/replay"
)

// counts is the baselines' own simple memory: what they know is independent of the code they are
// compared with.
type counts struct {
	clicks, shown       map[string]float64
	allClicks, allShown float64
}

func newCounts() *counts {
	return &counts{clicks: map[string]float64{}, shown: map[string]float64{}}
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

// Baselines returns the plain scorers that anything worth serving must beat, and the follower that
// feeds them: chance, the order that was logged, popularity (interactions so far) and the smoothed
// live click rate.
func Baselines() ([]Scorer, replay.Follower) {
	n := newCounts()
	id := func(c *replay.Case, i int) string { return c.Request.Candidates[i].ID }
	return []Scorer{
		&baseline{"random", func(*replay.Case, int) float64 { return 0 }},
		&baseline{"logged order", func(_ *replay.Case, i int) float64 { return -float64(i) }},
		&baseline{"popularity", func(c *replay.Case, i int) float64 { return n.clicks[id(c, i)] }},
		&baseline{"live click rate", func(c *replay.Case, i int) float64 {
			rate := 0.0
			if n.allShown > 0 {
				rate = n.allClicks / n.allShown
			}
			return (n.clicks[id(c, i)] + smoothing*rate) / (n.shown[id(c, i)] + smoothing)
		}},
	}, n
}
