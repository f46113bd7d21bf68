package eventlog

import "time"

const (
	// maxStep is how far the system's clock may step ahead of the time that really passed.
	maxStep = time.Hour
	// maxDowntime is how long a log may have been closed. Nothing measures the time between two
	// processes, so a larger step from the newest record is taken for a wrong clock.
	maxDowntime = 30 * 24 * time.Hour
)

// started is a moment from which Go's monotonic clock counts.
var started = time.Now()

// arrivalClock gives the arrival of the next record. It never goes back.
//
// It also does not follow a step ahead that is larger than maxStep, or at the start maxDowntime. A
// clock that was wrong once would otherwise date all later records, because arrival never goes
// back. The arrival then goes on from its last value at the pace of real time, until an operator
// confirms the step (Options.AcceptClock) or the clock is put right. Only the owner goroutine uses
// it.
type arrivalClock struct {
	wall    func() time.Time
	elapsed func() time.Duration // real time since some moment, whatever the clock does

	last        int64         // the newest arrival given, Unix ms
	lastElapsed time.Duration // elapsed at that moment
	step        time.Duration // how far ahead of real time a step may be
	nextStep    time.Duration // the same for the first step after the start
	ahead       time.Duration // how far the clock is ahead of the arrivals, 0 while they follow it
}

// newArrivalClock returns a clock that goes on after newest, the arrival of the newest record, 0
// for an empty log.
func newArrivalClock(opt *Options, newest int64) *arrivalClock {
	c := &arrivalClock{
		wall: opt.Clock, elapsed: opt.Elapsed, last: newest, step: maxStep, nextStep: maxDowntime,
	}
	if c.elapsed == nil {
		c.elapsed = elapsed
		if c.wall != nil { // nothing measures how fast that clock should go
			c.elapsed, c.step = func() time.Duration { return 0 }, maxDowntime
		}
	}
	if c.wall == nil {
		c.wall = time.Now
	}
	c.lastElapsed = c.elapsed()
	if newest == 0 || opt.AcceptClock {
		c.last, c.nextStep = max(newest, c.wall().UnixMilli()), c.step
	}
	return c
}

// now returns the arrival of a record that is written now, in Unix ms.
func (c *arrivalClock) now() int64 {
	wall, elapsed := c.wall().UnixMilli(), c.elapsed()
	passed := max(0, elapsed-c.lastElapsed).Truncate(time.Millisecond)
	expected := c.last + passed.Milliseconds()
	if ahead := wall - expected; ahead > c.nextStep.Milliseconds() {
		c.last, c.lastElapsed = expected, c.lastElapsed+passed
		c.ahead = time.Duration(min(ahead, maxAhead)) * time.Millisecond
		return c.last
	}
	c.last, c.lastElapsed, c.nextStep, c.ahead = max(c.last, wall), elapsed, c.step, 0
	return c.last
}

// maxAhead is the largest arrivalClock.ahead in ms: about 100 years.
const maxAhead = 100 * 365 * 24 * 60 * 60 * 1000
