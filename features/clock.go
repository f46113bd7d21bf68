package features

import (
	"fmt"
	"math"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Ages and decayed counts are computed as of a clock that moves in ticks, and rates relative to a
// prior that moves in steps. What depends on one item or one field value then stays the same for a
// while, and is computed once and kept. Both are pure functions of the request's time, the
// configuration and the state, so that replay computes the same values as serving did.

const (
	// ticksPerHalfLife is the least number of ticks in the shortest half-life. A count is then at
	// most 2^(1/256)-1 = 0.3 % too large.
	ticksPerHalfLife = 256
	// priorStep is the step of a prior's log-odds. A prior is then at most 0.4 % off.
	priorStep = 1.0 / 128
)

// ticks are the possible ticks, longest first.
var ticks = []time.Duration{
	time.Minute, 10 * time.Second, time.Second, 100 * time.Millisecond, 10 * time.Millisecond,
}

// Tick returns the step of the clock of ages and decay: a minute, 10 s, 1 s, 100 ms, 10 ms or 1 ms,
// the longest that is at most 1/256 of each half-life. A request at the time t has the features of
// the last full tick, t - t%Tick.
func (c *Config) Tick() time.Duration {
	shortest := time.Duration(math.MaxInt64)
	for _, h := range c.HalfLives {
		if d, err := ParseHalfLife(h); err == nil && d > 0 {
			shortest = min(shortest, d)
		}
	}
	for _, tick := range ticks {
		if tick <= shortest/ticksPerHalfLife {
			return tick
		}
	}
	return time.Millisecond
}

// featuresVersion changes when the same records give other features than in earlier versions.
const featuresVersion = 3

// FeatureHash identifies everything that the features of the same records and time depend on: what
// Hash identifies, the clock's tick, the prior's step, and featuresVersion. It has 16 hex digits.
func (c *Config) FeatureHash() string {
	return fmt.Sprintf("%016x", xxhash.Sum64String(
		fmt.Sprintf("%s %d %g %d", c.Hash(), c.Tick(), priorStep, featuresVersion)))
}

// prior is the rate that a rate feature is relative to.
type prior struct {
	rate    float64 // 0: nothing has been shown, so there is no rate
	logOdds float64
}

// newPrior returns the prior of actions out of impressions.
func newPrior(actions, shown float64) prior {
	if shown == 0 {
		return prior{}
	}
	x := math.Round(logOdds(actions/shown)/priorStep) * priorStep
	rate := min(max(1/(1+math.Exp(-x)), minRate), maxRate)
	return prior{rate, logOdds(rate)}
}
