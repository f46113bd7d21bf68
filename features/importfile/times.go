package importfile

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"relish/features/event"
)

// TimeUnit is the unit of a time that is written as a number.
type TimeUnit uint8

// The units of times.
const (
	AnyUnit TimeUnit = iota // it is detected
	Seconds
	Millis
	Micros
	Nanos
)

// units has the names of the units, and how many of each make a second.
var units = [...]struct {
	short, name string
	perSecond   int64
}{
	AnyUnit: {"auto", "Unix milliseconds", 1e3},
	Seconds: {"s", "Unix seconds", 1},
	Millis:  {"ms", "Unix milliseconds", 1e3},
	Micros:  {"us", "Unix microseconds", 1e6},
	Nanos:   {"ns", "Unix nanoseconds", 1e9},
}

// String returns the name of the unit for people. AnyUnit stands for milliseconds, the unit of the
// API.
func (u TimeUnit) String() string { return units[u].name }

// ParseTimeUnit returns the unit with the short name auto, s, ms, us or ns.
func ParseTimeUnit(short string) (TimeUnit, error) {
	for u := range units {
		if units[u].short == short {
			return TimeUnit(u), nil
		}
	}
	return 0, fmt.Errorf("%q is no unit of time; use s, ms, us or ns", short)
}

// The times that a number can be: from 1990 until the end of 2099, in Unix seconds. In this range
// no number is a time in two units.
const (
	firstSecond = 631_152_000
	endSecond   = 4_102_444_800
)

// plausible returns the time that the number is in this unit.
func (u TimeUnit) plausible(x float64) (t time.Time, ok bool) {
	seconds := x / float64(units[u].perSecond)
	if seconds < firstSecond || seconds >= endSecond {
		return t, false
	}
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC(), true
}

// unitOf returns the unit in which x is a plausible time, AnyUnit if there is none.
func unitOf(x float64) TimeUnit {
	for u := Seconds; u <= Nanos; u++ {
		if _, ok := u.plausible(x); ok {
			return u
		}
	}
	return AnyUnit
}

// parseTime reads a time, whose unit is u if it is a number, and returns Unix milliseconds. Texts
// are RFC 3339 or a near form of ISO 8601, see toRFC3339.
func (u TimeUnit) parseTime(s string) (int64, error) {
	if x, ok := parseNumber(s); ok {
		return u.parseNumber(s, x)
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t, err = time.Parse(time.RFC3339Nano, toRFC3339(s))
	}
	if err != nil {
		return 0, u.errTime("%.40q", s)
	}
	if t.UnixMilli() == 0 { // would stand for no time
		return 0, u.errTime("%s", s+event.MissingTime)
	}
	return t.UnixMilli(), nil
}

// parseEventTime reads the time of an event in JSON, where "" means that the time is unknown.
func (u TimeUnit) parseEventTime(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	return u.parseTime(s)
}

// parseNumber converts the number x, which s writes.
func (u TimeUnit) parseNumber(s string, x float64) (int64, error) {
	t, ok := u.plausible(x)
	if !ok {
		if x == 0 {
			return 0, u.errTime("%s", s+event.MissingTime)
		}
		if what, t := event.Resembles(x); !t.IsZero() {
			return 0, u.errTime("%s", fmt.Sprintf("%.40s, which seems to be %s (%s)", s, what,
				event.FormatTime(t.UnixMilli())))
		}
		return 0, u.errTime("%.40s", s)
	}
	// float64 has too few digits for nanoseconds.
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && u > Millis {
		return time.Unix(0, n*(1e9/units[u].perSecond)).UnixMilli(), nil
	}
	return t.UnixMilli(), nil
}

// parseNumber reads a decimal number. ok is false for anything else: a date, a word, NaN.
func parseNumber(s string) (x float64, ok bool) {
	if strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false
	}
	x, err := strconv.ParseFloat(s, 64)
	return x, err == nil || errors.Is(err, strconv.ErrRange)
}

// errTime returns the error for a value that is no time. format says how to show the value.
func (u TimeUnit) errTime(format string, value any) error {
	return fmt.Errorf("must be a time like 2026-05-01T10:00:00Z or %s, not "+format, u, value)
}

// toRFC3339 rewrites other forms of ISO 8601 in that of RFC 3339: a date alone, a blank for the T,
// a time without seconds, a short zone, and no zone, which means UTC.
func toRFC3339(s string) string {
	const date = len(time.DateOnly)
	if len(s) == date {
		return s + "T00:00:00Z"
	}
	if len(s) < date+1 || s[date] != 'T' && s[date] != ' ' {
		return s
	}
	clock, zone := strings.TrimSpace(s[date+1:]), "Z"
	if i := strings.IndexAny(clock, "+-Z UG"); i >= 0 {
		clock, zone = clock[:i], strings.TrimSpace(clock[i:])
	}
	switch {
	case zone == "UTC" || zone == "GMT":
		zone = "Z"
	case len(zone) == len("+01"):
		zone += ":00"
	case len(zone) == len("+0100"):
		zone = zone[:3] + ":" + zone[3:]
	}
	if len(clock) == len("10:00") {
		clock += ":00"
	}
	return s[:date] + "T" + clock + zone
}
