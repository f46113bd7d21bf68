package evaluation

import (
	"iter"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/features/event"
	"relish/training/replay"
)

// SampleItems returns a choice of that share of all items, by a hash of their ids: the same for everybody who asks, and
// another one for another seed.
func SampleItems(share float64, seed uint64) func(id string) bool {
	return func(id string) bool {
		d := xxhash.NewWithSeed(seed)
		_, _ = d.WriteString("hide ")
		_, _ = d.WriteString(id)
		return float64(d.Sum64()>>11)/(1<<53) < share
	}
}

// withoutItems is the log as if nobody had been shown the hidden items or done anything with them. Its records keep their
// places, since lists are told by them: an interaction with a hidden item leaves no more than that its user was there.
func withoutItems(src replay.Source, hide func(id string) bool) replay.Source {
	return func() iter.Seq2[event.Record, error] {
		return func(yield func(event.Record, error) bool) {
			for rec, err := range src() {
				switch e := &rec.Event; {
				case e.Kind == event.EventImpression:
					removeShown(e, hide)
				case e.Kind == event.EventInteraction && hide(e.ItemID):
					rec.Event = event.Event{Kind: event.EventUser, ID: e.ID, UserID: e.UserID, Session: e.Session, Time: e.Time}
				}
				if !yield(rec, err) {
					return
				}
			}
		}
	}
}

// removeShown takes the hidden items out of an impression, and with them what the server noted of the whole list.
func removeShown(e *event.Event, hide func(id string) bool) {
	if !slices.ContainsFunc(e.Shown, hide) {
		return
	}
	var shown []string
	var scores, propensity []float64
	for i, id := range e.Shown {
		if hide(id) {
			continue
		}
		shown = append(shown, id)
		if e.Scores != nil {
			scores = append(scores, e.Scores[i])
		}
		if e.Propensity != nil {
			propensity = append(propensity, e.Propensity[i])
		}
	}
	e.Shown, e.Scores, e.Propensity, e.Answer = shown, scores, propensity, nil
}

// keepHidden reduces the picks to their hidden items, and keeps those that still say something of an order: with a gain
// and without one.
func keepHidden(picks []replay.RankingList, ids []string, hide func(id string) bool) (out []replay.RankingList) {
	for _, p := range picks {
		left := replay.RankingList{Seq: p.Seq, User: p.User, Logged: p.Logged}
		for i, item := range p.Items {
			if hide(ids[item]) {
				left.Items, left.Gains = append(left.Items, item), append(left.Gains, p.Gains[i])
			}
		}
		if len(left.Items) > 0 && slices.Max(left.Gains) > 0 && slices.Min(left.Gains) == 0 {
			out = append(out, left)
		}
	}
	return out
}
