package demo_test

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"relish/features/event"
	"relish/internal/demo"
	"relish/ranker"
)

func TestCatalogue(t *testing.T) {
	items := demo.Catalogue()
	if len(items) < 300 {
		t.Errorf("%d items, want at least 300", len(items))
	}
	ids, titles, kinds := map[string]bool{}, map[string]bool{}, map[string]int{}
	phrases := map[string]string{}        // eight words in a row -> the item that has them
	hidden, themed := 0, map[string]int{} // themes that no tag names, items by theme
	for _, it := range items {
		if ids[it.ID] || titles[it.Title] {
			t.Errorf("%s: the id or the title %q is used twice", it.ID, it.Title)
		}
		ids[it.ID], titles[it.Title] = true, true
		kind := it.Fields["kind"].Str
		kinds[kind]++
		if !strings.HasPrefix(it.ID, kind+"-") || len(it.Tags) == 0 || it.Fields["price"].Num < 0 ||
			it.Fields["author"].Str == "" || it.Fields["year"].Num < 1900 {
			t.Errorf("%s: a field is missing or wrong: %+v", it.ID, it.Fields)
		}
		words := strings.Fields(it.Text)
		if len(words) < 25 || len(words) > 60 {
			t.Errorf("%s: a description of %d words, want 25 to 60", it.ID, len(words))
		}
		for i := 0; i+8 <= len(words); i++ {
			phrase := strings.Join(words[i:i+8], " ")
			if other, shared := phrases[phrase]; shared {
				t.Errorf("%s and %s share %q", it.ID, other, phrase)
			}
			phrases[phrase] = it.ID
		}
		tags := strings.Join(it.Tags, " ")
		for theme := range demo.Themes(&it) {
			themed[theme]++
			if !strings.Contains(tags, theme) {
				hidden++
			}
		}
	}
	if len(kinds) < 5 {
		t.Errorf("%d kinds, want at least 5: %v", len(kinds), kinds)
	}
	all := 0
	for theme, n := range themed {
		all += n
		if n < len(items)/40 {
			t.Errorf("only %d items have the theme %s", n, theme)
		}
	}
	// A ranking that reads tags only must not find the themes.
	if float64(hidden) < 0.8*float64(all) {
		t.Errorf("tags name %d of %d themes, want at most a fifth", all-hidden, all)
	}
}

// collect returns the events of a world.
func collect(w *demo.World) []ranker.Event { return slices.Collect(w.Events()) }

func TestWorldIsRepeatable(t *testing.T) {
	a := collect(demo.New(demo.Options{Seed: 1, Lists: 200}))
	b := collect(demo.New(demo.Options{Seed: 1, Lists: 200}))
	other := collect(demo.New(demo.Options{Seed: 2, Lists: 200}))
	key := func(e ranker.Event) string {
		if e.Impression == nil {
			return e.ID + e.UserID
		}
		return e.ID + e.UserID + strings.Join(e.Impression.Items, ",")
	}
	equal := func(x, y ranker.Event) bool { return key(x) == key(y) && x.Time == y.Time }
	if !slices.EqualFunc(a, b, equal) {
		t.Error("one seed gave two worlds")
	}
	if slices.EqualFunc(a, other, equal) {
		t.Error("two seeds gave the same world")
	}
	for i := range a {
		if invalid := event.Validate(&a[i]); invalid != nil {
			t.Fatalf("event %d: %v", i, invalid)
		}
	}
}

// shownList is a list with its clicks, as the log has it.
type shownList struct {
	user    string
	shown   []string
	clicked map[string]bool
}

// lists returns the lists of a world.
func lists(w *demo.World) []*shownList {
	byID := map[string]*shownList{}
	var out []*shownList
	for e := range w.Events() {
		switch {
		case e.Kind == ranker.EventImpression:
			byID[e.ID] = &shownList{e.UserID, e.Impression.Items, map[string]bool{}}
			out = append(out, byID[e.ID])
		case e.Kind == ranker.EventInteraction && e.Action == "click":
			byID[e.ImpressionID].clicked[e.ItemID] = true
		}
	}
	return out
}

// The clicks have the position bias of Examination: the clicks at a position, divided by the clicks
// that there would be if users examined every item.
func TestPositionBiasCanBeRecovered(t *testing.T) {
	w := demo.New(demo.Options{Seed: 3, Lists: 6000})
	var clicks, expected [24]float64
	for _, l := range lists(w) {
		for position, item := range l.shown {
			expected[position] += w.ClickProbability(l.user, item)
			if l.clicked[item] {
				clicks[position]++
			}
		}
	}
	for position := range clicks {
		got, want := clicks[position]/expected[position], demo.Examination(position)
		if math.Abs(got-want) > 0.12 {
			t.Errorf("position %d: examined %.2f, want %.2f", position, got, want)
		}
	}
}

func TestWorldIsPlausible(t *testing.T) {
	w := demo.New(demo.Options{Seed: 4})
	all := lists(w)
	clicks, shown := 0, 0
	users, popular := map[string]int{}, map[string]int{}
	for _, l := range all {
		users[l.user]++
		shown += len(l.shown)
		clicks += len(l.clicked)
		for item := range l.clicked {
			popular[item]++
		}
	}
	if rate := float64(clicks) / float64(shown); rate < 0.04 || rate > 0.25 {
		t.Errorf("click rate %.3f", rate)
	}
	most := slices.Max(slices.Collect(maps.Values(users)))
	if len(users) < 120 || most < 30 {
		t.Errorf("%d users, the most active with %d lists", len(users), most)
	}
	sources := map[demo.InterestSource]int{}
	for u := range users {
		sources[w.InterestSourceOf(u)]++
	}
	if sources[demo.ByTheme] < sources[demo.ByTag] || sources[demo.ByTag] == 0 ||
		sources[demo.ByKind] == 0 {
		t.Errorf("users by source of their interests: %v", sources)
	}
	if cold := w.ColdItems(); len(cold) < len(demo.Catalogue())/20 {
		t.Errorf("%d cold items", len(cold))
	}
	if w.InterestSourceOf("unknown") != "" || w.ClickProbability("unknown", "book-001") <= 0 ||
		w.ClickProbability("user-0001", "unknown") <= 0 {
		t.Error("an unknown user has interests, or an unknown user or item is never clicked")
	}
}

// There is something to learn: the best order has more clicks at the top than popularity has.
func TestBestOrderBeatsPopularity(t *testing.T) {
	w := demo.New(demo.Options{Seed: 5})
	all := lists(w)
	popular := map[string]float64{}
	for _, l := range all {
		for item := range l.clicked {
			popular[item]++
		}
	}
	gain := func(order []string, l *shownList) (g float64) {
		for position, item := range order[:min(5, len(order))] {
			if l.clicked[item] {
				g += 1 / math.Log2(float64(position)+2)
			}
		}
		return g
	}
	var best, byPopularity float64
	for _, l := range all {
		best += gain(w.BestOrder(l.user, l.shown), l)
		order := slices.Clone(l.shown)
		slices.SortStableFunc(order, func(a, b string) int { return int(popular[b] - popular[a]) })
		byPopularity += gain(order, l)
	}
	if best < 1.3*byPopularity {
		t.Errorf("gain %.0f in the best order, %.0f by popularity", best, byPopularity)
	}
}

func TestPlantedLift(t *testing.T) {
	rate := func(w *demo.World, treated bool) float64 {
		clicks, shown := 0, 0
		for _, l := range lists(w) {
			if demo.Treated(l.user) == treated {
				clicks += len(l.clicked)
				shown += len(l.shown)
			}
		}
		return float64(clicks) / float64(shown)
	}
	plain := demo.New(demo.Options{Seed: 6})
	lifted := demo.New(demo.Options{Seed: 6, PlantedLift: 1})
	if ratio := rate(lifted, true) / rate(plain, true); ratio < 1.3 {
		t.Errorf("treated users click %.2f times as often, want at least 1.3", ratio)
	}
	if ratio := rate(lifted, false) / rate(plain, false); ratio < 0.9 || ratio > 1.1 {
		t.Errorf("other users click %.2f times as often, want about 1", ratio)
	}
}

func BenchmarkEvents(b *testing.B) {
	w := demo.New(demo.Options{Seed: 1})
	n := 0
	for b.Loop() {
		for range w.Events() {
			n++
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
