package analysis

import (
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/cespare/xxhash/v2"

	"relish/internal/stats"
	"relish/ranker"
)

// groupCount is the number of groups that users are divided into for the jackknife.
const groupCount = 20

// topPositions is how many positions of a list coverage and diversity use.
const topPositions = 10

// userGroups measures the metrics that are not means over users: the 95th percentile of latency,
// and how many items are shown. Users are divided into groups by their number. Leaving out one
// group at a time gives the standard error. It also keeps the items' tags.
type userGroups struct {
	items         map[uint64]int32 // hash of an item's id -> number
	tags          *nameTable
	tagsByItem    [][]int32 // by item: tag numbers
	lastListOfTag []int     // by tag: number of the last list that had it
	lists         int
	arms          []*armGroups
}

// armGroups holds one arm's data, by group.
type armGroups struct {
	latency [groupCount]*hdrhistogram.Histogram // in µs; nil before the first value
	shown   [groupCount][]int32                 // by item: how often in the top positions
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

// setTags stores the tags of an item event.
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

// tagDiversity returns distinct tags / tags of a list's top positions. It is false if the items
// have no tags.
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

const (
	maxLatencyMicros = 600_000_000 // longer latencies count as this one

	// latencyDigits is the resolution of the latency histograms, in significant digits. A coarser
	// one would make the percentile jump when a group is left out, and look like noise.
	latencyDigits = 3
)

// addList counts a list that was shown to user i.
func (g *userGroups) addList(arm, i int, e *ranker.Event) {
	for len(g.arms) <= arm {
		g.arms = append(g.arms, &armGroups{})
	}
	a, group := g.arms[arm], i%groupCount
	if e.Impression.Took > 0 {
		if a.latency[group] == nil {
			a.latency[group] = hdrhistogram.New(1, maxLatencyMicros, latencyDigits)
		}
		micros := max(1, min(maxLatencyMicros, e.Impression.Took.Microseconds()))
		_ = a.latency[group].RecordValue(micros) // cannot fail within the bounds
	}
	items := e.Impression.Items
	for _, id := range items[:min(topPositions, len(items))] {
		n := int(g.itemNumber(id))
		for len(a.shown[group]) <= n {
			a.shown[group] = append(a.shown[group], make([]int32, n+1-len(a.shown[group]))...)
		}
		a.shown[group][n]++
	}
}

// jackknife returns the value of a statistic of n users, with the standard error of the
// delete-a-group jackknife. It calls statistic for each group to leave out, and with -1 to leave
// out none.
func jackknife(n float64, statistic func(leftOut int) float64) stats.Estimate {
	values := make([]float64, groupCount)
	for g := range values {
		values[g] = statistic(g)
	}
	return stats.Estimate{Value: statistic(-1), SE: stats.Jackknife(values), N: n}
}

// estimate returns a metric that is not a mean over users, for an arm with that many users. It is
// false if the log has no data on it.
func (g *userGroups) estimate(m metric, arm int, users float64) (stats.Estimate, bool) {
	if arm >= len(g.arms) {
		return stats.Estimate{}, false
	}
	if m.name == "latency" {
		return g.latency(arm, users)
	}
	return g.coverage(arm, users)
}

// latency returns the arm's 95th percentile of latency in ms. It is false if no latency was
// recorded.
func (g *userGroups) latency(arm int, users float64) (e stats.Estimate, ok bool) {
	e = jackknife(users, func(leftOut int) float64 {
		all := hdrhistogram.New(1, maxLatencyMicros, latencyDigits)
		for k, h := range g.arms[arm].latency {
			if h != nil && k != leftOut {
				all.Merge(h)
			}
		}
		return float64(all.ValueAtQuantile(95)) / 1000
	})
	return e, e.Value > 0
}

// coverage returns the effective number of items that an arm shows: how many items, shown equally
// often, would be as varied. It is the inverse of the probability that two positions hold the same
// item (Hill's number of order 2: Hill, Diversity and evenness, Ecology 1973). Pairs are drawn
// without replacement, so that the value does not depend on the number of lists.
func (g *userGroups) coverage(arm int, users float64) (e stats.Estimate, ok bool) {
	e = jackknife(users, func(leftOut int) float64 {
		var positions, pairs float64
		for item := range g.tagsByItem {
			n := 0.0
			for k, shown := range g.arms[arm].shown {
				if k != leftOut && item < len(shown) {
					n += float64(shown[item])
				}
			}
			positions, pairs = positions+n, pairs+n*(n-1)
		}
		return positions * (positions - 1) / pairs
	})
	// The value is infinite if no two positions hold the same item.
	return e, !math.IsInf(e.Value, 1) && !math.IsNaN(e.Value)
}
