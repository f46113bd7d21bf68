package eventlog

import (
	"testing"
	"time"
)

// steppedClock is a system clock that a test sets, beside the time that really passes.
type steppedClock struct {
	wall    time.Time
	elapsed time.Duration
}

func (c *steppedClock) pass(d time.Duration) { c.wall, c.elapsed = c.wall.Add(d), c.elapsed+d }
func (c *steppedClock) step(d time.Duration) { c.wall = c.wall.Add(d) }

func (c *steppedClock) options() Options {
	return Options{
		Clock:   func() time.Time { return c.wall },
		Elapsed: func() time.Duration { return c.elapsed },
	}
}

const year = 365 * 24 * time.Hour

var clockStart = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)

// arrives appends one record and returns its arrival after clockStart.
func arrives(t *testing.T, l *Log, dir, id string) time.Duration {
	t.Helper()
	mustAppend(t, l, click(id))
	for rec, err := range Read(dir, l.LastSeq()) {
		if err != nil {
			t.Fatal(err)
		}
		return time.UnixMilli(rec.Arrival).Sub(clockStart)
	}
	t.Fatal("the record is missing")
	return 0
}

// A clock that steps ahead by more than an hour of real time is not believed. Arrivals go on at the
// pace of real time, and follow the clock again once it is right.
func TestClockStepsAhead(t *testing.T) {
	dir, c := t.TempDir(), &steppedClock{wall: clockStart}
	var told []time.Duration
	opt := c.options()
	opt.OnClock = func(ahead time.Duration) { told = append(told, ahead) }
	l := mustOpen(t, dir, opt)
	check := func(what string, got, want time.Duration) {
		t.Helper()
		if got != want {
			t.Errorf("%s: arrives after %v, want %v", what, got, want)
		}
	}
	check("at the start", arrives(t, l, dir, "a"), 0)
	c.pass(10 * time.Hour)
	check("after a quiet night", arrives(t, l, dir, "b"), 10*time.Hour)
	c.step(59 * time.Minute)
	check("after a small correction", arrives(t, l, dir, "c"), 10*time.Hour+59*time.Minute)
	c.step(year)
	c.pass(time.Minute)
	check("after a leap", arrives(t, l, dir, "d"), 11*time.Hour)
	if got := l.Stats().ClockAhead; got != year {
		t.Errorf("the clock is %v ahead, want a year", got)
	}
	c.pass(5 * time.Hour)
	check("while the clock is wrong", arrives(t, l, dir, "e"), 16*time.Hour)
	c.step(-year)
	c.pass(time.Hour)
	check("when it is right again", arrives(t, l, dir, "f"), 17*time.Hour)
	if len(told) != 2 || told[0] != year || told[1] != 0 {
		t.Errorf("OnClock got %v", told)
	}
}

// After a restart a step of up to 30 days is believed, and a larger one needs a confirmation.
func TestClockAfterRestart(t *testing.T) {
	dir, c := t.TempDir(), &steppedClock{wall: clockStart}
	opt := c.options()
	reopen := func(after time.Duration) *Log {
		c.wall, c.elapsed = c.wall.Add(after), 0
		l := mustOpen(t, dir, opt)
		t.Cleanup(func() { l.Close() })
		return l
	}
	l := mustOpen(t, dir, opt)
	arrives(t, l, dir, "a")
	l.Close()

	const month = 30 * 24 * time.Hour
	l = reopen(month)
	if got := arrives(t, l, dir, "b"); got != month {
		t.Errorf("after 30 days off: arrives after %v", got)
	}
	l.Close()

	l = reopen(year)
	c.pass(time.Hour)
	if got := arrives(t, l, dir, "c"); got != month+time.Hour {
		t.Errorf("unconfirmed, after a year off: arrives after %v", got)
	}
	l.Close()

	opt.AcceptClock = true
	l = reopen(time.Hour)
	if got, want := arrives(t, l, dir, "d"), month+year+2*time.Hour; got != want {
		t.Errorf("confirmed: arrives after %v, want %v", got, want)
	}
	if got := l.Stats().ClockAhead; got != 0 {
		t.Errorf("confirmed: the clock is %v ahead", got)
	}
}

// A leap of the clock drops no segment, however old its records then seem.
func TestClockStepDropsNoSegment(t *testing.T) {
	dir, c := t.TempDir(), &steppedClock{wall: clockStart}
	opt := c.options()
	opt.SegmentBytes, opt.RetainAge = 200, 24*time.Hour
	l := mustOpen(t, dir, opt)
	mustAppend(t, l, clicks("a", 20)...)
	mustAppend(t, l, clicks("b", 20)...)
	c.step(year)
	mustAppend(t, l, clicks("c", 20)...)
	mustAppend(t, l, clicks("d", 20)...)
	if got, damage := ids(t, dir); len(got) != 80 || damage != nil {
		t.Errorf("%d records are left, damage %v", len(got), damage)
	}
}

// Only the first step after a restart may be large: real time is measured from then on.
func TestSecondStepAfterRestart(t *testing.T) {
	dir, c := t.TempDir(), &steppedClock{wall: clockStart}
	l := mustOpen(t, dir, c.options())
	arrives(t, l, dir, "a")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c.step(20 * 24 * time.Hour)
	l = mustOpen(t, dir, c.options())
	if got, want := arrives(t, l, dir, "b"), 20*24*time.Hour; got != want {
		t.Errorf("the first step: arrives after %v, want %v", got, want)
	}
	c.step(2 * time.Hour)
	if got, want := arrives(t, l, dir, "c"), 20*24*time.Hour; got != want {
		t.Errorf("the second step: arrives after %v, want %v", got, want)
	}
}
