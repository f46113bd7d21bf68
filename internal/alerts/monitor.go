package alerts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"relish/features/trends"
	"relish/internal/durable"
)

// ErrNotReady says that the counts are not complete yet. Rules are undecided then.
var ErrNotReady = errors.New("the trends are being counted")

// Source is what rules are decided from.
type Source interface {
	// Hours returns the counts of a value, see trends.Counts.Hours. Its errors wrap ErrNotReady
	// while the counts lack much of the log.
	Hours(field, source, value string, now time.Time) (*trends.Hours, error)
	// Texts returns the newest items with the value, at most n, if possible none older than since.
	Texts(ctx context.Context, field, value string, since time.Time, n int) ([]Text, error)
}

// Text is an item of an episode.
type Text struct {
	ID    string    `json:"id"`
	Title string    `json:"title"` // or the beginning of the text, cut to 200 characters
	Time  time.Time `json:"time"`  // event time of the text
}

// Bounds of what is kept of a rule.
const (
	maxTexts    = 5 // of an episode
	maxTitle    = 200
	maxEpisodes = 20 // of a rule
)

// Episode is a time in which a rule was met.
type Episode struct {
	ID      string    `json:"id"`
	Started time.Time `json:"started"`
	// Over is the last time at which the rule was met. Ended is zero while the episode lasts.
	Over  time.Time `json:"over"`
	Ended time.Time `json:"ended,omitzero"`
	// Decision is that of the start.
	Decision Decision `json:"decision"`
	Texts    []Text   `json:"items,omitempty"` // newest first
	Delivery Delivery `json:"delivery,omitzero"`
}

// Status is what a Monitor knows of a rule.
type Status struct {
	Name     string    `json:"name"`
	When     string    `json:"when"`
	MinCount int       `json:"min_count"`
	Active   bool      `json:"active"` // an episode lasts
	Decision Decision  `json:"decision"`
	Episodes []Episode `json:"episodes"` // newest first, at most 20

	// Begun counts the episodes, and Failures the failed deliveries, since the start.
	Begun    int `json:"-"`
	Failures int `json:"-"`
}

// Options configure a Monitor. Rules and Path are required.
type Options struct {
	Rules   []Rule
	Secrets [][]byte // aligned with Rules; nil for a rule without a webhook
	Path    string   // of the file of the episodes
	FS      durable.FS
	Log     *slog.Logger
}

// Monitor decides rules and keeps their episodes. All methods are safe for concurrent use.
type Monitor struct {
	opt    Options
	client poster

	mu     sync.Mutex
	states []Status // aligned with Options.Rules
	saved  bool     // the file has the states
}

// New returns a Monitor with the episodes of the file. If the file cannot be read, that is logged,
// and there are none.
func New(opt Options) *Monitor {
	if opt.FS == nil {
		opt.FS = durable.Disk
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	m := &Monitor{opt: opt, client: newClient(), saved: true}
	known, err := readFile(opt.Path)
	if err != nil {
		opt.Log.Error("cannot read the episodes of alerts; one that lasts begins again",
			"file", opt.Path, "error", err)
	}
	for i := range opt.Rules {
		r := &opt.Rules[i]
		s := Status{
			Name: r.Name, When: r.When, MinCount: r.MinCount,
			Decision: Decision{State: Undecided, Reason: "not evaluated yet"},
		}
		if was, found := known[r.Name]; found {
			s.Episodes = was.Episodes
			s.Active = was.When == r.When && len(s.Episodes) > 0 && s.Episodes[0].Ended.IsZero()
		}
		for k := range s.Episodes {
			if e := &s.Episodes[k]; e.Ended.IsZero() && (k > 0 || !s.Active) {
				e.Ended = e.Over // the rule has changed
			}
			if d := &s.Episodes[k].Delivery; d.State == Pending && r.Webhook == "" {
				d.State, d.Error = Failed, "the rule has no webhook any more"
			}
		}
		m.states = append(m.states, s)
	}
	return m
}

// Tick decides all rules as of now. The failure of one rule does not keep the others from theirs.
func (m *Monitor) Tick(ctx context.Context, source Source, now time.Time) error {
	var errs []error
	for i := range m.opt.Rules {
		r := &m.opt.Rules[i]
		h, err := source.Hours(r.Field, r.Source, r.Value, now)
		if err != nil {
			m.mu.Lock()
			m.states[i].Decision = Decision{State: Undecided, Reason: err.Error()}
			m.mu.Unlock()
			if !errors.Is(err, ErrNotReady) {
				errs = append(errs, fmt.Errorf("the alert %s: %w", r.Name, err))
			}
			continue
		}
		d := r.Decide(h)
		var texts []Text
		if d.State == Over && !m.active(i) {
			since := now.Add(-time.Duration(r.Hours) * time.Hour)
			if texts, err = source.Texts(ctx, r.Field, r.Value, since, maxTexts); err != nil {
				m.opt.Log.Warn("an alert begins without its texts", "alert", r.Name, "error", err)
			}
		}
		m.decided(i, d, texts, now)
	}
	return errors.Join(append(errs, m.save())...)
}

func (m *Monitor) active(i int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.states[i].Active
}

// decided takes a decision: it begins, extends or ends an episode.
func (m *Monitor) decided(i int, d Decision, texts []Text, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, s := &m.opt.Rules[i], &m.states[i]
	s.Decision = d
	switch {
	case d.State == Over && !s.Active:
		e := Episode{
			ID:      r.Name + "-" + now.UTC().Format("20060102T150405.000Z"),
			Started: now.UTC(), Over: now.UTC(), Decision: d,
		}
		for _, text := range texts[:min(len(texts), maxTexts)] {
			e.Texts = append(e.Texts, text.masked())
		}
		if r.Webhook != "" {
			e.Delivery = Delivery{State: Pending, Next: now.UTC()}
		}
		s.Active, s.Begun, m.saved = true, s.Begun+1, false
		s.Episodes = slices.Insert(s.Episodes, 0, e)
		s.Episodes = s.Episodes[:min(len(s.Episodes), maxEpisodes)]
		m.opt.Log.Warn("an alert began", "alert", r.Name, "episode", e.ID, "reason", d.Reason)
	case d.State == Over:
		s.Episodes[0].Over, m.saved = now.UTC(), false
	case s.Active && now.Sub(s.Episodes[0].Over) >= time.Duration(r.Hours)*time.Hour:
		s.Active, s.Episodes[0].Ended, m.saved = false, now.UTC(), false
		m.opt.Log.Info("an alert ended", "alert", r.Name, "episode", s.Episodes[0].ID)
	}
}

// masked returns the text without control characters and cut to its bound.
func (t Text) masked() Text {
	t.Title = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, t.Title)
	if runes := []rune(t.Title); len(runes) > maxTitle {
		t.Title = string(runes[:maxTitle-1]) + "…"
	}
	return t
}

// Rule returns what is known of rule i, without its episodes.
func (m *Monitor) Rule(i int) Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.states[i]
	s.Episodes = nil
	return s
}

// Status returns what is known of each rule.
func (m *Monitor) Status() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.states)
	for i := range out {
		out[i].Episodes = append([]Episode{}, out[i].Episodes...)
	}
	return out
}
