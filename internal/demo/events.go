package demo

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"

	"relish/ranker"
)

// Events yields everything that happens, by arrival: item events, then lists with their clicks,
// purchases and comments. New items enter between the lists.
func (w *World) Events() iter.Seq[ranker.Event] {
	return func(yield func(ranker.Event) bool) {
		s := &simulation{
			World: w, rng: rand.New(rand.NewPCG(w.opt.Seed, 0xe4e)), yield: yield,
			clicks: make([]float64, len(w.items)),
		}
		for list := 0; list <= w.opt.Lists && !s.stopped; list++ {
			for i := range w.items {
				if w.truth[i].firstList == list {
					s.addItem(i, list)
				}
			}
			if list < w.opt.Lists {
				s.showList(list)
			}
		}
	}
}

// simulation is one iteration over the events of a World.
type simulation struct {
	*World
	rng       *rand.Rand
	yield     func(ranker.Event) bool
	stopped   bool
	described []int     // the items that have entered
	clicks    []float64 // by item: clicks so far
}

// emit yields an event unless the caller has stopped.
func (s *simulation) emit(e ranker.Event) {
	if !s.stopped {
		s.stopped = !s.yield(e)
	}
}

// addItem lets an item enter before a list.
func (s *simulation) addItem(i, list int) {
	it := &s.items[i]
	s.described = append(s.described, i)
	s.emit(ranker.Event{
		Kind: ranker.EventItem, ID: "item-" + it.ID, Time: startTime + int64(list)*listInterval,
		ItemID: it.ID, Title: &it.Title, Text: &it.Text, Tags: it.Tags, Fields: it.Fields,
	})
}

// showList shows the n-th list to a user, who examines and clicks some of its items.
func (s *simulation) showList(n int) {
	u := s.sampleUser()
	shown, propensity := s.sampleOrder(s.sampleCandidates())
	listID := fmt.Sprintf("list-%06d", n)
	at := startTime + int64(n)*listInterval
	ids := make([]string, len(shown))
	for k, i := range shown {
		ids[k] = s.items[i].ID
	}
	e := ranker.Event{
		Kind: ranker.EventImpression, ID: listID, Time: at, UserID: userID(u),
		Session:    fmt.Sprintf("session-%06d", n),
		Impression: &ranker.Impression{Items: ids, Propensity: propensity},
	}
	if s.opt.PlantedLift > 0 {
		e.Impression.Experiments = map[string]string{PlantedExperiment: PlantedArm(e.UserID)}
	}
	s.emit(e)
	for position, i := range shown {
		if s.rng.Float64() >= Examination(position) {
			continue
		}
		at += 1000 + s.rng.Int64N(3000)
		odds := s.affinity(u, i)
		if s.opt.PlantedLift > 0 && Treated(userID(u)) {
			odds += math.Log1p(s.opt.PlantedLift)
		}
		if s.rng.Float64() < sigmoid(odds) {
			s.click(listID, u, i, at)
		}
	}
}

// click emits a click, and sometimes a purchase and a comment after it.
func (s *simulation) click(listID string, u, i int, at int64) {
	s.clicks[i]++
	interact := func(action string, delay int64) {
		s.emit(ranker.Event{
			Kind: ranker.EventInteraction,
			ID:   fmt.Sprintf("%s-%s-%s", listID, action, s.items[i].ID),
			Time: at + delay, UserID: userID(u), ItemID: s.items[i].ID, Action: action,
			ImpressionID: listID,
		})
	}
	interact("click", 0)
	if s.rng.Float64() < purchaseRate*sigmoid(s.affinity(u, i)+1) {
		interact("purchase", 20_000)
	}
	if s.rng.Float64() < commentRate {
		interact("comment", 40_000)
	}
}

// sampleUser samples a user by activity, so that some users have long histories and some have none.
func (s *simulation) sampleUser() int {
	total := 0.0
	for i := range s.users {
		total += s.users[i].activity
	}
	at := s.rng.Float64() * total
	for i := range s.users {
		if at -= s.users[i].activity; at < 0 {
			return i
		}
	}
	return len(s.users) - 1
}

// sampleCandidates samples the items of a list uniformly from those that have entered.
func (s *simulation) sampleCandidates() []int {
	perm := s.rng.Perm(len(s.described))
	out := make([]int, 0, s.opt.ListSize)
	for _, k := range perm[:min(s.opt.ListSize, len(perm))] {
		out = append(out, s.described[k])
	}
	return out
}

// sampleOrder is the logging policy: it samples an order from a Plackett-Luce model with the weight
// sqrt(1 + clicks so far). A propensity is the probability of the item at its position, given the
// items above it. It overwrites candidates.
func (s *simulation) sampleOrder(candidates []int) (shown []int, propensity []float64) {
	weight := func(i int) float64 { return math.Sqrt(1 + s.clicks[i]) }
	for len(candidates) > 0 {
		total := 0.0
		for _, i := range candidates {
			total += weight(i)
		}
		at, k := s.rng.Float64()*total, 0
		for k < len(candidates)-1 {
			if at -= weight(candidates[k]); at < 0 {
				break
			}
			k++
		}
		shown = append(shown, candidates[k])
		propensity = append(propensity, weight(candidates[k])/total)
		candidates = slices.Delete(candidates, k, k+1)
	}
	return shown, propensity
}

// PlantedExperiment is the name of the simulated experiment of a world with a planted lift.
const PlantedExperiment = "planted-lift"

// PlantedArm returns a user's arm in PlantedExperiment: treated or control.
func PlantedArm(user string) string {
	if Treated(user) {
		return "treated"
	}
	return "control"
}

// Treated reports whether a user is in the arm with the planted lift. Every second user is.
func Treated(user string) bool { return (user[len(user)-1]-'0')%2 == 1 }

// Visit is a user who returns after all events, and the items retrieved for them.
type Visit struct {
	User  string
	Items []string // the candidates, in random order
	Time  int64    // Unix ms
}

// Visits samples n visits. The same seed gives the same visits.
func (w *World) Visits(n int, seed uint64) []Visit {
	s := &simulation{World: w, rng: rand.New(rand.NewPCG(seed, 0x71517))}
	for i := range w.items {
		s.described = append(s.described, i)
	}
	out := make([]Visit, n)
	for v := range out {
		out[v] = Visit{
			User: userID(s.sampleUser()),
			Time: startTime + int64(w.opt.Lists+1+v)*listInterval,
		}
		for _, i := range s.sampleCandidates() {
			out[v].Items = append(out[v].Items, w.items[i].ID)
		}
	}
	return out
}
