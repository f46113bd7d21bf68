package demo

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"slices"

	"relish/ranker"
)

// Options of a World. Zero values mean the defaults in brackets.
type Options struct {
	Seed     uint64
	Users    int // [200]
	Lists    int // lists shown, over all users [3000]
	ListSize int // items a list [24]
	// PlantedLift multiplies the odds of a click in lists that Treated says are treated: the planted
	// effect that an experiment's report must find. Lists then name the experiment and the arm.
	PlantedLift float64
}

// World is a catalogue and users with hidden tastes. It is immutable: Events may be walked any number
// of times and gives the same events.
type World struct {
	opt   Options
	items []ranker.Item
	index map[string]int
	truth []hiddenItem
	users []hiddenUser
}

type hiddenItem struct {
	themes    map[string]bool
	quality   float64 // log-odds, heavy-tailed
	firstList int     // the list before which the item is described; 0 = from the start
}

// InterestSource says where a user's interests can be read.
type InterestSource string

// The tastes: in the prose only, in the tags, or in the kind of item.
const (
	ByTheme InterestSource = "theme"
	ByTag   InterestSource = "tag"
	ByKind  InterestSource = "kind"
)

type hiddenUser struct {
	source   InterestSource
	logOdds  map[string]float64 // theme, tag or kind -> log-odds
	activity float64
}

// New makes the world of the options' seed.
func New(opt Options) *World {
	if opt.Users == 0 {
		opt.Users = 200
	}
	if opt.Lists == 0 {
		opt.Lists = 3000
	}
	if opt.ListSize == 0 {
		opt.ListSize = 24
	}
	w := &World{opt: opt, items: Catalogue(), index: map[string]int{}}
	rng := rand.New(rand.NewPCG(opt.Seed, 0x5ee0))
	for i := range w.items {
		w.index[w.items[i].ID] = i
		h := hiddenItem{themes: Themes(&w.items[i]), quality: sampleQuality(rng)}
		if rng.Float64() < coldItemShare {
			h.firstList = int((0.3 + 0.7*rng.Float64()) * float64(opt.Lists))
		}
		w.truth = append(w.truth, h)
	}
	w.sampleUsers(rng)
	return w
}

// The world's constants. Clicks are log-odds sums: a stranger clicks one in twelve of what he
// examines, one liked thing makes it one in two.
const (
	coldItemShare = 0.15
	baseOdds      = -2.4
	likeOdds      = 2.2
	dislikeOdds   = -1.2
	startTime     = int64(1_767_225_600_000) // 2026-01-01
	listInterval  = int64(97_000)            // ms between lists
	purchaseRate  = 0.25                     // P(purchase | click) of a liked item
	commentRate   = 0.06
)

// sampleQuality is a quality in log-odds: most items are ordinary, a few are much liked.
func sampleQuality(rng *rand.Rand) float64 { return min(2.5, 0.35*rng.ExpFloat64()) - 0.35 }

func (w *World) sampleUsers(rng *rand.Rand) {
	names := slices.Sorted(maps.Keys(themes))
	tags, kinds := map[string]bool{}, map[string]bool{}
	for i := range w.items {
		for _, t := range w.items[i].Tags {
			tags[t] = true
		}
		kinds[w.items[i].Fields["kind"].Str] = true
	}
	tagNames, kindNames := slices.Sorted(maps.Keys(tags)), slices.Sorted(maps.Keys(kinds))
	for range w.opt.Users {
		u := hiddenUser{logOdds: map[string]float64{}, activity: 0.2 + rng.ExpFloat64()}
		switch p := rng.Float64(); {
		case p < 0.6:
			u.source = ByTheme
			pick := rng.Perm(len(names))
			u.logOdds[names[pick[0]]], u.logOdds[names[pick[1]]], u.logOdds[names[pick[2]]] = likeOdds, likeOdds, dislikeOdds
		case p < 0.85:
			u.source = ByTag
			for _, k := range rng.Perm(len(tagNames))[:min(6, len(tagNames))] {
				u.logOdds[tagNames[k]] = likeOdds
			}
		default:
			u.source = ByKind
			u.logOdds[kindNames[rng.IntN(len(kindNames))]] = likeOdds
		}
		w.users = append(w.users, u)
	}
}

// Examination is the probability that a user looks at a place (from 0): 1 at the top, half at place
// 10, as 1 / (1 + place/10).
func Examination(place int) float64 { return 1 / (1 + float64(place)/10) }

func userID(u int) string { return fmt.Sprintf("user-%04d", u) }

// affinity is the user's log-odds of clicking an item he examines.
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

// Events gives everything that happens, in the order of its arrival: item events, then lists with
// their clicks, purchases and comments, with new items described along the way. Event ids and times
// are the same in every walk.
func (w *World) Events() iter.Seq[ranker.Event] {
	return func(yield func(ranker.Event) bool) {
		s := &simulation{World: w, rng: rand.New(rand.NewPCG(w.opt.Seed, 0xe4e)), yield: yield, clicks: make([]float64, len(w.items))}
		for list := 0; list <= w.opt.Lists && !s.stopped; list++ {
			for i := range w.items {
				if e := w.truth[i].firstList; e == list {
					s.addItem(i, list)
				}
			}
			if list < w.opt.Lists {
				s.showList(list)
			}
		}
	}
}

// simulation is one walk.
type simulation struct {
	*World
	rng       *rand.Rand
	yield     func(ranker.Event) bool
	stopped   bool
	described []int // described items
	clicks    []float64
}

func (s *simulation) emit(e ranker.Event) {
	if !s.stopped {
		s.stopped = !s.yield(e)
	}
}

func (s *simulation) addItem(i, list int) {
	it := &s.items[i]
	s.described = append(s.described, i)
	s.emit(ranker.Event{Kind: ranker.EventItem, ID: "item-" + it.ID, Time: startTime + int64(list)*listInterval, ItemID: it.ID, Title: &it.Title, Text: &it.Text, Tags: it.Tags, Fields: it.Fields})
}

// showList shows one list to one user and lets him click.
func (s *simulation) showList(n int) {
	u := s.sampleUser()
	shown, propensity := s.sampleOrder(s.sampleCandidates())
	id := fmt.Sprintf("list-%06d", n)
	at := startTime + int64(n)*listInterval
	ids := make([]string, len(shown))
	for k, i := range shown {
		ids[k] = s.items[i].ID
	}
	e := ranker.Event{Kind: ranker.EventImpression, ID: id, Time: at, UserID: userID(u), Session: fmt.Sprintf("session-%06d", n),
		Impression: &ranker.Impression{Items: ids, Propensity: propensity}}
	if s.opt.PlantedLift > 0 {
		e.Impression.Experiments = map[string]string{PlantedExperiment: PlantedArm(e.UserID)}
	}
	s.emit(e)
	for place, i := range shown {
		if s.rng.Float64() >= Examination(place) {
			continue
		}
		at += 1000 + s.rng.Int64N(3000)
		odds := s.affinity(u, i)
		if s.opt.PlantedLift > 0 && Treated(userID(u)) {
			odds += math.Log1p(s.opt.PlantedLift)
		}
		if s.rng.Float64() < sigmoid(odds) {
			s.click(id, u, i, at)
		}
	}
}

func (s *simulation) click(list string, u, i int, at int64) {
	s.clicks[i]++
	do := func(action string, after int64) {
		s.emit(ranker.Event{Kind: ranker.EventInteraction, ID: fmt.Sprintf("%s-%s-%s", list, action, s.items[i].ID), Time: at + after,
			UserID: userID(u), ItemID: s.items[i].ID, Action: action, ImpressionID: list})
	}
	do("click", 0)
	if s.rng.Float64() < purchaseRate*sigmoid(s.affinity(u, i)+1) {
		do("purchase", 20_000)
	}
	if s.rng.Float64() < commentRate {
		do("comment", 40_000)
	}
}

// sampleUser draws by activity, so that some users have long histories and some have none.
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

// sampleCandidates draws the retrieved items, without looking at the user.
func (s *simulation) sampleCandidates() []int {
	perm := s.rng.Perm(len(s.described))
	out := make([]int, 0, s.opt.ListSize)
	for _, k := range perm[:min(s.opt.ListSize, len(perm))] {
		out = append(out, s.described[k])
	}
	return out
}

// sampleOrder is the logging policy: Plackett-Luce over ln(1 + clicks so far), with its propensities.
func (s *simulation) sampleOrder(left []int) (shown []int, propensity []float64) {
	weight := func(i int) float64 { return math.Sqrt(1 + s.clicks[i]) }
	for len(left) > 0 {
		total := 0.0
		for _, i := range left {
			total += weight(i)
		}
		at, k := s.rng.Float64()*total, 0
		for k < len(left)-1 {
			if at -= weight(left[k]); at < 0 {
				break
			}
			k++
		}
		shown, propensity = append(shown, left[k]), append(propensity, weight(left[k])/total)
		left = slices.Delete(left, k, k+1)
	}
	return shown, propensity
}

// PlantedExperiment is the experiment that lists of a world with a planted lift are in.
const PlantedExperiment = "planted-lift"

// PlantedArm is a user's arm in it: treated or control.
func PlantedArm(user string) string {
	if Treated(user) {
		return "treated"
	}
	return "control"
}

// Treated says whether a user is in the arm with the planted lift: every second one.
func Treated(user string) bool { return (user[len(user)-1]-'0')%2 == 1 }

// ClickProbability is the truth: how likely the user clicks the item if he examines it.
func (w *World) ClickProbability(user, item string) float64 {
	var u int
	if _, err := fmt.Sscanf(user, "user-%d", &u); err != nil || u >= len(w.users) {
		return sigmoid(baseOdds)
	}
	i, ok := w.index[item]
	if !ok {
		return sigmoid(baseOdds)
	}
	return sigmoid(w.affinity(u, i))
}

// BestOrder is the order of the items that the user would click most in.
func (w *World) BestOrder(user string, items []string) []string {
	return slices.SortedStableFunc(slices.Values(items), func(a, b string) int {
		return cmp.Compare(w.ClickProbability(user, b), w.ClickProbability(user, a))
	})
}

// ColdItems are the ids of items that enter late.
func (w *World) ColdItems() []string {
	var out []string
	for i := range w.items {
		if w.truth[i].firstList > 0 {
			out = append(out, w.items[i].ID)
		}
	}
	return out
}

// InterestSourceOf says where a user's interests can be read.
func (w *World) InterestSourceOf(user string) InterestSource {
	var u int
	if _, err := fmt.Sscanf(user, "user-%d", &u); err != nil || u >= len(w.users) {
		return ""
	}
	return w.users[u].source
}
