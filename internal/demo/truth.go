package demo

import (
	"cmp"
	"math"
	"slices"
)

// Examination returns the probability that a user looks at a position of a list, counted from 0. It
// is 1 / (1 + position/10): 1 at the top, 1/2 at position 10.
func Examination(position int) float64 { return 1 / (1 + float64(position)/10) }

// affinity returns the log-odds that user u clicks item i if they examine it: the item's quality,
// the strongest of the likes that the item meets, and all dislikes.
func (w *World) affinity(u, i int) float64 {
	user, it := &w.users[u], &w.items[i]
	odds := baseOdds + w.truth[i].quality
	best := 0.0
	add := func(x float64) {
		if x < 0 {
			odds += x
		}
		best = max(best, x)
	}
	switch user.source {
	case ByTheme:
		for theme := range w.truth[i].themes {
			add(user.logOdds[theme])
		}
	case ByTag:
		for _, t := range it.Tags {
			add(user.logOdds[t])
		}
	case ByKind:
		add(user.logOdds[it.Fields["kind"].Str])
	}
	return odds + best
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// ClickProbability returns the true probability that the user clicks the item if they examine it.
// An unknown user or item gets the probability of an average pair.
func (w *World) ClickProbability(user, item string) float64 {
	u, known := w.userIndex(user)
	i, ok := w.index[item]
	if !known || !ok {
		return sigmoid(baseOdds)
	}
	return sigmoid(w.affinity(u, i))
}

// BestOrder returns the items by falling ClickProbability. No order gets more clicks.
func (w *World) BestOrder(user string, items []string) []string {
	return slices.SortedStableFunc(slices.Values(items), func(a, b string) int {
		return cmp.Compare(w.ClickProbability(user, b), w.ClickProbability(user, a))
	})
}

// ExpectedClicks returns the mean number of clicks that the user makes on the items in this order.
func (w *World) ExpectedClicks(user string, order []string) (clicks float64) {
	for position, item := range order {
		clicks += Examination(position) * w.ClickProbability(user, item)
	}
	return clicks
}

// RandomOrderClicks returns the mean of ExpectedClicks over all orders of the items.
func (w *World) RandomOrderClicks(user string, items []string) (clicks float64) {
	examined := 0.0
	for position, item := range items {
		examined += Examination(position)
		clicks += w.ClickProbability(user, item)
	}
	return clicks * examined / float64(len(items))
}
