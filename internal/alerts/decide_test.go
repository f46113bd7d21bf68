package alerts_test

import (
	"strings"
	"testing"

	"relish/features/trends"
	"relish/internal/alerts"
)

// rule parses a rule; it ends the test if that fails.
func rule(t testing.TB, name, when string, minCount int) alerts.Rule {
	t.Helper()
	rules, err := alerts.Rules([]alerts.Config{{Name: name, When: when, MinCount: minCount}})
	if err != nil {
		t.Fatal(err)
	}
	return rules[0]
}

// weeks returns the counts of some hours up to now: total texts an hour, of which count have the
// value.
func weeks(hours, count, total int) *trends.Hours {
	h := &trends.Hours{
		Counts: make([]int, trends.HoursKept), Totals: make([]int, trends.HoursKept), Known: hours,
	}
	for i := trends.HoursKept - hours; i < trends.HoursKept; i++ {
		h.Counts[i], h.Totals[i] = count, total
	}
	return h
}

func TestDecide(t *testing.T) {
	last := trends.HoursKept - 1
	surge := func(hours, count, total int) *trends.Hours {
		h := weeks(hours, 2, 20)
		h.Counts[last], h.Totals[last] = count, total
		return h
	}
	// busy has a value that is usual in this hour of the day, and rare otherwise.
	busy := weeks(trends.HoursKept, 1, 20)
	for i := last; i >= 0; i -= 24 {
		busy.Counts[i] = 10
	}
	// weekly has one that is usual in this hour of the week.
	weekly := weeks(trends.HoursKept, 1, 20)
	for i := last; i >= 0; i -= 7 * 24 {
		weekly.Counts[i] = 10
	}
	const share = "share(a=b) > 2 x its usual in 1 h"
	const count = "count(a=b) > 2 x its usual in 1 h"
	for name, c := range map[string]struct {
		when  string
		hours *trends.Hours
		want  alerts.State
		basis string
	}{
		"as usual":              {share, surge(840, 2, 20), alerts.Quiet, "hours of the week"},
		"a surge":               {share, surge(840, 14, 20), alerts.Over, "hours of the week"},
		"two weeks":             {share, surge(14*24, 14, 20), alerts.Over, "hours of the day"},
		"two days":              {share, surge(48, 14, 20), alerts.Over, "all hours"},
		"one day":               {share, surge(24, 14, 20), alerts.Undecided, ""},
		"too few texts":         {share, surge(840, 14, 19), alerts.Undecided, ""},
		"twice, within chance":  {share, surge(840, 8, 20), alerts.Quiet, "hours of the week"},
		"many texts, not twice": {share, surge(840, 190, 1000), alerts.Quiet, "hours of the week"},
		"many texts, twice":     {share, surge(840, 230, 1000), alerts.Over, "hours of the week"},
		"usual at this hour":    {share, busy, alerts.Quiet, "hours of the week"},
		"usual once a week":     {share, weekly, alerts.Quiet, "hours of the week"},
		"a count":               {count, surge(840, 16, 20), alerts.Over, "hours of the week"},
		"a count within chance": {count, surge(840, 9, 20), alerts.Quiet, "hours of the week"},
		"a share above a limit": {"share(a=b) > 0.5 in 1 h", surge(5, 12, 20), alerts.Over, ""},
		"a share at a limit":    {"share(a=b) > 0.6 in 1 h", surge(5, 12, 20), alerts.Quiet, ""},
		"a count above a limit": {"count(a=b) > 13 in 2 h", surge(5, 12, 20), alerts.Over, ""},
	} {
		r := rule(t, "x", c.when, 0)
		d := r.Decide(c.hours)
		if d.State != c.want || !strings.HasSuffix(d.Basis, c.basis) || d.Reason == "" ||
			(d.Basis == "") != (c.basis == "") {
			t.Errorf("%s: %+v, want %s by %s", name, d, c.want, c.basis)
		}
	}
}

// A value that was never seen needs some texts more than one.
func TestDecideNewValue(t *testing.T) {
	last := trends.HoursKept - 1
	h := weeks(trends.HoursKept, 0, 20)
	r := rule(t, "x", "share(a=b) > 2 x its usual in 1 h", 0)
	h.Counts[last] = 1
	for r.Decide(h).State != alerts.Over {
		h.Counts[last]++
	}
	if n := h.Counts[last]; n != 6 {
		t.Errorf("%d of 20 texts are over", n)
	}
}

// Counts of thousands are written with all their digits.
func TestReasonOfLargeCounts(t *testing.T) {
	r := rule(t, "a", "count(f=v) > 11849 in 1 h", 1)
	want := "11850 (11850 of 12345) is above 11849"
	if d := r.Decide(weeks(1, 11850, 12345)); d.Reason != want {
		t.Errorf("the reason is %q, want %q", d.Reason, want)
	}
}
