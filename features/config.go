package features

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"relish/ranker"
)

// Config says what the server counts, section state: of relish.yaml. Changing actions, fields or
// half-lives makes the next start replay the log; changing bounds takes effect as events come.
type Config struct {
	Actions   []string `yaml:"actions"`    // counted actions, at most 32; others are logged only
	Fields    []string `yaml:"fields"`     // counted item fields, at most 16; "tags" is the item's own tags
	HalfLives []string `yaml:"half_lives"` // "all" (never decays), or a duration such as 1h or 7d; at most 8

	Recent      int    `yaml:"recent"`       // interactions kept per user
	Shown       int    `yaml:"shown"`        // shown items kept per user
	UserValues  int    `yaml:"user_values"`  // counted values of a field per user; the longest untouched goes first
	FieldValues int    `yaml:"field_values"` // counted values of a field; further ones are not counted
	MaxItems    int    `yaml:"max_items"`    // above it the items longest without an event are dropped
	MaxUsers    int    `yaml:"max_users"`    // above it the users longest without an event are dropped
	MaxAge      string `yaml:"max_age"`      // items and users without an event for longer are dropped: 365d, 36h

	DedupeIDs int `yaml:"dedupe_ids"` // event ids remembered to tell duplicates, by arrival

	Text ranker.TextSpec `yaml:"-"` // which fields make an item's text
}

// DefaultConfig returns the defaults. The bounds are those that keep one user's or item's state within a
// few KiB; the half-lives go from a session to a season.
func DefaultConfig() Config {
	return Config{
		Actions:   []string{"view", "click", "comment", "purchase"},
		Fields:    []string{"tags", "category", "genres", "brand", "author"},
		HalfLives: []string{"all", "1h", "1d", "7d", "30d"},
		Recent:    100, Shown: 100, UserValues: 64, FieldValues: 100_000,
		MaxItems: 5_000_000, MaxUsers: 5_000_000, DedupeIDs: 4_000_000, MaxAge: "365d",
	}
}

// Pseudo-actions that schemas may name beside the configured ones.
const (
	ActionImpression = "impression" // being shown
	ActionAny        = "any"        // every configured action
)

// Validate returns every problem, each with what to do.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("state."+format, args...)) }
	names := func(what string, list []string, limit int) {
		if len(list) > limit {
			bad("%s: %d given, at most %d are counted", what, len(list), limit)
		}
		for i, n := range list {
			if n == "" || len(n) > 64 {
				bad("%s[%d]: a name has 1 to 64 bytes", what, i)
			}
			if slices.Index(list, n) != i {
				bad("%s[%d]: %q stands twice", what, i, n)
			}
		}
	}
	names("actions", c.Actions, 32)
	names("fields", c.Fields, 16)
	names("half_lives", c.HalfLives, 8)
	if len(c.Actions) == 0 {
		bad("actions: name at least one")
	}
	if slices.Contains(c.Actions, ActionImpression) || slices.Contains(c.Actions, ActionAny) {
		bad("actions: %q and %q have a meaning of their own", ActionImpression, ActionAny)
	}
	for i, h := range c.HalfLives {
		if _, err := ParseHalfLife(h); err != nil {
			bad("half_lives[%d]: %v", i, err)
		}
	}
	if !slices.Contains(c.HalfLives, "all") {
		bad(`half_lives: "all" must be among them; the prior ranks by it`)
	}
	if d, err := parseDuration(c.MaxAge); err != nil || d < time.Hour {
		bad("max_age: %q is no duration of at least an hour; write 365d or 36h", c.MaxAge)
	}
	for _, b := range []struct {
		name       string
		value, max int
	}{
		{"recent", c.Recent, 1000}, {"shown", c.Shown, 1000}, {"user_values", c.UserValues, 1000}, {"field_values", c.FieldValues, 10_000_000},
		{"max_items", c.MaxItems, math.MaxInt32}, {"max_users", c.MaxUsers, math.MaxInt32}, {"dedupe_ids", c.DedupeIDs, 100_000_000},
	} {
		if b.value < 1 || b.value > b.max {
			bad("%s: %d is outside 1 to %d", b.name, b.value, b.max)
		}
	}
	return errors.Join(errs...)
}

// ParseHalfLife reads one of Config.HalfLives: "all" (0) or a duration with the further unit d.
func ParseHalfLife(s string) (time.Duration, error) {
	if s == "all" {
		return 0, nil
	}
	d, err := parseDuration(s)
	if err != nil || d < time.Second {
		return 0, fmt.Errorf("%q is no half-life of at least a second; write all, 1h or 7d", s)
	}
	return d, nil
}

// parseDuration is time.ParseDuration with the further unit d, for up to 100 years.
func parseDuration(s string) (time.Duration, error) {
	days, ok := strings.CutSuffix(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseFloat(days, 64)
	if err != nil || n <= 0 || n > 36500 {
		return 0, fmt.Errorf("%q is no number of days", s)
	}
	return time.Duration(n * 24 * float64(time.Hour)), nil
}

// MaxAgeDuration is how long an item or user without an event is kept.
func (c *Config) MaxAgeDuration() time.Duration {
	d, _ := parseDuration(c.MaxAge) // Validate has checked it
	return d
}

// layoutHash identifies what decides the meaning of stored counters.
func (c *Config) layoutHash() uint64 {
	return xxhash.Sum64String(fmt.Sprintf("%q %q %q %q", c.Actions, c.Fields, c.HalfLives, c.Text))
}
