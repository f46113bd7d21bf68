package demo

import "math/rand/v2"

// Visit is a user who comes back after all of Events, and what was retrieved for him.
type Visit struct {
	User  string
	Items []string // the candidates, in random order
	Time  int64    // Unix ms
}

// Visits draws n visits; the same seed gives the same.
func (w *World) Visits(n int, seed uint64) []Visit {
	s := &simulation{World: w, rng: rand.New(rand.NewPCG(seed, 0x71517))}
	for i := range w.items {
		s.described = append(s.described, i)
	}
	out := make([]Visit, n)
	for v := range out {
		out[v] = Visit{User: userID(s.sampleUser()), Time: startTime + int64(w.opt.Lists+1+v)*listInterval}
		for _, i := range s.sampleCandidates() {
			out[v].Items = append(out[v].Items, w.items[i].ID)
		}
	}
	return out
}

// ExpectedClicks is the truth: how many clicks the user makes on the items in this order, in the mean.
func (w *World) ExpectedClicks(user string, order []string) (clicks float64) {
	for place, item := range order {
		clicks += Examination(place) * w.ClickProbability(user, item)
	}
	return clicks
}

// RandomOrderClicks is Clicks in the mean over all orders of the items.
func (w *World) RandomOrderClicks(user string, items []string) (clicks float64) {
	examined := 0.0
	for place, item := range items {
		examined += Examination(place)
		clicks += w.ClickProbability(user, item)
	}
	return clicks * examined / float64(len(items))
}
