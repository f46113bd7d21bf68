package analysis_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/experiment/analysis"
	"relish/features/event"
	"relish/ranker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	start     = int64(1_767_225_600_000) // 2026-01-01, UTC
	dayMillis = int64(24 * time.Hour / time.Millisecond)
	name      = "x"
)

// log is an event log that tests append to.
type log []event.Record

func (l *log) put(e ranker.Event) {
	*l = append(*l, event.Record{Seq: uint64(len(*l) + 1), Arrival: start, Event: e})
}

// show appends an exposed impression; with arm "" it is not in the experiment.
func (l *log) show(id, user, arm string, at int64, items ...string) {
	if len(items) == 0 {
		items = []string{"a", "b", "c"}
	}
	e := ranker.Event{
		Kind: ranker.EventImpression, ID: id, Time: at, UserID: user,
		Impression: &ranker.Impression{Items: items},
	}
	if arm != "" {
		e.Impression.Experiments = map[string]string{name: arm}
	}
	l.put(e)
}

func (l *log) act(action, user, item, impression string, at int64, value float64) {
	e := ranker.Event{
		Kind:         ranker.EventInteraction,
		ID:           fmt.Sprint(len(*l)),
		Time:         at,
		UserID:       user,
		ItemID:       item,
		Action:       action,
		ImpressionID: impression,
	}
	if value != 0 {
		e.Value = &value
	}
	l.put(e)
}

func (l log) source() analysis.Source {
	return func(yield func(event.Record, error) bool) {
		for _, r := range l {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (l log) report(t testing.TB, opt analysis.Options) *analysis.Report {
	t.Helper()
	if opt.Experiment == "" {
		opt.Experiment = name
	}
	r, err := analysis.Run(context.Background(), l.source(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// crowd makes a log of many users over days. Each user sees one list a day and clicks its first
// item with probability rate.
type crowd struct {
	users, days int
	rate        func(user, day int, arm string) float64
	arm         func(user int) string // nil: control and treated in turn
	took        func(user, day int, arm string) float64
	degraded    func(user, day int, arm string) bool
	items       func(user, day int, arm string) []string
	fallback    bool // control serves a tenth of the treated lists
}

func milliseconds(ms float64) time.Duration {
	return time.Duration(ms * float64(time.Millisecond))
}

func (c crowd) log() log {
	var l log
	if c.arm == nil {
		c.arm = func(u int) string { return []string{"control", "treated"}[u%2] }
	}
	for d := range c.days {
		for u := range c.users {
			user, arm, id := fmt.Sprint("u", u), c.arm(u), fmt.Sprintf("%d-%d", u, d)
			at := start + int64(d)*dayMillis + int64(u)
			e := ranker.Event{
				Kind:   ranker.EventImpression,
				ID:     id,
				Time:   at,
				UserID: user,
				Impression: &ranker.Impression{
					Items:       []string{"a", "b", "c"},
					Experiments: map[string]string{name: arm},
					Model:       "m",
					Served:      true,
					Exposed:     []string{name},
					Took:        milliseconds(10 + 20*spread(u, d+5000)),
				},
			}
			if c.took != nil {
				e.Impression.Took = milliseconds(c.took(u, d, arm))
			}
			if c.degraded != nil && c.degraded(u, d, arm) {
				e.Impression.Degraded = []string{ranker.ScorerFallback}
			}
			if c.fallback && arm == "treated" && (u/2+d)%10 == 0 {
				e.Impression.Experiments[name], e.Impression.Exposed = "control", nil
				e.Impression.Fallback = map[string]string{name: arm}
			}
			if c.items != nil {
				e.Impression.Items = c.items(u, d, arm)
			}
			l.put(e)
			if c.rate != nil && spread(u, d) < c.rate(u, d, arm) {
				l.act("click", user, e.Impression.Items[0], id, at+1, 0)
			}
		}
	}
	return l
}

// spread returns a pseudo-random number in 0..1 that is the same in every run.
func spread(u, d int) float64 {
	x := uint64(u)*0x9e3779b97f4a7c15 + uint64(d)*0xd1b54a32d192ed03
	x ^= x >> 31
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 29
	x *= 0x94d049bb133111eb
	return float64(x>>11) / (1 << 53)
}
