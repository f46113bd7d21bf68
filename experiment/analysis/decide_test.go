package analysis_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"relish/experiment/analysis"
	"relish/ranker"
)

// rates clicks with the first probability in control and with the second one in treated.
func rates(control, treated float64) func(int, int, string) float64 {
	return func(_, _ int, arm string) float64 {
		if arm == "treated" {
			return treated
		}
		return control
	}
}

// millis returns latencies of 10 ms around the arm's own.
func millis(control, treated float64) func(int, int, string) float64 {
	return func(u, d int, arm string) float64 {
		return rates(control, treated)(u, d, arm) + 10*spread(u, d+5000)
	}
}

// degradedShare degrades an arm's answers with this probability.
func degradedShare(control, treated float64) func(int, int, string) bool {
	return func(u, d int, arm string) bool {
		return spread(u, d+77) < rates(control, treated)(u, d, arm)
	}
}

// unequalArms puts two of three users into treated.
func unequalArms(user int) string { return []string{"control", "treated", "treated"}[user%3] }

func fewItems(u, d int, arm string) []string {
	n := map[string]int{"control": 50, "treated": 5}[arm]
	return []string{fmt.Sprint("i", (u*3+d*11)%n), fmt.Sprint("i", (u*7+d)%n)}
}

func noveltyRate(_, d int, arm string) float64 {
	if arm == "treated" {
		return 0.7 - 0.04*float64(d)
	}
	return 0.3
}

func TestDecisions(t *testing.T) {
	gain := rates(0.3, 0.5)
	for what, c := range map[string]struct {
		crowd   crowd
		opt     analysis.Options
		action  analysis.Action
		summary string
	}{
		"a clear gain": {
			crowd:  crowd{users: 600, days: 8, rate: gain},
			action: analysis.Ship, summary: "Ship treated",
		},
		"a clear gain, too early": {
			crowd:  crowd{users: 600, days: 3, rate: gain},
			action: analysis.KeepRunning, summary: "about 4 days: treated has ctr +",
		},
		"a clear loss": {
			crowd:  crowd{users: 600, days: 8, rate: rates(0.5, 0.3)},
			action: analysis.Stop, summary: "it is worse",
		},
		"a difference too small": {
			crowd:  crowd{users: 400, days: 8, rate: rates(0.5, 0.5)},
			opt:    analysis.Options{MinEffect: 0.5},
			action: analysis.Stop, summary: "it cannot be better by the 50 %",
		},
		"open": {
			crowd:  crowd{users: 400, days: 8, rate: rates(0.30, 0.32)},
			action: analysis.KeepRunning, summary: "its lift may be chance",
		},
		"few users": {
			crowd:  crowd{users: 20, days: 8, rate: rates(0.5, 0.5)},
			action: analysis.KeepRunning, summary: "too few users",
		},
		"slow": {
			crowd:  crowd{users: 600, days: 8, rate: gain, took: millis(20, 40)},
			action: analysis.Stop, summary: "it breaches the guardrail on latency",
		},
		"fewer items": {
			crowd:  crowd{users: 600, days: 8, rate: gain, items: fewItems},
			action: analysis.Stop, summary: "it breaches the guardrail on coverage",
		},
		"degraded": {
			crowd:  crowd{users: 600, days: 8, rate: gain, degraded: degradedShare(0, 0.1)},
			action: analysis.Stop, summary: "it breaches the guardrail on degraded",
		},
		"degraded as the metric, less is better": {
			crowd:  crowd{users: 600, days: 8, degraded: degradedShare(0.3, 0.1)},
			opt:    analysis.Options{Metric: "degraded"},
			action: analysis.Ship, summary: "Ship treated",
		},
		"latency as the metric": {
			crowd:  crowd{users: 600, days: 8, took: millis(40, 20)},
			opt:    analysis.Options{Metric: "latency"},
			action: analysis.Ship, summary: "Ship treated",
		},
		"a novelty": {
			crowd:  crowd{users: 2000, days: 10, rate: noveltyRate},
			action: analysis.KeepRunning, summary: "its lift is wearing off",
		},
		"unequal weights as configured": {
			crowd:  crowd{users: 900, days: 8, rate: gain, arm: unequalArms},
			opt:    analysis.Options{Weights: map[string]float64{"control": 1, "treated": 2}},
			action: analysis.Ship,
		},
		"unequal weights, not as configured": {
			crowd:  crowd{users: 900, days: 8, rate: gain, arm: unequalArms},
			action: analysis.InvalidData, summary: "not split as configured",
		},
		"an arm without a weight": {
			crowd:  crowd{users: 100, days: 8},
			opt:    analysis.Options{Weights: map[string]float64{"control": 1}},
			action: analysis.InvalidData, summary: `arm "treated" is in the log and has no weight`,
		},
		"an arm without users": {
			crowd: crowd{users: 100, days: 8},
			opt: analysis.Options{
				Weights: map[string]float64{"control": 1, "treated": 1, "third": 1},
			},
			action: analysis.InvalidData, summary: "not split",
		},
		"served by control": {
			crowd:   crowd{users: 600, days: 8, rate: gain, fallback: true},
			action:  analysis.InvalidData,
			summary: "control served 10 % of the impressions of treated",
		},
		"one arm": {
			crowd:  crowd{users: 100, days: 8, arm: func(int) string { return "control" }},
			action: analysis.InvalidData, summary: `users of arm "control" only`,
		},
	} {
		r := c.crowd.log().report(t, c.opt)
		if r.Decision.Action != c.action || !strings.Contains(r.Decision.Summary, c.summary) {
			t.Errorf("%s: %+v", what, r.Decision)
		}
		if r.Decision.Action == analysis.KeepRunning && r.Decision.DaysToGo < 1 {
			t.Errorf("%s: keep running for %d days", what, r.Decision.DaysToGo)
		}
		breach := strings.Contains(c.summary, "breaches")
		if got := len(r.GuardrailBreaches()) > 0; got != breach {
			t.Errorf("%s: guardrail breaches %v", what, r.GuardrailBreaches())
		}
	}
}

// The best of several arms is shipped, and comparing several arms widens the intervals.
func TestManyArms(t *testing.T) {
	clicks := map[string]float64{"a": 0.3, "b": 0.45, "c": 0.55, "d": 0.3}
	l := crowd{
		users: 1600,
		days:  8,
		arm:   func(u int) string { return string("abcd"[u%4]) },
		rate:  func(_, _ int, arm string) float64 { return clicks[arm] },
	}.log()
	r := l.report(t, analysis.Options{Control: "d"})
	if r.Control != "d" || r.Decision.Action != analysis.Ship || r.Decision.Arm != "c" {
		t.Fatalf("control %s, %+v", r.Control, r.Decision)
	}
	best := 0.0
	for i, a := range r.Arms {
		best += float64(a.ProbabilityBest)
		if i > 0 && r.Comparisons[i-1].Arm != a.Name {
			t.Errorf("comparison %d is of %s, arm %s", i, r.Comparisons[i-1].Arm, a.Name)
		}
	}
	if math.Abs(best-1) > 1e-6 {
		t.Errorf("the probabilities to be best add up to %g", best)
	}
	var twoArms log
	for _, rec := range l {
		if imp := rec.Event.Impression; imp != nil {
			if arm := imp.Experiments[name]; arm == "b" || arm == "c" {
				continue
			}
		}
		twoArms.put(rec.Event)
	}
	four, two := r.Comparisons[0], twoArms.report(t, analysis.Options{Control: "d"}).Comparisons[0]
	if four.Arm != "a" || four.P != two.P || four.PHolm < two.PHolm ||
		four.Lift.SeqHigh-four.Lift.SeqLow <= two.Lift.SeqHigh-two.Lift.SeqLow {
		t.Errorf("among four arms %+v\namong two %+v", four, two)
	}
}

// A sample ratio mismatch names the slice of users that causes it.
func TestSampleRatioMismatchCause(t *testing.T) {
	c := crowd{users: 2000, days: 3, rate: rates(0.4, 0.4)}
	devices := []string{"phone", "watch", "desk"}
	var l log
	for _, rec := range c.log() {
		e := rec.Event
		var u, d int
		fmt.Sscanf(e.ID, "%d-%d", &u, &d)
		if e.Kind == ranker.EventImpression {
			device := ranker.StringValue(devices[u/2%3])
			e.Impression.Context = map[string]ranker.FieldValue{"device": device}
			if u/2%3 == 1 && u%4 == 1 {
				continue // half of the treated watch users lose their impressions
			}
		}
		l.put(e)
	}
	r := l.report(t, analysis.Options{})
	causes := r.SampleRatio.Causes
	if r.Decision.Action != analysis.InvalidData || len(causes) == 0 ||
		causes[0].Slice != "device watch" || !strings.Contains(r.Decision.Summary, "device watch") {
		t.Errorf("%+v\ncauses %+v", r.Decision, causes)
	}
}

// A breach counts only with enough users, since the intervals are asymptotic.
func TestBreachNeedsUsers(t *testing.T) {
	opt := analysis.Options{
		Metric:     "conversion",
		Guardrails: []analysis.Guardrail{{Metric: "ctr", Margin: 0.05}},
	}
	for users, breaches := range map[int]int{56: 0, 200: 1} {
		r := crowd{users: users, days: 8, rate: rates(0.9, 0.1)}.log().report(t, opt)
		status := r.Comparisons[0].Guardrails[0].Status
		if status != analysis.Breached || len(r.GuardrailBreaches()) != breaches {
			t.Errorf("%d users: the guardrail is %s, breaches %+v",
				users, status, r.GuardrailBreaches())
		}
	}
}

// interleavedLog makes a log of four interleaved lists for each user, with one click on each list.
// The click is on the second arm's item with the given probability.
func interleavedLog(preference float64, users int) log {
	var l log
	for u := range users {
		for n := range 4 {
			id, at := fmt.Sprintf("%d-%d", u, n), start+int64(n)*dayMillis+int64(u)
			imp := &ranker.Impression{
				Items:       []string{"a", "b"},
				Experiments: map[string]string{name: ranker.InterleavedArm},
				Served:      true,
				Exposed:     []string{name},
				Interleaved: &ranker.Interleaved{
					Experiment: name,
					Arms:       [2]string{"control", "other"},
					Teams:      []uint8{0, 1},
				},
			}
			if u == 0 && n == 0 { // served by control once: there is no second arm
				imp.Experiments[name], imp.Interleaved = "control", nil
				imp.Fallback = map[string]string{name: "other"}
			}
			user := fmt.Sprint("u", u)
			l.put(ranker.Event{
				Kind: ranker.EventImpression, ID: id, Time: at, UserID: user, Impression: imp,
			})
			item := "a"
			if spread(u, n) < preference {
				item = "b"
			}
			l.act("click", user, item, id, at+1, 0)
		}
	}
	return l
}

func TestInterleaving(t *testing.T) {
	for _, c := range []struct {
		preference float64
		users      int
		action     analysis.Action
	}{
		{0.7, 300, analysis.Ship},
		{0.3, 300, analysis.Stop},
		{0.5, 300, analysis.KeepRunning},
		{0.9, 20, analysis.KeepRunning},
	} {
		r := interleavedLog(c.preference, c.users).report(t, analysis.Options{})
		in := r.Interleaving
		if r.Mode != "interleave" || r.Decision.Action != c.action {
			t.Errorf("%g preferred by %d: %s, %+v", c.preference, c.users, r.Mode, r.Decision)
		}
		if in.Users != c.users || in.Wins[0]+in.Wins[1]+in.Ties != in.Voters ||
			int(in.Clicks[0]+in.Clicks[1]) != 4*c.users-1 {
			t.Errorf("%+v", in)
		}
		if want := 2*c.preference - 1; math.Abs(float64(in.Preference.Value)-want) > 0.2 {
			t.Errorf("preference %g, want about %g", in.Preference.Value, want)
		}
	}
}
