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

// The counts of a log that is small enough to count by hand.
func TestCounts(t *testing.T) {
	const day1, day2 = start + dayMillis, start + 2*dayMillis
	var l log
	// ann: her first list and its click come before her exposure.
	l.show("before", "ann", "", start, "a")
	l.act("click", "ann", "a", "before", start+1, 0)
	l.show("1", "ann", "control", day1)
	l.act("click", "ann", "b", "1", day1+1, 0)
	l.act("purchase", "ann", "b", "", day1+2, 30) // counts without a list
	l.act("click", "ann", "b", "", day1+2, 0)     // does not count without a list
	l.act("click", "ann", "b", "gone", day1+2, 0) // unmatched
	l.show("2", "ann", "", day1+3)                // not in the experiment
	l.act("click", "ann", "a", "2", day1+4, 0)    // not in the experiment
	// bob
	l.show("3", "bob", "treated", day1)
	l.show("4", "bob", "treated", day2)
	l.act("click", "bob", "a", "3", day2, 0) // an older list that is still open
	l.act("click", "bob", "c", "4", day2, 0)
	l.act("purchase", "bob", "c", "4", day2, 12)
	// cid was never exposed.
	l.act("purchase", "cid", "c", "", day2, 99)
	// dora was seen in both arms and does not count.
	l.show("5", "dora", "control", day1)
	l.show("6", "dora", "treated", day2)
	// eve was assigned to an arm, but not exposed.
	l.put(ranker.Event{
		Kind: ranker.EventImpression, ID: "7", Time: start, UserID: "eve",
		Impression: &ranker.Impression{
			Items:       []string{"a"},
			Experiments: map[string]string{name: "treated"},
			Served:      true,
			Exposed:     []string{"other"},
		},
	})
	// fay was served by control and counts for the assigned arm.
	l.put(ranker.Event{
		Kind: ranker.EventImpression, ID: "8", Time: day1, UserID: "fay",
		Impression: &ranker.Impression{
			Items:       []string{"a"},
			Experiments: map[string]string{name: "control"},
			Served:      true,
			Fallback:    map[string]string{name: "treated"},
		},
	})
	r := l.report(t, analysis.Options{})
	for i, want := range []analysis.Arm{
		{Name: "control", Users: 1, Impressions: 1, Clicks: 1, Conversions: 1, Revenue: 30},
		{Name: "treated", Users: 2, Impressions: 3, Clicks: 2, Conversions: 1, Revenue: 12,
			Fallbacks: 1},
	} {
		got := r.Arms[i]
		got.Value, got.Adjusted, got.SE, got.ProbabilityBest = 0, 0, 0, 0
		if got != want {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	}
	if r.Unmatched != 1 || r.SampleRatio.Crossed != 1 || r.Days != 2 || r.Records != len(l) ||
		r.Control != "control" {
		t.Errorf("unmatched %d, crossed %d, %d days, %d records, control %s",
			r.Unmatched, r.SampleRatio.Crossed, r.Days, r.Records, r.Control)
	}
	if r.Decision.Action != analysis.InvalidData ||
		!strings.Contains(r.Decision.Summary, "more than one arm") {
		t.Errorf("a quarter of the users is in two arms: %+v", r.Decision)
	}
}

func TestWindow(t *testing.T) {
	l := crowd{users: 40, days: 6, rate: rates(0.5, 0.5)}.log()
	from, to := time.UnixMilli(start+2*dayMillis), time.UnixMilli(start+5*dayMillis)
	r := l.report(t, analysis.Options{From: from, To: to})
	if r.Arms[0].Impressions != 60 || r.Days != 3 || !r.From.Equal(from) {
		t.Errorf("%g impressions in %d days from %v, want 60 in 3 from %v",
			r.Arms[0].Impressions, r.Days, r.From, from)
	}
	if r.Theta != 0 {
		t.Errorf("exposed actions before the window were taken as pre-exposure: theta %g", r.Theta)
	}
}

// The metrics agree with sums that the test makes itself.
func TestMetrics(t *testing.T) {
	base := crowd{
		users: 60,
		days:  4,
		items: func(u, d int, _ string) []string {
			out := make([]string, 12)
			for i := range out {
				out[i] = fmt.Sprint("i", (u+d*5+i*7)%40)
			}
			return out
		},
		degraded: func(u, d int, _ string) bool { return spread(u+999, d) < 0.2 },
	}.log()
	var l log
	ndcg := map[string][]float64{}
	reward, spent, degraded := map[string]float64{}, map[string]float64{}, map[string]float64{}
	purchasers := map[string]map[string]bool{"control": {}, "treated": {}}
	for n, rec := range base {
		l.put(rec.Event)
		e, imp := rec.Event, rec.Event.Impression
		arm := imp.Experiments[name]
		gains, order := make([]float64, len(imp.Items)), make([]int, len(imp.Items))
		for k, item := range imp.Items {
			order[k] = k
			if spread(n, k) < 0.15 {
				l.act("click", e.UserID, item, e.ID, e.Time+1, 0)
				gains[k] = 1
				reward[arm]++
			}
			if spread(n, k+100) < 0.03 {
				l.act("purchase", e.UserID, item, e.ID, e.Time+2, 2)
				spent[arm] += 2
				purchasers[arm][e.UserID] = true
			}
			if spread(n, k+200) < 0.05 {
				l.act("share", e.UserID, item, "", e.Time+2, 0)
				reward[arm] += 3
			}
		}
		if len(imp.Degraded) > 0 {
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
			"reward:click + 3*share": reward[arm] / 120,
			"reward: revenue / 2":    spent[arm] / 240,
			"degraded":               degraded[arm] / 120,
			"conversion":             float64(len(purchasers[arm])) / 30,
		} {
			got := float64(l.report(t, analysis.Options{Metric: metric}).Arms[i].Value)
			if math.Abs(got-want) > 1e-5 {
				t.Errorf("%s of %s: %g, want %g", metric, arm, got, want)
			}
		}
	}
}

// CUPED uses what users did before exposure to remove their noise.
func TestCUPEDReducesVariance(t *testing.T) {
	var l log
	for d := range 14 {
		for u := range 600 {
			user, id := fmt.Sprint("u", u), fmt.Sprintf("%d-%d", u, d)
			at := start + int64(d)*dayMillis + int64(u)
			arm := ""
			if d >= 7 {
				arm = []string{"control", "treated"}[u%2]
			}
			l.show(id, user, arm, at)
			rate := 0.1 + 0.8*spread(u, 1000)
			if arm == "treated" {
				rate += 0.03
			}
			if spread(u, d) < rate {
				l.act("click", user, "a", id, at+1, 0)
			}
		}
	}
	r := l.report(t, analysis.Options{})
	if r.VarianceSaved < 0.4 || r.Theta <= 0 {
		t.Errorf("CUPED removes %.2f of the variance, theta %.2f", r.VarianceSaved, r.Theta)
	}
	for _, s := range r.Segments {
		if s.Name == "new users" {
			t.Errorf("all users are known, yet there is a segment %+v", s)
		}
	}
}

// On the demo's log the interval contains the planted lift, whose true size the world knows.
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
		for position, item := range e.Impression.Items {
			p := world.ClickProbability(e.UserID, item)
			odds := (1 + lift) * p / (1 - p)
			plain += demo.Examination(position) * p
			lifted += demo.Examination(position) * odds / (1 + odds)
		}
	}
	truth := lifted/plain - 1
	r := l.report(t, analysis.Options{Experiment: demo.PlantedExperiment})
	got := r.Comparisons[0].Lift
	if !(float64(got.Low) < truth && truth < float64(got.High)) || got.High-got.Low > 0.12 {
		t.Errorf("lift %.4f [%.4f, %.4f], the truth is %.4f", got.Value, got.Low, got.High, truth)
	}
	if r.Decision.Action != analysis.Ship || r.Decision.Arm != "treated" {
		t.Errorf("%+v", r.Decision)
	}
	world = demo.New(demo.Options{Seed: 3, Users: 1000, Lists: 12000, PlantedLift: 1e-9})
	var null log
	for e := range world.Events() {
		null.put(e)
	}
	r = null.report(t, analysis.Options{Experiment: demo.PlantedExperiment})
	if r.Decision.Action == analysis.Ship {
		t.Errorf("without a lift the decision is %+v", r.Decision)
	}
}

func TestInvalidOptions(t *testing.T) {
	l := crowd{users: 10, days: 1}.log()
	guardrail := func(metric string, margin float64) []analysis.Guardrail {
		return []analysis.Guardrail{{Metric: metric, Margin: margin}}
	}
	noWeight := map[string]float64{"a": 0}
	for want, opt := range map[string]analysis.Options{
		`no impression of the log is exposed to experiment "y"`: {Experiment: "y"},

		`guardrail: metric "speed" is unknown`: {
			Experiment: name, Guardrails: guardrail("speed", 0.1),
		},

		"the experiment's name is missing": {},
		`metric "clicks" is unknown`:       {Experiment: name, Metric: "clicks"},
		"the margin of ctr is 2":           {Experiment: name, Guardrails: guardrail("ctr", 2)},
		`unit "visit" is unknown`:          {Experiment: name, Unit: "visit"},
		"alpha is 2":                       {Experiment: name, Alpha: 2},
		`the weight of arm "a" is 0`:       {Experiment: name, Weights: noWeight},
		"4 segments":                       {Experiment: name, Segments: make([]string, 4)},
	} {
		_, err := analysis.Run(context.Background(), l.source(), opt)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", opt, err, want)
		}
	}
	damaged := func(yield func(event.Record, error) bool) {
		yield(event.Record{}, errors.New("damaged"))
	}
	_, err := analysis.Run(context.Background(), damaged, analysis.Options{Experiment: name})
	if err == nil {
		t.Error("a damaged log must be an error")
	}
}

// With unit session, each session counts on its own.
func TestSessions(t *testing.T) {
	var l log
	for s := range 100 {
		l.put(ranker.Event{
			Kind: ranker.EventImpression, ID: fmt.Sprint(s), Time: start,
			UserID: "u", Session: fmt.Sprint("s", s),
			Impression: &ranker.Impression{
				Items:       []string{"a"},
				Experiments: map[string]string{name: []string{"a", "b"}[s%2]},
			},
		})
	}
	r := l.report(t, analysis.Options{Unit: "session"})
	if r.Arms[0].Users != 50 || r.SampleRatio.Crossed != 0 {
		t.Errorf("by session: %+v, crossed %d", r.Arms, r.SampleRatio.Crossed)
	}
	if r := l.report(t, analysis.Options{}); r.SampleRatio.Crossed != 1 {
		t.Errorf("by user: %+v", r.SampleRatio)
	}
}

// Text, HTML and JSON agree, names are escaped, and JSON has neither NaN nor infinity.
func TestOutputFormats(t *testing.T) {
	r := crowd{users: 300, days: 8, rate: rates(0.4, 0.4)}.log().report(t, analysis.Options{})
	r.Arms[0].Name, r.Experiment = "<b>control", "<script>"
	var text, buf bytes.Buffer
	r.WriteText(&text)
	if err := r.WriteHTML(&buf); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Decision struct{ Summary string }
		Arms     []struct{ Users int }
		Series   []struct{ Total []struct{ Value *float64 } }
	}
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if back.Decision.Summary != r.Decision.Summary || back.Arms[0].Users != 150 ||
		len(back.Series) != 8 {
		t.Errorf("JSON:\n%s", data)
	}
	for _, want := range []string{r.Decision.Summary, "latency"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, &text)
		}
	}
	page := buf.String()
	for _, want := range []string{
		"&lt;script&gt;", "&lt;b&gt;control", "<svg", "Content-Security-Policy",
		string(r.Decision.Action),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, bad := range []string{
		"<script", "http://", "https://", "<b>control", " style=", "NaN",
	} {
		if strings.Contains(page, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	_, css, _ := strings.Cut(page, "<style>")
	css, _, _ = strings.Cut(css, "</style>")
	sum := sha256.Sum256([]byte(css))
	policy := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	if !strings.Contains(html.UnescapeString(page), policy) {
		t.Error("the page's policy does not allow its own style sheet")
	}
	// The cumulative lift of the last day is the report's lift.
	if last := r.Series[len(r.Series)-1].Cumulative[0]; last != r.Comparisons[0].Lift {
		t.Errorf("the last day has %+v, the report %+v", last, r.Comparisons[0].Lift)
	}
}
