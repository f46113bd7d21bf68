package event

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// maxMillis is the end of the year 9999 in Unix ms, the last time that RFC 3339 can write.
const maxMillis = 253402300799999

// MinTime is the earliest time that an event may have: the year 1990, in Unix ms. An earlier
// number is almost always in another unit than milliseconds.
const MinTime = 631152000000

// MaxAhead is how far the time of an event may be ahead of its arrival. Clocks of clients are that
// wrong; a later time would count as long as the present does.
const MaxAhead = 10 * time.Minute

// FormatTime writes Unix milliseconds as RFC 3339 in UTC.
func FormatTime(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// ParseTime reads RFC 3339 or a decimal number of Unix milliseconds. It returns Unix milliseconds.
// It does not call CheckTime.
func ParseTime(s string) (int64, error) {
	if ms, err := strconv.ParseFloat(s, 64); err == nil {
		return parseMillis(ms, s)
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf(notATime+", not %.40q", s)
	}
	return t.UnixMilli(), nil
}

// MissingTime says what the time 0 seems to be, as the end of a sentence.
const MissingTime = ": this seems to stand for a missing time; leave the time out"

const notATime = "must be a time like 2026-05-01T10:00:00Z or Unix milliseconds"

// parseMillis returns a whole number of Unix milliseconds. text is how the number was written.
func parseMillis(ms float64, text string) (int64, error) {
	switch {
	case ms != math.Trunc(ms):
		return 0, fmt.Errorf(notATime+", not %.40s", text)
	case math.Abs(ms) > maxMillis:
		return 0, fmt.Errorf(notATime+", not %.40s%s", text, guessUnit(ms))
	}
	return int64(ms), nil
}

// CheckTime returns an error for a time before MinTime, or too far ahead of now, both in Unix ms.
// The error says in which other unit the time seems to be, and what to send instead. now = 0
// allows any time after MinTime.
func CheckTime(ms, now int64) error {
	switch {
	case ms < MinTime:
		guess := guessUnit(float64(ms))
		switch {
		case ms == 0:
			guess = MissingTime
		case guess == "":
			guess = " (" + FormatTime(ms) + ")"
		}
		return fmt.Errorf(notATime+" after 1990, not %d%s", ms, guess)
	case now > 0 && ms > now+MaxAhead.Milliseconds():
		if guess := guessUnit(float64(ms)); guess != "" {
			return fmt.Errorf(notATime+", not %d%s", ms, guess)
		}
		return fmt.Errorf("must not be more than %.0f minutes ahead of now (%s), but %s is: "+
			"check the sender's clock", MaxAhead.Minutes(), FormatTime(now), FormatTime(ms))
	}
	return nil
}

// Years that a number in a wrong unit may stand for.
const (
	firstYear = 1990
	lastYear  = 2099
)

// advice says how a number in another unit becomes Unix milliseconds.
var advice = map[string]string{
	"Unix seconds":      "multiply by 1000",
	"Unix microseconds": "divide by 1000",
	"Unix nanoseconds":  "divide by 1000000",
}

// guessUnit says in which unit a number seems to be that is no time in Unix milliseconds, as the
// end of a sentence. It returns "" if no common unit gives a plausible year.
func guessUnit(n float64) string {
	what, t := Resembles(n)
	switch {
	case t.IsZero() || what == "Unix milliseconds":
		return ""
	case advice[what] != "":
		return fmt.Sprintf(": this seems to be %s (%s); %s", what, t.Format(time.RFC3339),
			advice[what])
	}
	return fmt.Sprintf(": this seems to be %s; send %s", what, t.Format(time.RFC3339))
}

// Resembles says what a number seems to be that shall be a time, such as "Unix seconds" or "a
// spreadsheet's day number", and which time that is. The time is zero if no common way to write
// times gives a plausible year.
func Resembles(n float64) (what string, t time.Time) {
	// A spreadsheet counts days from the end of 1899.
	const day, unixEpochDay = 24 * 60 * 60 * 1000, 25569
	for _, unit := range []struct {
		name   string
		millis float64
	}{
		{"Unix seconds", n * 1e3},
		{"Unix milliseconds", n},
		{"Unix microseconds", n * 1e-3},
		{"Unix nanoseconds", n * 1e-6},
	} {
		if t, ok := plausible(unit.millis); ok {
			return unit.name, t
		}
	}
	if t, err := parseDigits(n); err == nil {
		return "a date written as a number", t
	}
	if t, ok := plausible((n - unixEpochDay) * day); ok {
		return "a spreadsheet's day number", t
	}
	if t, ok := plausible(n * day); ok {
		return "a number of days since 1970", t
	}
	return "", time.Time{}
}

// plausible reports whether a number of Unix milliseconds lies in a year that events have.
func plausible(ms float64) (t time.Time, ok bool) {
	if math.Abs(ms) > maxMillis {
		return t, false
	}
	t = time.UnixMilli(int64(ms)).UTC()
	return t, t.Year() >= firstYear && t.Year() <= lastYear
}

var errNotDigits = errors.New("no date in digits")

// parseDigits reads numbers such as 20260501, 202605 and 20260501100000.
func parseDigits(n float64) (time.Time, error) {
	if n < 0 || n > 1e15 {
		return time.Time{}, errNotDigits
	}
	digits := strconv.FormatInt(int64(n), 10)
	for _, layout := range []string{
		"2006", "200601", "20060102", "200601021504", "20060102150405",
	} {
		t, err := time.Parse(layout, digits)
		if err == nil && t.Year() >= firstYear && t.Year() <= lastYear {
			return t, nil
		}
	}
	return time.Time{}, errNotDigits
}
