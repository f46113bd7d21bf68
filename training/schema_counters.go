package training

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"relish/features"
	"relish/internal/plural"
	"relish/ranker"
)

// minUsualCount is the usual count of an item that a half-life needs to become a feature. With
// lower counts a tree splits at one interaction, and then one click of anybody moves an item far.
const minUsualCount = 2

// actions returns the actions of the log, most frequent first, with their counts. If there are
// several, features.ActionAny comes first.
func (b *schemaBuilder) actions() (names []string, counts map[string]int) {
	counts = maps.Clone(b.log.Actions)
	names = slices.Collect(maps.Keys(counts))
	slices.SortFunc(names, func(x, y string) int {
		return cmp.Or(cmp.Compare(counts[y], counts[x]), cmp.Compare(x, y))
	})
	if len(names) > 1 {
		total := 0
		for _, n := range counts {
			total += n
		}
		counts[features.ActionAny] = total
		names = append([]string{features.ActionAny}, names...)
	}
	return names, counts
}

// halfLives returns "all" and those half-lives that the log is long enough to tell from it, and for
// which it has enough interactions.
func (b *schemaBuilder) halfLives() []string {
	span := time.Duration(b.log.To-b.log.From) * time.Millisecond
	out := []string{"all"}
	for _, h := range b.state.HalfLives {
		d, err := features.ParseHalfLife(h)
		if err == nil && d > 0 && span >= 4*d && b.usualCount(d) >= minUsualCount {
			out = append(out, h)
		}
	}
	return out
}

// usualCount returns the count with a half-life that items have when somebody interacts with them:
// the median over the interactions that are learned from, each without itself.
func (b *schemaBuilder) usualCount(halfLife time.Duration) float64 {
	type decayed struct {
		count float64
		time  int64
	}
	counts := map[int32]decayed{}
	var before []float64
	for i := range b.log.Interactions {
		x := &b.log.Interactions[i]
		if x.Seq >= b.before || x.Uncounted {
			continue
		}
		c := counts[x.Item]
		age := float64(max(0, x.Time-c.time)) / float64(halfLife.Milliseconds())
		c.count *= math.Exp2(-age)
		before = append(before, c.count)
		counts[x.Item] = decayed{c.count + 1, max(x.Time, c.time)}
	}
	if len(before) == 0 {
		return 0
	}
	slices.Sort(before)
	return before[len(before)/2]
}

// addCounters adds the counters of items and of the user.
func (b *schemaBuilder) addCounters() {
	actions, counts := b.actions()
	for _, halfLife := range b.halfLives() {
		suffix := ""
		if halfLife != "all" {
			suffix = "." + halfLife
		}
		item := func(name, kind, action string) ranker.Feature {
			return ranker.Feature{
				Name: "item." + name + suffix, Kind: kind, Scope: ranker.ScopeItem, Action: action,
				HalfLife: halfLife,
			}
		}
		for _, a := range actions {
			b.add(item("count."+a, ranker.KindCount, a),
				"popularity: the log has %s %q", plural.Count(counts[a], "interaction"), a)
			if b.lists > 0 {
				b.add(item("rate."+a, ranker.KindRate, a),
					"how often an impression leads to it: the log has %s",
					plural.Count(b.lists, "impression"))
			}
		}
		if len(actions) > 0 {
			f := item("within_list", ranker.KindCount, actions[0])
			f.WithinList = "zscore"
			b.add(f, "popularity relative to the list, which does not drift as counters grow")
		}
		if b.lists > 0 {
			b.add(item("shown", ranker.KindCount, features.ActionImpression),
				"how far the item's rate can be trusted")
		}
	}
	if len(actions) == 0 {
		return
	}
	if b.lists > 0 {
		b.add(ranker.Feature{
			Name: "item.rate.within_list", Kind: ranker.KindRate, Scope: ranker.ScopeItem,
			Action: actions[0], WithinList: "zscore",
		}, "the rate relative to the list")
		b.add(ranker.Feature{
			Name: "user.rate", Kind: ranker.KindRate, Scope: ranker.ScopeUser, Action: actions[0],
		}, "some users click more than others")
	}
	b.add(ranker.Feature{Name: "user.history", Kind: ranker.KindHistory},
		"how much is known of the user: decides which other features to trust")
}
