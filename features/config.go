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

// Config is the section "state" of relish.yaml: what the server counts and keeps. If anything but
// DedupeIDs changes, the next start replays the log.
type Config struct {
	Actions []string `yaml:"actions"` // counted actions, at most 32; others are only logged
	// Fields are the counted item fields, at most 16. "tags" is the item's own tags.
	Fields []string `yaml:"fields"`
	// HalfLives has at most 8 entries: "all" (no decay), or a duration such as 1h or 7d.
	HalfLives []string `yaml:"half_lives"`

	// DailyListed bounds how often an action of one user on one item counts on one day. More are
	// logged, but change nothing.
	DailyListed int `yaml:"daily_listed"`
	// DailyUnlisted is the lower bound for an item that the user was not shown within the day
	// before, as far as Shown reaches. Further actions count for the user, but not for the item,
	// its field values and everything together. 0 keeps out what click farms send without any list.
	DailyUnlisted int `yaml:"daily_unlisted"`
	// NewcomerExcess bounds what users who have acted on one item at most cause of an item's
	// impressions, and of its actions: this many times their share over all items. Their further
	// events count for the user alone. 0: no bound. 2 keeps out what click farms send.
	NewcomerExcess float64 `yaml:"newcomer_excess"`

	Recent int `yaml:"recent"` // interactions kept for each user
	// Shown is how many shown items are kept for each user. The signal residual learns a user's
	// preferences from them: 256 are about ten lists.
	Shown int `yaml:"shown"`
	// UserValues bounds the counted values of a field for each user. The least recent is dropped.
	UserValues int `yaml:"user_values"`
	// FieldValues bounds the counted values of a field over all users. Further values are not
	// counted.
	FieldValues int `yaml:"field_values"`
	// MaxItems and MaxUsers bound the items and users. Above them the ones whose last event arrived
	// longest ago are dropped.
	MaxItems int `yaml:"max_items"`
	MaxUsers int `yaml:"max_users"`
	// MaxAge is how long items and users without an event are kept: 365d, 36h. A time without any
	// event counts as at most 1/64 of it.
	MaxAge string `yaml:"max_age"`

	DedupeIDs int `yaml:"dedupe_ids"` // event ids remembered to detect duplicates, by arrival

	Text ranker.TextSpec `yaml:"-"` // the fields that make an item's text
}

// DefaultConfig returns the defaults. The bounds keep the state of one user or item within a few
// KiB. The half-lives reach from one session to one season.
func DefaultConfig() Config {
	return Config{
		Actions:        []string{"view", "click", "comment", "purchase"},
		Fields:         []string{"tags", "category", "genres", "brand", "author"},
		HalfLives:      []string{allTime, "1h", "1d", "7d", "30d"},
		DailyListed:    5,
		DailyUnlisted:  1,
		NewcomerExcess: 2,

		Recent:      100,
		Shown:       256,
		UserValues:  64,
		FieldValues: 100_000,
		MaxItems:    5_000_000,
		MaxUsers:    5_000_000,
		MaxAge:      "365d",
		DedupeIDs:   4_000_000,
	}
}

// Actions that features.yaml may name beside the configured ones.
const (
	ActionImpression = "impression" // being shown
	ActionAny        = "any"        // the sum of all configured actions
)

// maxHalfLives bounds Config.HalfLives.
const maxHalfLives = 8

// allTime is the half-life of a counter that does not decay.
const allTime = "all"

// Validate returns all problems of the configuration, each with what to change.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("state."+format, args...))
	}
	names := func(what string, list []string, limit int) {
		if len(list) > limit {
			bad("%s: has %d entries; keep at most %d", what, len(list), limit)
		}
		for i, n := range list {
			if n == "" || len(n) > 64 {
				bad("%s[%d]: %q must have 1 to 64 bytes", what, i, n)
			}
			if slices.Index(list, n) != i {
				bad("%s[%d]: %q occurs twice; remove one", what, i, n)
			}
		}
	}
	names("actions", c.Actions, 32)
	names("fields", c.Fields, 16)
	names("half_lives", c.HalfLives, maxHalfLives)
	if len(c.Actions) == 0 {
		bad("actions: is empty; name at least one action to count, such as click")
	}
	if slices.Contains(c.Actions, ActionImpression) || slices.Contains(c.Actions, ActionAny) {
		bad("actions: %q and %q are reserved; choose other names", ActionImpression, ActionAny)
	}
	for i, h := range c.HalfLives {
		if _, err := ParseHalfLife(h); err != nil {
			bad("half_lives[%d]: %v", i, err)
		}
	}
	if !slices.Contains(c.HalfLives, allTime) {
		bad(`half_lives: add "all"; the prior model needs counts without decay`)
	}
	if d, err := parseDuration(c.MaxAge); err != nil || d < time.Hour {
		bad("max_age: %q is not a duration of at least one hour; write 365d or 36h", c.MaxAge)
	}
	for _, b := range []struct {
		name       string
		value, max int
	}{
		{"daily_listed", c.DailyListed, 1000},
		{"recent", c.Recent, ranker.MaxHistory},
		{"shown", c.Shown, ranker.MaxHistory},
		{"user_values", c.UserValues, 1000},
		{"field_values", c.FieldValues, 10_000_000},
		{"max_items", c.MaxItems, math.MaxInt32},
		{"max_users", c.MaxUsers, math.MaxInt32},
		{"dedupe_ids", c.DedupeIDs, 100_000_000},
	} {
		if b.value < 1 || b.value > b.max {
			bad("%s: %d is not within 1 to %d", b.name, b.value, b.max)
		}
	}
	if c.DailyUnlisted < 0 || c.DailyUnlisted > c.DailyListed {
		bad("daily_unlisted: %d is not within 0 to daily_listed, %d", c.DailyUnlisted,
			c.DailyListed)
	}
	if x := c.NewcomerExcess; x != 0 && !(x >= 1 && x <= 1000) {
		bad("newcomer_excess: %v is neither 0, for no bound, nor within 1 to 1000", x)
	}
	return errors.Join(errs...)
}

// ParseHalfLife reads one of Config.HalfLives. "all" is 0; else it is a duration of at least a
// second, with the additional unit d for days.
func ParseHalfLife(s string) (time.Duration, error) {
	if s == allTime {
		return 0, nil
	}
	d, err := parseDuration(s)
	if err != nil || d < time.Second {
		return 0, fmt.Errorf("%q is not a half-life of at least one second; write all, 1h or 7d", s)
	}
	return d, nil
}

// parseDuration is time.ParseDuration with the additional unit d, for up to 100 years.
func parseDuration(s string) (time.Duration, error) {
	days, ok := strings.CutSuffix(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseFloat(days, 64)
	if err != nil || n <= 0 || n > 36500 {
		return 0, fmt.Errorf("%q is not a number of days from 0 to 36500", s)
	}
	return time.Duration(n * 24 * float64(time.Hour)), nil
}

// MaxAgeDuration returns MaxAge. The configuration must be valid.
func (c *Config) MaxAgeDuration() time.Duration {
	d, _ := parseDuration(c.MaxAge) // Validate has checked it
	return d
}

// layoutHash identifies what decides the meaning of stored counters.
func (c *Config) layoutHash() uint64 { return xxhash.Sum64String(c.layoutText()) }

func (c *Config) layoutText() string {
	return fmt.Sprintf("%q %q %q %q", c.Actions, c.Fields, c.HalfLives, c.Text)
}

// Hash identifies everything that the state of the same records depends on: what is counted, and
// the bounds. It has 16 hex digits. With another hash the features of a list may have other values.
func (c *Config) Hash() string {
	maxAge, _ := parseDuration(c.MaxAge) // Validate has checked it
	return fmt.Sprintf("%016x", xxhash.Sum64String(fmt.Sprintf("%s %d %d %g %d %d %d %d %d %d %d",
		c.layoutText(), c.DailyListed, c.DailyUnlisted, c.NewcomerExcess, c.Recent, c.Shown,
		c.UserValues, c.FieldValues, c.MaxItems, c.MaxUsers, maxAge)))
}
