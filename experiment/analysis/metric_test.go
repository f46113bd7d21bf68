package analysis_test

import (
	"context"
	"math"
	"strings"
	"testing"

	"relish/experiment/analysis"
)

// reward evaluates an expression over one user with 3 clicks, 2 purchases of 10 each, and 1
// share_it.
func reward(expr string) (float64, error) {
	var l log
	l.show("1", "u", "a", start)
	for _, item := range []string{"a", "b", "c"} {
		l.act("click", "u", item, "1", start+1, 0)
	}
	l.act("purchase", "u", "a", "1", start+2, 10)
	l.act("purchase", "u", "b", "1", start+2, 10)
	l.act("share_it", "u", "a", "", start+3, 0)
	r, err := analysis.Run(
		context.Background(),
		l.source(),
		analysis.Options{Experiment: name, Metric: "reward:" + expr},
	)
	if err != nil {
		return math.NaN(), err
	}
	return float64(r.Arms[0].Value), nil
}

func TestReward(t *testing.T) {
	for expr, want := range map[string]float64{
		"click":                       3,
		"click + 5*purchase":          13,
		"click - purchase - share_it": 0,
		"2*(click+purchase)/5":        2,
		"-click + 10":                 7,
		"revenue/click":               20.0 / 3,
		"click/never":                 0,
		".5*click":                    1.5,
		"1e1*click":                   30,
		"click--purchase":             5,
	} {
		if got, err := reward(expr); err != nil || math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: %g, %v; want %g", expr, got, err, want)
		}
	}
	for expr, want := range map[string]string{
		"":                                  "it ends where a number or an action is expected",
		"5":                                 "it names no action",
		"click +":                           "it ends where a number or an action is expected",
		"click purchase":                    `"purchase" is found where the end is expected`,
		"sum(click)":                        `"(" is found where the end is expected`,
		"(click":                            `it ends where ")" is expected`,
		"5x*click":                          `"5x" is not a number`,
		"click; click":                      `";" is found where the end is expected`,
		strings.Repeat("(", 2000) + "click": "at most 1000 are allowed",
	} {
		if _, err := reward(expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", expr, err, want)
		}
	}
}

// Every expression is either an error or gives a number, within bounded time.
func FuzzReward(f *testing.F) {
	for _, seed := range []string{
		"click + 5*purchase", "((((", "-", "1..2", "ä*é", "a(b,c)", "\xff", "a\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		if _, err := reward(expr); err != nil && !strings.Contains(err.Error(), "reward") {
			t.Errorf("%q: %v", expr, err)
		}
	})
}
