package analysis_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"relish/experiment/analysis"
	"relish/ranker"
)

// extremes are values that senders of events have sent, or that old logs hold.
var extremes = []float64{
	0, math.Copysign(0, -1), 1, -1, 9.99, 1e-300, 1e38, -1e38, math.MaxFloat32, -math.MaxFloat32,
	1e39, -1e39, 1e308, math.MaxFloat64, math.Inf(1), math.Inf(-1), math.NaN(),
}

// extremeLog is a log of random events with extreme values, times and ids.
func extremeLog(rng *rand.Rand) log {
	pick := func(n int) string { return fmt.Sprint(rng.IntN(n)) }
	at := func() int64 {
		return start + rng.Int64N(20*dayMillis) - rng.Int64N(1+rng.Int64N(2*dayMillis))
	}
	var l log
	for range 1 + rng.IntN(400) {
		user := "u" + pick(1+rng.IntN(60))
		switch rng.IntN(5) {
		case 0, 1:
			arm := []string{"", "control", "treated", "other"}[rng.IntN(4)]
			l.show("i"+pick(200), user, arm, at(), "a"+pick(3), "b"+pick(3))
			imp := l[len(l)-1].Event.Impression
			if rng.IntN(2) == 0 {
				imp.Propensity = []float64{extremes[rng.IntN(len(extremes))], 1e-300}
			}
			if rng.IntN(8) == 0 && arm != "" {
				imp.Interleaved = &ranker.Interleaved{
					Experiment: name, Arms: [2]string{"control", "treated"},
					Teams: []uint8{uint8(rng.IntN(2)), uint8(rng.IntN(2))},
				}
			}
			imp.Context = map[string]ranker.FieldValue{
				"c": ranker.NumberValue(extremes[rng.IntN(len(extremes))]),
			}
		case 2, 3:
			action := []string{"click", "purchase", "revenue", "view"}[rng.IntN(4)]
			impression := ""
			if rng.IntN(2) == 0 {
				impression = "i" + pick(200)
			}
			value := extremes[rng.IntN(len(extremes))]
			l.act(action, user, "a"+pick(3), impression, at(), value)
		case 4:
			l.put(ranker.Event{
				Kind: ranker.EventItem, ID: "d" + pick(900), ItemID: "a" + pick(3), Time: at(),
				Tags: []string{pick(2)}, Fields: map[string]ranker.FieldValue{
					"n": ranker.NumberValue(extremes[rng.IntN(len(extremes))]),
				},
			})
		}
	}
	return l
}

// checkReport makes a report in every form. A report may be refused, but nothing panics.
func checkReport(t *testing.T, seed uint64, l log, opt analysis.Options) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("seed %d, %+v: panic: %v", seed, opt, p)
		}
	}()
	r, err := analysis.Run(context.Background(), l.source(), opt)
	if errors.Is(err, analysis.ErrNoExposure) || errors.Is(err, analysis.ErrInvalidOptions) {
		return
	}
	if err != nil {
		t.Errorf("seed %d: %v", seed, err)
		return
	}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	r.WriteText(&page)
	r.GuardrailBreaches()
	if _, err := json.Marshal(r); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	for _, c := range r.Arms {
		if p := float64(c.ProbabilityBest); p < 0 || p > 1 {
			t.Errorf("seed %d: the probability to be best is %v", seed, p)
		}
	}
}

// No report panics, whatever the log holds.
func TestReportsOfExtremeLogs(t *testing.T) {
	metrics := []string{
		"ctr", "revenue", "conversion", "ndcg", "latency",
		"reward:purchase * revenue * revenue * revenue / click",
	}
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := extremeLog(rng)
		for _, metric := range metrics {
			opt := analysis.Options{
				Experiment: name, Metric: metric, Control: "control",
				Guardrails: []analysis.Guardrail{
					{Metric: "revenue", Margin: .05}, {Metric: "ctr", Margin: .05},
				},
			}
			if rng.IntN(2) == 0 {
				opt.Segments = []string{"context.c"}
			}
			checkReport(t, seed, l, opt)
		}
	}
}

// One purchase of an infinite value, which old logs may hold, does not hide the others.
func TestInfiniteRevenue(t *testing.T) {
	var l log
	for i := range 200 {
		user, arm := fmt.Sprint("u", i), []string{"control", "treated"}[i%2]
		l.show(fmt.Sprint("i", i), user, arm, start)
		l.act("purchase", user, "a", fmt.Sprint("i", i), start+1, 10+float64(i%3))
	}
	l.act("purchase", "u0", "a", "i0", start+2, 1e39)
	l.act("purchase", "u1", "a", "i1", start+2, math.Inf(1))
	r := l.report(t, analysis.Options{Metric: "revenue", Control: "control"})
	if c := r.Comparisons[0]; math.IsNaN(float64(c.Difference.Value)) || r.InvalidValues != 2 {
		t.Errorf("difference %v, %d invalid values", c.Difference.Value, r.InvalidValues)
	}
}
