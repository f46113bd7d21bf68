package features_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"relish/features"
	"relish/ranker"
)

// honestShop is a state of 50 users who were shown 20 items twenty times and clicked on some of
// them: every item has about 1,000 impressions and 100 clicks.
func honestShop(cfg features.Config, seed uint64) *feed {
	r := rand.New(rand.NewPCG(seed, 3))
	f := newFeed(cfg)
	var catalogue []string
	for i := range 20 {
		catalogue = append(catalogue, fmt.Sprint("item", i))
	}
	for n := range 1000 {
		user, at := fmt.Sprint("u", n%50), t0+int64(n)*60_000
		f.add(shown(user, at, catalogue...))
		for _, id := range catalogue {
			if r.Float64() < 0.1 {
				f.add(did(user, "click", id, at+1))
			}
		}
	}
	return f
}

// rateOf returns the log-odds of an item's clicks, relative to those of all items.
func rateOf(t *testing.T, s *features.State, item string) float64 {
	t.Helper()
	rate := ranker.Feature{
		Name: "rate", Kind: ranker.KindRate, Scope: ranker.ScopeItem, Action: "click",
		HalfLife: "all",
	}
	st := read(t, s, schemaOf(t, rate), t0+day, "somebody", item)
	return float64(st.Columns[0])
}

// 100 users who act on one item alone raise it by at most 0.1 log-odds, whether they were shown it
// or not. Nothing that honest users do is left out, except a few clicks of newcomers.
func TestNewcomersAreBounded(t *testing.T) {
	for _, listed := range []bool{false, true} {
		for seed := range uint64(3) {
			cfg := features.DefaultConfig()
			f := honestShop(cfg, seed)
			honest := f.Uncounted().Numbers()[features.UncountedKey{
				Reason: features.UncountedNewcomer,
			}]
			if honest > 20 { // of about 2,000
				t.Errorf("%d honest clicks do not count", honest)
			}
			before := rateOf(t, f.State, "item7")
			for u := range 100 {
				user, at := fmt.Sprint("farm", u), t0+20*3600_000+int64(u)
				if listed {
					f.add(shown(user, at, "item6", "item7", "item8"))
				}
				f.add(did(user, "click", "item7", at))
			}
			if gain := rateOf(t, f.State, "item7") - before; gain > 0.1 || gain < -0.2 {
				t.Errorf("listed %t, seed %d: the farm changes the rate by %.2f",
					listed, seed, gain)
			}
			// The bound can be switched off.
			cfg.NewcomerExcess = 0
			f = honestShop(cfg, seed)
			for key, n := range f.Uncounted().Numbers() {
				if key.Reason == features.UncountedNewcomer {
					t.Errorf("without the bound, %d clicks of newcomers do not count", n)
				}
			}
		}
	}
}

// Clicks of a site whose users all act on one item count: there is no other evidence.
func TestSiteOfNewcomersIsCounted(t *testing.T) {
	for _, listed := range []bool{false, true} {
		f := newFeed(features.DefaultConfig())
		for u := range 200 {
			user, at := fmt.Sprint("u", u), t0+int64(u)
			if listed {
				f.add(shown(user, at, "a", "b", "c"))
			}
			f.add(did(user, "click", []string{"a", "a", "b", "c"}[u%4], at))
		}
		if n, _ := clicksOf(t, f.State, "u", "a"); n != 100 {
			t.Errorf("listed %t: %d of 100 clicks count", listed, n)
		}
	}
}

// A site that sends clicks without lists, from users with histories, loses next to nothing.
func TestClicksWithoutListsAreCounted(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	f := newFeed(features.DefaultConfig())
	const users, clicks = 300, 8
	for n := range users * clicks {
		item := int(math.Exp(r.Float64() * math.Log(50))) // popularity falls with the number
		user, at := fmt.Sprint("u", r.IntN(users)), t0+int64(n)*day
		f.add(did(user, "purchase", fmt.Sprint("i", item), at))
	}
	left := f.Uncounted().Numbers()[features.UncountedKey{Reason: features.UncountedNewcomer}]
	if left > users*clicks/100 {
		t.Errorf("%d of %d interactions do not count", left, users*clicks)
	}
}

func TestUncountedNamesSourceAndItem(t *testing.T) {
	f := newFeed(features.DefaultConfig())
	for i := range 3000 {
		e := did("robot", "click", "target", t0+int64(i))
		e.Source = "key:web"
		f.add(e)
		e = did("robot2", "click", fmt.Sprint("other", i/10), t0+int64(i))
		e.Source = fmt.Sprint("key:", i/10)
		f.add(e)
	}
	numbers := f.Uncounted().Numbers()
	web := numbers[features.UncountedKey{Reason: features.UncountedRepeated, Source: "key:web"}]
	if web != 2995 {
		t.Errorf("%d repeated clicks of key:web, want 2995", web)
	}
	if len(numbers) > 100 {
		t.Errorf("%d pairs of reason and source are not bounded", len(numbers))
	}
	others := features.UncountedKey{
		Reason: features.UncountedRepeated, Source: features.OtherSources,
	}
	if numbers[others] == 0 {
		t.Error("sources above the bound are not counted")
	}
	if item, n := f.Uncounted().TopItem(); item != "target" || n < 2000 || n > 2999 {
		t.Errorf("the top item is %q with %d", item, n)
	}
}
