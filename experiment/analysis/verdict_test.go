package analysis_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"math"
	"strings"
	"testing"
	"time"

	"relish/evaluation"
	"relish/experiment/analysis"
	"relish/features/event"
	"relish/internal/demo"
	"relish/ranker"
)

// A log small enough to count by hand.
func TestCounts(t *testing.T) {
	var l log
	l.show("before", "ann", "", start, "a")                                // ann's past
	l.act("click", "ann", "a", "before", start+1, 0)                       // likewise
	l.show("1", "ann", "control", start+formatDay)                         //
	l.act("click", "ann", "b", "1", start+formatDay+1, 0)                  // counts
	l.act("purchase", "ann", "b", "", start+formatDay+2, 30)               // counts, though it names no list
	l.act("click", "ann", "b", "", start+formatDay+2, 0)                   // of no list: does not
	l.act("click", "ann", "b", "gone", start+formatDay+2, 0)               // unmatched
	l.show("2", "ann", "", start+formatDay+3)                              // not of the experiment
	l.act("click", "ann", "a", "2", start+formatDay+4, 0)                  // likewise
	l.show("3", "bob", "treated", start+formatDay)                         //
	l.show("4", "bob", "treated", start+2*formatDay)                       //
	l.act("click", "bob", "a", "3", start+2*formatDay, 0)                  // an older list still counts
	l.act("click", "bob", "c", "4", start+2*formatDay, 0)                  //
	l.act("purchase", "bob", "c", "4", start+2*formatDay, 12)              //
	l.act("purchase", "cid", "c", "", start+2*formatDay, 99)               // never exposed
	l.show("5", "dora", "control", start+formatDay)                        //
	l.show("6", "dora", "treated", start+2*formatDay)                      // in two arms: counts for nothing
	l.put(ranker.Event{Kind: ranker.EventImpression, ID: "7", Time: start, // assigned, not reached
		UserID:     "eve",
		Impression: &ranker.Impression{Items: []string{"a"}, Experiments: map[string]string{name: "treated"}, Served: true, Exposed: []string{"other"}}})
	l.put(ranker.Event{Kind: ranker.EventImpression, ID: "8", Time: start + formatDay, // control stood in: counts for what was meant
		UserID:     "fay",
		Impression: &ranker.Impression{Items: []string{"a"}, Experiments: map[string]string{name: "control"}, Served: true, Fallback: map[string]string{name: "treated"}}})
	r := l.report(t, analysis.Options{})
	want := []analysis.Arm{
		{Name: "control", Users: 1, Impressions: 1, Clicks: 1, Conversions: 1, Revenue: 30},
		{Name: "treated", Users: 2, Impressions: 3, Clicks: 2, Conversions: 1, Revenue: 12},
	}
	for i, w := range want {
		g := r.Arms[i]
		if g.Name != w.Name || g.Users != w.Users || g.Impressions != w.Impressions || g.Clicks != w.Clicks || g.Conversions != w.Conversions || g.Revenue != w.Revenue {
			t.Errorf("got %+v\nwant %+v", g, w)
		}
	}
	if r.Unmatched != 1 || r.SampleRatio.Crossed != 1 || r.Days != 2 || r.Records != len(l) || r.Control != "control" {
		t.Errorf("unmatched %d, crossed %d, %d days, %d records, control %s", r.Unmatched, r.SampleRatio.Crossed, r.Days, r.Records, r.Control)
	}
	if r.Decision.Action != analysis.InvalidData || !strings.Contains(r.Decision.Summary, "more than one arm") {
		t.Errorf("a fourth of the users in two arms: %+v", r.Decision)
	}
}

func TestWindow(t *testing.T) {
	l := crowd{users: 40, days: 6, rate: func(int, int, string) float64 { return 0.5 }}.log()
	from, to := time.UnixMilli(start+2*formatDay), time.UnixMilli(start+5*formatDay)
	r := l.report(t, analysis.Options{From: from, To: to})
	if r.Arms[0].Impressions != 60 || r.Days != 3 || !r.From.Equal(from) {
		t.Errorf("%g impressions in %d days from %v, want 60 in 3 from %v", r.Arms[0].Impressions, r.Days, r.From, from)
	}
	if r.Theta != 0 {
		t.Errorf("what was done under the arms before the window was taken for the past: theta %g", r.Theta)
	}
}

// The metrics, against sums made by other code.
func TestMetrics(t *testing.T) {
	items := func(u, d int, arm string) []string {
		out := make([]string, 12)
		for i := range out {
			out[i] = fmt.Sprint("i", (u+d*5+i*7)%40)
		}
		return out
	}
	base := crowd{users: 60, days: 4, items: items, degraded: func(u, d int, arm string) bool { return spread(u+999, d) < 0.2 }}.log()
	var l log
	ndcg := map[string][]float64{}
	wins, spent, degraded, purchasers := map[string]float64{}, map[string]float64{}, map[string]float64{}, map[string]map[string]bool{"control": {}, "treated": {}}
	for n, rec := range base {
		l.put(rec.Event)
		e, arm := rec.Event, rec.Event.Impression.Experiments[name]
		gains, order := make([]float64, len(e.Impression.Items)), make([]int, len(e.Impression.Items))
		for k, item := range e.Impression.Items {
			order[k] = k
			if spread(n, k) < 0.15 {
				l.act("click", e.UserID, item, e.ID, e.Time+1, 0)
				gains[k] = 1
				wins[arm]++
			}
			if spread(n, k+100) < 0.03 {
				l.act("purchase", e.UserID, item, e.ID, e.Time+2, 2)
				spent[arm] += 2
				purchasers[arm][e.UserID] = true
			}
			if spread(n, k+200) < 0.05 {
				l.act("share", e.UserID, item, "", e.Time+2, 0)
				wins[arm] += 3
			}
		}
		if len(e.Impression.Degraded) > 0 {
			degraded[arm]++
		}
		if x := evaluation.NDCG(order, gains, 10); !math.IsNaN(x) {
			ndcg[arm] = append(ndcg[arm], x)
		}
	}
	mean := func(xs []float64) (m float64) {
		for _, x := range xs {
			m += x / float64(len(xs))
		}
		return m
	}
	for i, arm := range []string{"control", "treated"} {
		for metric, want := range map[string]float64{
			"ndcg":                   mean(ndcg[arm]),
			"revenue":                spent[arm] / 30,
			"reward:click + 3*share": wins[arm] / 120,
			"reward: revenue / 2":    spent[arm] / 240,
			"degraded":               degraded[arm] / 120,
			"conversion":             float64(len(purchasers[arm])) / 30,
		} {
			if got := float64(l.report(t, analysis.Options{Metric: metric}).Arms[i].Value); math.Abs(got-want) > 1e-5 {
				t.Errorf("%s of %s: %g, want %g", metric, arm, got, want)
			}
		}
	}
}

// On the demo's log the interval holds the planted lift, whose true size the world itself tells.
func TestPlantedLift(t *testing.T) {
	const lift = 0.3
	world := demo.New(demo.Options{Seed: 3, Users: 1000, Lists: 12000, PlantedLift: lift})
	var l log
	var plain, lifted float64
	for e := range world.Events() {
		l.put(e)
		if e.Kind != ranker.EventImpression {
			continue
		}
		for place, item := range e.Impression.Items {
			p := world.ClickProbability(e.UserID, item)
			odds := (1 + lift) * p / (1 - p)
			plain += demo.Examination(place) * p
			lifted += demo.Examination(place) * odds / (1 + odds)
		}
	}
	truth := lifted/plain - 1
	r := l.report(t, analysis.Options{Experiment: demo.PlantedExperiment})
	c := r.Comparisons[0]
	if !(float64(c.Lift.Low) < truth && truth < float64(c.Lift.High)) || c.Lift.High-c.Lift.Low > 0.12 {
		t.Errorf("lift %.4f [%.4f, %.4f], the truth is %.4f", c.Lift.Value, c.Lift.Low, c.Lift.High, truth)
	}
	if r.Decision.Action != analysis.Ship || r.Decision.Arm != "treated" {
		t.Errorf("%+v", r.Decision)
	}
	null := log{}
	for e := range demo.New(demo.Options{Seed: 3, Users: 1000, Lists: 12000, PlantedLift: 1e-9}).Events() {
		null.put(e)
	}
	if r := null.report(t, analysis.Options{Experiment: demo.PlantedExperiment}); r.Decision.Action == analysis.Ship {
		t.Errorf("without a lift: %+v", r.Decision)
	}
}

func TestDecisions(t *testing.T) {
	flat := func(p float64) func(int, int, string) float64 {
		return func(int, int, string) float64 { return p }
	}
	treated := func(control, treated float64) func(int, int, string) float64 {
		return func(_, _ int, arm string) float64 {
			if arm == "treated" {
				return treated
			}
			return control
		}
	}
	for _, c := range []struct {
		name     string
		crowd    crowd
		opt      analysis.Options
		decision analysis.Action
		words    string
	}{
		{"a clear gain", crowd{users: 600, days: 8, rate: treated(0.3, 0.5)}, analysis.Options{}, analysis.Ship, "Ship treated"},
		{"a clear gain, too early", crowd{users: 600, days: 3, rate: treated(0.3, 0.5)}, analysis.Options{}, analysis.KeepRunning, "about 4 days: treated has ctr +"},
		{"a clear loss", crowd{users: 600, days: 8, rate: treated(0.5, 0.3)}, analysis.Options{}, analysis.Stop, "it is worse"},
		{"a difference too small", crowd{users: 400, days: 8, rate: flat(0.5)}, analysis.Options{MinEffect: 0.5}, analysis.Stop, "it cannot be better by the 50 %"},
		{"open", crowd{users: 400, days: 8, rate: treated(0.30, 0.32)}, analysis.Options{}, analysis.KeepRunning, "its lift may be chance"},
		{"few users", crowd{users: 20, days: 8, rate: flat(0.5)}, analysis.Options{}, analysis.KeepRunning, "too few users"},
		{"slow", crowd{users: 600, days: 8, rate: treated(0.3, 0.5), took: func(u, d int, arm string) float64 {
			return map[string]float64{"control": 20, "treated": 40}[arm] + 10*spread(u, d+5000)
		}}, analysis.Options{}, analysis.Stop, "it hurts latency"},
		{"less variety", crowd{users: 600, days: 8, rate: treated(0.3, 0.5), items: func(u, d int, arm string) []string {
			n := map[string]int{"control": 50, "treated": 5}[arm]
			return []string{fmt.Sprint("i", (u*3+d*11)%n), fmt.Sprint("i", (u*7+d)%n)}
		}}, analysis.Options{}, analysis.Stop, "it hurts coverage"},
		{"degraded", crowd{users: 600, days: 8, rate: treated(0.3, 0.5), degraded: func(u, d int, arm string) bool { return arm == "treated" && spread(u, d+77) < 0.1 }},
			analysis.Options{}, analysis.Stop, "it hurts degraded"},
		{"degraded as the metric, less is better", crowd{users: 600, days: 8, degraded: func(u, d int, arm string) bool {
			return spread(u, d+77) < map[string]float64{"control": 0.3, "treated": 0.1}[arm]
		}}, analysis.Options{Metric: "degraded"}, analysis.Ship, "Ship treated"},
		{"latency as the metric", crowd{users: 600, days: 8, took: func(u, d int, arm string) float64 {
			return map[string]float64{"control": 40, "treated": 20}[arm] + 5*spread(u, d)
		}}, analysis.Options{Metric: "latency"}, analysis.Ship, "Ship treated"},
		{"a novelty", crowd{users: 2000, days: 10, rate: func(_, d int, arm string) float64 {
			if arm == "treated" {
				return 0.7 - 0.04*float64(d)
			}
			return 0.3
		}}, analysis.Options{}, analysis.KeepRunning, "its lift is wearing off"},
		{"unequal weights as configured", crowd{users: 900, days: 8, rate: treated(0.3, 0.5), arm: func(u int) string { return []string{"control", "treated", "treated"}[u%3] }},
			analysis.Options{Weights: map[string]float64{"control": 1, "treated": 2}}, analysis.Ship, ""},
		{"unequal weights, not as configured", crowd{users: 900, days: 8, rate: treated(0.3, 0.5), arm: func(u int) string { return []string{"control", "treated", "treated"}[u%3] }},
			analysis.Options{}, analysis.InvalidData, "not split as configured"},
		{"an arm without a weight", crowd{users: 100, days: 8}, analysis.Options{Weights: map[string]float64{"control": 1}}, analysis.InvalidData, `arm "treated" is in the log and has no weight`},
		{"an arm that nobody sees", crowd{users: 100, days: 8}, analysis.Options{Weights: map[string]float64{"control": 1, "treated": 1, "third": 1}}, analysis.InvalidData, "not split"},
		{"control stood in", crowd{users: 600, days: 8, rate: treated(0.3, 0.5), fallback: true}, analysis.Options{}, analysis.InvalidData, "control stood in for treated in 10 % of its lists"},
		{"one arm", crowd{users: 100, days: 8, arm: func(int) string { return "control" }}, analysis.Options{}, analysis.InvalidData, "only arm"},
	} {
		r := c.crowd.log().report(t, c.opt)
		if r.Decision.Action != c.decision || !strings.Contains(r.Decision.Summary, c.words) {
			t.Errorf("%s: %+v", c.name, r.Decision)
		}
		if r.Decision.Action == analysis.KeepRunning && r.Decision.DaysToGo < 1 {
			t.Errorf("%s: keep running for %d days", c.name, r.Decision.DaysToGo)
		}
		hurts := strings.Contains(c.words, "hurts")
		if got := len(r.GuardrailBreaches()) > 0; got != hurts {
			t.Errorf("%s: harmful arms %v", c.name, r.GuardrailBreaches())
		}
	}
}

// The best of several arms is shipped, and testing several is paid for.
func TestManyArms(t *testing.T) {
	rates := map[string]float64{"a": 0.3, "b": 0.45, "c": 0.55, "d": 0.3}
	l := crowd{users: 1600, days: 8, arm: func(u int) string { return string("abcd"[u%4]) }, rate: func(_, _ int, arm string) float64 { return rates[arm] }}.log()
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
		t.Errorf("probabilities to be best add up to %g", best)
	}
	var two log
	for _, rec := range l {
		if arm := rec.Event.Impression.Experiments[name]; arm != "b" && arm != "c" {
			two.put(rec.Event)
		}
	}
	a, b := r.Comparisons[0], two.report(t, analysis.Options{Control: "d"}).Comparisons[0]
	if a.Arm != "a" || a.P != b.P || a.PHolm < b.PHolm || a.Lift.SeqHigh-a.Lift.SeqLow <= b.Lift.SeqHigh-b.Lift.SeqLow {
		t.Errorf("among four arms %+v\namong two %+v", a, b)
	}
}

// A broken split names where it is broken.
func TestSuspects(t *testing.T) {
	c := crowd{users: 2000, days: 3, rate: func(int, int, string) float64 { return 0.4 }}
	var l log
	for _, rec := range c.log() {
		e := rec.Event
		var u, d int
		fmt.Sscanf(e.ID, "%d-%d", &u, &d)
		if e.Kind == ranker.EventImpression {
			e.Impression.Context = map[string]ranker.FieldValue{"device": ranker.StringValue([]string{"phone", "watch", "desk"}[u/2%3])}
			if u/2%3 == 1 && u%2 == 1 && u%4 == 1 {
				continue // half of the treated watches lose their impressions
			}
		}
		l.put(e)
	}
	r := l.report(t, analysis.Options{})
	if r.Decision.Action != analysis.InvalidData || len(r.SampleRatio.Causes) == 0 || r.SampleRatio.Causes[0].Slice != "device watch" || !strings.Contains(r.Decision.Summary, "device watch") {
		t.Errorf("%+v\nsuspects %+v", r.Decision, r.SampleRatio.Causes)
	}
}

// What users did before tells their noise from the effect.
func TestPastIsUsed(t *testing.T) {
	var l log
	for d := range 14 {
		for u := range 600 {
			user, id, at := fmt.Sprint("u", u), fmt.Sprintf("%d-%d", u, d), start+int64(d)*formatDay+int64(u)
			arm := ""
			if d >= 7 {
				arm = []string{"control", "treated"}[u%2]
			}
			l.show(id, user, arm, at)
			taste := 0.1 + 0.8*spread(u, 1000)
			if arm == "treated" {
				taste += 0.03
			}
			if spread(u, d) < taste {
				l.act("click", user, "a", id, at+1, 0)
			}
		}
	}
	r := l.report(t, analysis.Options{})
	if r.VarianceSaved < 0.4 || r.Theta <= 0 {
		t.Errorf("the past explains %.2f of the variance, theta %.2f", r.VarianceSaved, r.Theta)
	}
	for _, s := range r.Segments {
		if s.Name == "new users" {
			t.Errorf("everybody was known: %+v", s)
		}
	}
}

func TestInterleave(t *testing.T) {
	votes := func(prefers float64, users int) log {
		var l log
		for u := range users {
			for n := range 4 {
				id, at := fmt.Sprintf("%d-%d", u, n), start+int64(n)*formatDay+int64(u)
				e := ranker.Event{Kind: ranker.EventImpression, ID: id, Time: at, UserID: fmt.Sprint("u", u),
					Impression: &ranker.Impression{Items: []string{"a", "b"}, Experiments: map[string]string{name: ranker.InterleavedArm}, Served: true, Exposed: []string{name}, Interleaved: &ranker.Interleaved{Experiment: name, Arms: [2]string{"control", "other"}, Teams: []uint8{0, 1}}}}
				if u == 0 && n == 0 { // control stood in once: no second arm
					e.Impression.Experiments[name], e.Impression.Interleaved, e.Impression.Fallback = "control", nil, map[string]string{name: "other"}
				}
				l.put(e)
				item := "a"
				if spread(u, n) < prefers {
					item = "b"
				}
				l.act("click", e.UserID, item, id, at+1, 0)
			}
		}
		return l
	}
	for _, c := range []struct {
		prefers  float64
		users    int
		decision analysis.Action
	}{{0.7, 300, analysis.Ship}, {0.3, 300, analysis.Stop}, {0.5, 300, analysis.KeepRunning}, {0.9, 20, analysis.KeepRunning}} {
		r := votes(c.prefers, c.users).report(t, analysis.Options{})
		in := r.Interleaving
		if r.Mode != "interleave" || r.Decision.Action != c.decision {
			t.Errorf("%g preferred by %d: %s, %+v", c.prefers, c.users, r.Mode, r.Decision)
		}
		if in.Users != c.users || in.Wins[0]+in.Wins[1]+in.Ties != in.Voters || int(in.Clicks[0]+in.Clicks[1]) != 4*c.users-1 {
			t.Errorf("%+v", in)
		}
		if math.Abs(float64(in.Preference.Value)-(2*c.prefers-1)) > 0.2 {
			t.Errorf("preference %g, want about %g", in.Preference.Value, 2*c.prefers-1)
		}
	}
}

func TestRefusals(t *testing.T) {
	l := crowd{users: 10, days: 1}.log()
	for want, opt := range map[string]analysis.Options{
		`no impression of the log is exposed to experiment "y"`: {Experiment: "y"},
		"the experiment's name is missing":                      {},
		`metric "clicks" is unknown`:                            {Experiment: name, Metric: "clicks"},
		`guardrail: metric "speed" is unknown`:                  {Experiment: name, Guardrails: []analysis.Guardrail{{Metric: "speed", Margin: 0.1}}},
		"the margin of ctr is 2":                                {Experiment: name, Guardrails: []analysis.Guardrail{{Metric: "ctr", Margin: 2}}},
		`unit "visit" is unknown`:                               {Experiment: name, Unit: "visit"},
		"alpha is 2":                                            {Experiment: name, Alpha: 2},
		`the weight of arm "a" is 0`:                            {Experiment: name, Weights: map[string]float64{"a": 0}},
		"4 segments":                                            {Experiment: name, Segments: []string{"a", "b", "c", "d"}},
	} {
		if _, err := analysis.Run(context.Background(), l.source(), opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", opt, err, want)
		}
	}
	damaged := func(yield func(event.Record, error) bool) { yield(event.Record{}, errors.New("damaged")) }
	if _, err := analysis.Run(context.Background(), damaged, analysis.Options{Experiment: name}); err == nil {
		t.Error("a damaged log was reported on")
	}
}

// A session is a unit of its own.
func TestSessions(t *testing.T) {
	var l log
	for s := range 100 {
		e := ranker.Event{Kind: ranker.EventImpression, ID: fmt.Sprint(s), Time: start, UserID: "u", Session: fmt.Sprint("s", s),
			Impression: &ranker.Impression{Items: []string{"a"}, Experiments: map[string]string{name: []string{"a", "b"}[s%2]}}}
		l.put(e)
	}
	if r := l.report(t, analysis.Options{Unit: "session"}); r.Arms[0].Users != 50 || r.SampleRatio.Crossed != 0 {
		t.Errorf("%+v", r.Arms)
	}
	if r := l.report(t, analysis.Options{}); r.SampleRatio.Crossed != 1 {
		t.Errorf("by user: %+v", r.SampleRatio)
	}
}

// All forms of a report say the same, and JSON has no number that it cannot have.
func TestForms(t *testing.T) {
	l := crowd{users: 300, days: 8, rate: func(_, _ int, arm string) float64 { return 0.4 }}.log()
	r := l.report(t, analysis.Options{Experiment: name})
	r.Arms[0].Name, r.Experiment = "<b>control", "<script>"
	var text, page bytes.Buffer
	r.WriteText(&text)
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Verdict struct{ Decision, Words string }
		Arms    []struct{ Users int }
		Series  []struct{ Total []struct{ Value *float64 } }
	}
	if err := json.Unmarshal(data, &back); err != nil || back.Verdict.Words != r.Decision.Summary || back.Arms[0].Users != 150 || len(back.Series) != 8 {
		t.Errorf("%v: %s", err, data)
	}
	if !strings.Contains(text.String(), r.Decision.Summary) || !strings.Contains(text.String(), "latency") {
		t.Errorf("text:\n%s", &text)
	}
	for _, want := range []string{"&lt;script&gt;", "&lt;b&gt;control", "<svg", "Content-Security-Policy", string(r.Decision.Action)} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, bad := range []string{"<script", "http://", "https://", "<b>control", " style=", "NaN"} {
		if strings.Contains(page.String(), bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	_, css, _ := strings.Cut(page.String(), "<style>")
	css, _, _ = strings.Cut(css, "</style>")
	sum := sha256.Sum256([]byte(css))
	if policy := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(html.UnescapeString(page.String()), policy) {
		t.Error("the page's policy does not allow its own style")
	}
	// The last day's standing is the report's own lift.
	if last := r.Series[len(r.Series)-1].Cumulative[0]; last != r.Comparisons[0].Lift {
		t.Errorf("the last day stands at %+v, the report at %+v", last, r.Comparisons[0].Lift)
	}
}

// What is hurt by the interval is ended with enough users only: intervals are asymptotic.
func TestHarmNeedsUsers(t *testing.T) {
	worse := func(_, _ int, arm string) float64 { return map[string]float64{"control": 0.9, "treated": 0.1}[arm] }
	for users, harm := range map[int]int{56: 0, 200: 1} {
		r := crowd{users: users, days: 8, rate: worse}.log().report(t, analysis.Options{Metric: "conversion", Guardrails: []analysis.Guardrail{{Metric: "ctr", Margin: 0.05}}})
		if status := r.Comparisons[0].Guardrails[0].Status; status != analysis.Breached || len(r.GuardrailBreaches()) != harm {
			t.Errorf("%d users: the guardrail is %s, harmful %+v", users, status, r.GuardrailBreaches())
		}
	}
}
