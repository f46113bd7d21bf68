package bench

import (
	"testing"
	"time"
)

// A service has recovered from the first second on in which nothing is refused and the p99 is at
// most twice the calm one.
func TestRecoveredAfter(t *testing.T) {
	const ms = time.Millisecond
	load := func(took func(due time.Duration) (time.Duration, bool)) (out []sample) {
		for due := time.Duration(0); due < recoveryTime; due += 5 * ms {
			d, answered := took(due)
			out = append(out, sample{due, d, answered})
		}
		return out
	}
	for name, c := range map[string]struct {
		took func(due time.Duration) (time.Duration, bool)
		want time.Duration // -1: never
	}{
		"at once": {func(time.Duration) (time.Duration, bool) { return 20 * ms, true }, 0},
		"refusals": {func(due time.Duration) (time.Duration, bool) {
			return 10 * ms, due != 430*ms
		}, 500 * ms},
		"slow": {func(due time.Duration) (time.Duration, bool) {
			if due < 1200*ms {
				return 21 * ms, true
			}
			return 20 * ms, true
		}, 1200 * ms},
		"one slow answer of 200": {func(due time.Duration) (time.Duration, bool) {
			if due%time.Second == 0 {
				return time.Second, true
			}
			return 10 * ms, true
		}, 0},
		"never": {func(due time.Duration) (time.Duration, bool) {
			return 10 * ms, due%(500*ms) != 0
		}, -1},
	} {
		got, recovered := recoveredAfter(load(c.took), 10*ms)
		if !recovered {
			got = -1
		}
		if got != c.want {
			t.Errorf("%s: recovered after %v, want %v", name, got, c.want)
		}
	}
	if _, recovered := recoveredAfter(nil, 10*ms); recovered {
		t.Error("a load without requests has recovered")
	}
}
