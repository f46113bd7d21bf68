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
		t.Errorf("%d items, at least 300 are promised", len(items))
	}
	ids, titles, kinds := map[string]bool{}, map[string]bool{}, map[string]int{}
	runs := map[string]string{} // eight words in a row -> the item that has them
	untold, themed := 0, map[string]int{}
	for _, it := range items {
		if ids[it.ID] || titles[it.Title] {
			t.Errorf("%s: the id or the title %q stands twice", it.ID, it.Title)
		}
		ids[it.ID], titles[it.Title] = true, true
		kind := it.Fields["kind"].Str
		kinds[kind]++
		if !strings.HasPrefix(it.ID, kind+"-") || len(it.Tags) == 0 || it.Fields["price"].Num < 0 || it.Fields["author"].Str == "" || it.Fields["year"].Num < 1900 {
			t.Errorf("%s: incomplete: %+v", it.ID, it.Fields)
		}
		words := strings.Fields(it.Text)
		if len(words) < 25 || len(words) > 60 {
			t.Errorf("%s: %d words of prose", it.ID, len(words))
		}
		for i := 0; i+8 <= len(words); i++ {
			run := strings.Join(words[i:i+8], " ")
			if other, shared := runs[run]; shared {
				t.Errorf("%s and %s share %q", it.ID, other, run)
			}
			runs[run] = it.ID
		}
		tags := strings.Join(it.Tags, " ")
		for theme := range demo.Themes(&it) {
			themed[theme]++
			if !strings.Contains(tags, theme) {
				untold++
			}
		}
	}
	if len(kinds) < 5 {
		t.Errorf("kinds %v", kinds)
	}
	all := 0
	for theme, n := range themed {
		all += n
		if n < len(items)/40 {
			t.Errorf("only %d items are about %s", n, theme)
		}
	}
	// Interests have to be readable from the prose alone.
	if float64(untold) < 0.8*float64(all) {
		t.Errorf("%d of %d themes are given away by tags", all-untold, all)
	}
}

func collect(w *demo.World) []ranker.Event { return slices.Collect(w.Events()) }

func TestWorldIsRepeatable(t *testing.T) {
	a, b := collect(demo.New(demo.Options{Seed: 1, Lists: 200})), collect(demo.New(demo.Options{Seed: 1, Lists: 200}))
	other := collect(demo.New(demo.Options{Seed: 2, Lists: 200}))
	key := func(e ranker.Event) string {
		if e.Impression == nil {
			return e.ID + e.UserID
		}
		return e.ID + e.UserID + strings.Join(e.Impression.Items, ",")
	}
	same := slices.EqualFunc(a, b, func(x, y ranker.Event) bool { return key(x) == key(y) && x.Time == y.Time })
	if !same {
		t.Error("the same seed made two worlds")
	}
	if slices.EqualFunc(a, other, func(x, y ranker.Event) bool { return key(x) == key(y) }) {
		t.Error("another seed made the same world")
	}
	for i := range a {
		if bad := event.Validate(&a[i]); bad != nil {
			t.Fatalf("event %d: %v", i, bad)
		}
	}
}

// seen are lists with their clicks, as an observer has them.
type seen struct {
	user    string
	shown   []string
	clicked map[string]bool
}

func lists(w *demo.World) []*seen {
	byID := map[string]*seen{}
	var out []*seen
	for e := range w.Events() {
		switch {
		case e.Kind == ranker.EventImpression:
			byID[e.ID] = &seen{e.UserID, e.Impression.Items, map[string]bool{}}
			out = append(out, byID[e.ID])
		case e.Kind == ranker.EventInteraction && e.Action == "click":
			byID[e.ImpressionID].clicked[e.ItemID] = true
		}
	}
	return out
}

// The position bias that tests will look for is really in the clicks: what is clicked at a place, over
// what would be clicked there if all were looked at, is the examination.
func TestPositionBiasCanBeRecovered(t *testing.T) {
	w := demo.New(demo.Options{Seed: 3, Lists: 6000})
	var clicks, expected [24]float64
	for _, l := range lists(w) {
		for place, item := range l.shown {
			expected[place] += w.ClickProbability(l.user, item)
			if l.clicked[item] {
				clicks[place]++
			}
		}
	}
	for place := range clicks {
		if got, want := clicks[place]/expected[place], demo.Examination(place); math.Abs(got-want) > 0.12 {
			t.Errorf("place %d: examined %.2f, want %.2f", place, got, want)
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
	if len(users) < 120 || slices.Max(slices.Collect(maps.Values(users))) < 30 {
		t.Errorf("%d users, the most active with %d lists", len(users), slices.Max(slices.Collect(maps.Values(users))))
	}
	tastes := map[demo.InterestSource]int{}
	for u := range users {
		tastes[w.InterestSourceOf(u)]++
	}
	if tastes[demo.ByTheme] < tastes[demo.ByTag] || tastes[demo.ByTag] == 0 || tastes[demo.ByKind] == 0 {
		t.Errorf("tastes %v", tastes)
	}
	if cold := w.ColdItems(); len(cold) < len(demo.Catalogue())/20 {
		t.Errorf("%d cold items", len(cold))
	}
	if w.InterestSourceOf("stranger") != "" || w.ClickProbability("stranger", "book-001") <= 0 || w.ClickProbability("user-0001", "nothing") <= 0 {
		t.Error("strangers and unknown items have no truth of their own")
	}
}

// The truth is worth finding: by it, lists have more of what was clicked at the top than by popularity.
func TestBestOrderBeatsPopularity(t *testing.T) {
	w := demo.New(demo.Options{Seed: 5})
	all := lists(w)
	popular := map[string]float64{}
	for _, l := range all {
		for item := range l.clicked {
			popular[item]++
		}
	}
	gain := func(order []string, l *seen) (g float64) {
		for place, item := range order[:min(5, len(order))] {
			if l.clicked[item] {
				g += 1 / math.Log2(float64(place)+2)
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
		t.Errorf("gain %.0f by the truth, %.0f by popularity", best, byPopularity)
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
	plain, lifted := demo.New(demo.Options{Seed: 6}), demo.New(demo.Options{Seed: 6, PlantedLift: 1})
	if ratio := rate(lifted, true) / rate(plain, true); ratio < 1.3 {
		t.Errorf("treated users click %.2f times as much", ratio)
	}
	if ratio := rate(lifted, false) / rate(plain, false); ratio < 0.9 || ratio > 1.1 {
		t.Errorf("untreated users click %.2f times as much", ratio)
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
