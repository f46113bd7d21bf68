package analysis

import (
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/cespare/xxhash/v2"

	"relish/internal/stats"
	"relish/ranker"
)

// groupCount is the number of groups that users fall into, by their number, for what is no mean over
// users. The standard error then comes from leaving out one group at a time.
const groupCount = 20

// topPositions is how many places of a list coverage and diversity look at.
const topPositions = 10

// userGroups measures what is no mean over users: the 95th percentile of latency, and how many items get
// shown; and it knows the items' tags.
type userGroups struct {
	items         map[uint64]int32 // hash of an item's id -> number
	tags          *nameTable
	tagsByItem    [][]int32 // by item: its tags
	lastListOfTag []int     // by tag: the last list that had it
	lists         int
	arms          []*armGroups
}

type armGroups struct {
	latency [groupCount]*hdrhistogram.Histogram // us; nil before the first
	shown   [groupCount][]int32                 // by item: how often in the first places
}

func newUserGroups() *userGroups {
	return &userGroups{items: map[uint64]int32{}, tags: newNameTable(0)}
}

func (g *userGroups) itemNumber(id string) int32 {
	key := xxhash.Sum64String(id)
	n, ok := g.items[key]
	if !ok {
		n = int32(len(g.tagsByItem))
		g.items[key] = n
		g.tagsByItem = append(g.tagsByItem, nil)
	}
	return n
}

// setTags keeps an item's tags.
func (g *userGroups) setTags(e *ranker.Event) {
	if e.Tags == nil && !e.Replace {
		return
	}
	n := g.itemNumber(e.ItemID)
	g.tagsByItem[n] = g.tagsByItem[n][:0]
	for _, tag := range e.Tags {
		g.tagsByItem[n] = append(g.tagsByItem[n], int32(g.tags.id(tag)))
	}
	for len(g.lastListOfTag) < len(g.tags.list) {
		g.lastListOfTag = append(g.lastListOfTag, 0)
	}
}

// tagDiversity is distinct tags / tags of a list's first places; not ok where the items have none.
func (g *userGroups) tagDiversity(shown []string) (share float64, ok bool) {
	g.lists++
	tags, distinct := 0, 0
	for _, id := range shown[:min(topPositions, len(shown))] {
		n, known := g.items[xxhash.Sum64String(id)]
		if !known {
			continue
		}
		for _, tag := range g.tagsByItem[n] {
			tags++
			if g.lastListOfTag[tag] != g.lists {
				g.lastListOfTag[tag] = g.lists
				distinct++
			}
		}
	}
	return float64(distinct) / float64(max(1, tags)), tags > 0
}

// maxLatencyMicros is the longest latency that is told apart, in us; digits how finely. A coarser scale than the
// differences that matter would jump when a group is left out, and make them look like noise.
const (
	maxLatencyMicros = 600_000_000
	latencyDigits    = 3
)

// addList counts a list of user i.
func (g *userGroups) addList(arm, i int, e *ranker.Event) {
	for len(g.arms) <= arm {
		g.arms = append(g.arms, &armGroups{})
	}
	a, group := g.arms[arm], i%groupCount
	if e.Impression.Took > 0 {
		if a.latency[group] == nil {
			a.latency[group] = hdrhistogram.New(1, maxLatencyMicros, latencyDigits)
		}
		// Within its bounds by construction.
		_ = a.latency[group].RecordValue(max(1, min(maxLatencyMicros, e.Impression.Took.Microseconds())))
	}
	for _, id := range e.Impression.Items[:min(topPositions, len(e.Impression.Items))] {
		n := int(g.itemNumber(id))
		for len(a.shown[group]) <= n {
			a.shown[group] = append(a.shown[group], make([]int32, n+1-len(a.shown[group]))...)
		}
		a.shown[group][n]++
	}
}

// jackknife calls one with each group left out, and with none left out (-1), and returns the latter's
// value with the jackknife's standard error, for n users.
func jackknife(n float64, one func(left int) float64) stats.Estimate {
	values := make([]float64, groupCount)
	for g := range values {
		values[g] = one(g)
	}
	return stats.Estimate{Value: one(-1), SE: stats.Jackknife(values), N: n}
}

// estimate is one of the metrics that are no mean over users, for an arm with that many users; not ok
// where nothing is known.
func (g *userGroups) estimate(m metric, arm int, users float64) (stats.Estimate, bool) {
	if arm >= len(g.arms) {
		return stats.Estimate{}, false
	}
	if m.name == "latency" {
		return g.latency(arm, users)
	}
	return g.coverage(arm, users)
}

// latency is the arm's 95th percentile in ms; not ok where nothing was measured.
func (g *userGroups) latency(arm int, users float64) (e stats.Estimate, ok bool) {
	e = jackknife(users, func(left int) float64 {
		all := hdrhistogram.New(1, maxLatencyMicros, latencyDigits)
		for k, h := range g.arms[arm].latency {
			if h != nil && k != left {
				all.Merge(h)
			}
		}
		return float64(all.ValueAtQuantile(95)) / 1000
	})
	return e, e.Value > 0
}

// coverage is the number of items that, shown equally often, would be as varied as what the arm shows:
// one over the chance that two places hold the same item (Hill 1973's number of order 2, from pairs
// without repetition, so that it does not depend on how much was shown).
func (g *userGroups) coverage(arm int, users float64) (e stats.Estimate, ok bool) {
	e = jackknife(users, func(left int) float64 {
		var places, pairs float64
		for item := range g.tagsByItem {
			n := 0.0
			for k, shown := range g.arms[arm].shown {
				if k != left && item < len(shown) {
					n += float64(shown[item])
				}
			}
			places, pairs = places+n, pairs+n*(n-1)
		}
		return places * (places - 1) / pairs
	})
	return e, !math.IsInf(e.Value, 1) && !math.IsNaN(e.Value) // not for no two places with the same item
}
