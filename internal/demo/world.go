package demo

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"relish/ranker"
)

// Options of a World. A zero value means the default in brackets, except for the seed.
type Options struct {
	Seed     uint64
	Users    int // [200]
	Lists    int // lists shown, over all users [3000]
	ListSize int // items per list [24]

	// PlantedLift is the effect of a simulated experiment, which its report must find. The odds of
	// a click by a user in the treated arm are multiplied by 1 + PlantedLift. If it is above 0,
	// impressions name PlantedExperiment and the user's arm.
	PlantedLift float64
}

// World is a catalogue and users whose interests only the world knows. It is read-only and safe for
// concurrent use. Events can be iterated any number of times and yields the same events each time.
type World struct {
	opt   Options
	items []ranker.Item
	index map[string]int // item id -> position in items
	truth []hiddenItem   // by item
	users []hiddenUser
}

// hiddenItem is what only the world knows of an item.
type hiddenItem struct {
	themes    map[string]bool
	quality   float64 // log-odds of a click, heavy-tailed
	firstList int     // the first list that may show the item; 0: from the start
}

// InterestSource says where an item's data shows what a user is interested in.
type InterestSource string

// The sources: the description only, the tags, or the kind of item.
const (
	ByTheme InterestSource = "theme"
	ByTag   InterestSource = "tag"
	ByKind  InterestSource = "kind"
)

// hiddenUser is what only the world knows of a user.
type hiddenUser struct {
	source   InterestSource
	logOdds  map[string]float64 // by theme, tag or kind: what it adds to the log-odds of a click
	activity float64            // share of the lists, up to a common factor
}

// Parameters of the world. The log-odds of a click are a sum: a user clicks about one in twelve of
// the items that they examine, and one in two of those with something that they like.
const (
	coldItemShare = 0.15 // of the items: those that enter later
	baseOdds      = -2.4
	likeOdds      = 2.2
	dislikeOdds   = -1.2
	startTime     = int64(1_767_225_600_000) // Unix ms: 2026-01-01
	listInterval  = int64(97_000)            // ms between lists
	purchaseRate  = 0.25                     // P(purchase | click) of an item that is surely liked
	commentRate   = 0.06                     // P(comment | click)
)

// New returns the world of a seed.
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

// sampleQuality samples an item's quality in log-odds: most items are average, a few are popular.
func sampleQuality(rng *rand.Rand) float64 { return min(2.5, 0.35*rng.ExpFloat64()) - 0.35 }

// sampleUsers samples the users: 60 % are interested in themes, 25 % in tags, 15 % in a kind.
func (w *World) sampleUsers(rng *rand.Rand) {
	themeNames := slices.Sorted(maps.Keys(themes))
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
			pick := rng.Perm(len(themeNames))
			u.logOdds[themeNames[pick[0]]] = likeOdds
			u.logOdds[themeNames[pick[1]]] = likeOdds
			u.logOdds[themeNames[pick[2]]] = dislikeOdds
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

func userID(u int) string { return fmt.Sprintf("user-%04d", u) }

// userIndex returns the position of a user in World.users.
func (w *World) userIndex(id string) (u int, known bool) {
	_, err := fmt.Sscanf(id, "user-%d", &u)
	return u, err == nil && u < len(w.users)
}
