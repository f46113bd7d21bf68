package features_test

import (
	"fmt"
	"maps"
	"math"
	"testing"

	"relish/features"
	"relish/ranker"
)

// clicksOf returns how many clicks on an item count for the item and for a user.
func clicksOf(t *testing.T, s *features.State, user, item string) (ofItem, history int) {
	t.Helper()
	sch := schemaOf(t,
		ranker.Feature{
			Name: "clicks", Kind: ranker.KindCount, Scope: "item", Action: "click", HalfLife: "all",
		})
	st := read(t, s, sch, t0+day, user, item)
	return int(math.Round(math.Expm1(float64(st.Columns[0])))), len(st.Recent)
}

// uncounted has the numbers of interactions that do not count, by reason.
type uncounted map[string]uint64

func wantUncounted(t *testing.T, s *features.State, want uncounted) {
	t.Helper()
	got := uncounted{}
	for key, n := range s.Uncounted().Numbers() {
		got[key.Reason] += n
	}
	maps.DeleteFunc(want, func(_ string, n uint64) bool { return n == 0 })
	if !maps.Equal(got, want) {
		t.Errorf("not counted %v, want %v", got, want)
	}
}

func TestRepeatedInteractionsAreBounded(t *testing.T) {
	for _, c := range []struct {
		name                            string
		listed                          bool
		listedBound, unlistedBound      int
		wantItem, wantHistory           int
		wantNotCounted, wantNotForItems uint64
	}{
		{"shown before", true, 5, 1, 5, 5, 15, 0},
		{"not shown", false, 5, 1, 1, 5, 15, 4},
		{"not shown, and such clicks are kept out", false, 5, 0, 0, 5, 15, 5},
		{"other bounds", false, 3, 2, 2, 3, 17, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := features.DefaultConfig()
			cfg.DailyListed, cfg.DailyUnlisted = c.listedBound, c.unlistedBound
			s := newFeed(cfg)
			if c.listed {
				s.add(shown("u", t0, "a", "b"))
			}
			for i := range 20 {
				s.add(did("u", "click", "a", t0+int64(i)))
			}
			item, history := clicksOf(t, s.State, "u", "a")
			if item != c.wantItem || history != c.wantHistory {
				t.Errorf("%d clicks count for the item and %d are in the history, want %d and %d",
					item, history, c.wantItem, c.wantHistory)
			}
			want := uncounted{
				features.UncountedRepeated: c.wantNotCounted,
				features.UncountedUnlisted: c.wantNotForItems,
			}
			wantUncounted(t, s.State, want)
			// Another day and another user begin again.
			s.add(did("u", "click", "a", t0-day), did("v", "click", "a", t0))
			want[features.UncountedUnlisted] += map[bool]uint64{true: 2}[c.unlistedBound == 0]
			wantUncounted(t, s.State, want)
		})
	}
}

// A robot cannot make the history forget what it did: it may click on other items in between.
func TestRobotCannotFlushItsHistory(t *testing.T) {
	cfg := features.DefaultConfig()
	for listed, want := range map[bool]int{true: cfg.DailyListed, false: cfg.DailyUnlisted} {
		s := newFeed(cfg)
		if listed {
			s.add(shown("u", t0, "a"))
		}
		for i := range 50 {
			s.add(did("u", "click", "a", t0+int64(i)))
			for k := range cfg.Recent {
				s.add(did("u", "click", fmt.Sprint("other", i, "-", k), t0+int64(i)))
			}
		}
		if n, _ := clicksOf(t, s.State, "u", "a"); n > want {
			t.Errorf("listed %t: %d clicks count, want at most %d", listed, n, want)
		}
	}
}

// The bounds are in the hash, so a state that was counted with others is computed again.
func TestBoundsOfRepeatsBelongToTheState(t *testing.T) {
	hashes := map[string]bool{}
	for _, bounds := range [][2]int{{5, 1}, {5, 0}, {4, 1}} {
		cfg := features.DefaultConfig()
		cfg.DailyListed, cfg.DailyUnlisted = bounds[0], bounds[1]
		hashes[cfg.Hash()] = true
	}
	if len(hashes) != 3 {
		t.Errorf("%d hashes, want 3", len(hashes))
	}
}
