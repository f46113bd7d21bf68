package bench

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"time"
)

// A calm load is sent before the overloads, and right after each of them until the service is as
// fast as before.
const (
	calmFactor     = 0.5 // of the peak
	recoveryTime   = 5 * time.Second
	recoveryWindow = time.Second
	recoveryStep   = 100 * time.Millisecond
)

// sample is one request of a calm load.
type sample struct {
	due      time.Duration // since the begin of the load
	took     time.Duration // from due to the answer
	answered bool          // false if it was refused or failed
}

// calmLoad sends a calm load for a time and returns its requests by due time.
func calmLoad(
	ctx context.Context, to *target, peak float64, d time.Duration,
) ([]sample, error) {
	r := newOverloadRun(to, calmFactor*peak)
	r.keepSamples = true
	err := r.send(ctx, 4*peakConnections*runtime.NumCPU(), d)
	slices.SortFunc(r.samples, func(a, b sample) int { return cmp.Compare(a.due, b.due) })
	return r.samples, err
}

// recovery returns OverloadResult.Recovery for a load that has ended at end. before are the
// requests of the calm load before it.
func recovery(
	ctx context.Context, to *target, peak float64, before []sample, end time.Time,
) (ms *int64, err error) {
	begin := time.Now()
	after, err := calmLoad(ctx, to, peak, recoveryTime)
	if err != nil {
		return nil, err
	}
	at, recovered := recoveredAfter(after, p99(before))
	if !recovered {
		return nil, nil
	}
	took := (begin.Sub(end) + at).Milliseconds()
	return &took, nil
}

// recoveredAfter returns when the first second begins in which a calm load is answered without a
// refusal, with a p99 of at most twice calm. It is false if there is no such second.
func recoveredAfter(samples []sample, calm time.Duration) (time.Duration, bool) {
	for from := time.Duration(0); from+recoveryWindow <= recoveryTime; from += recoveryStep {
		var window []sample
		for _, s := range samples {
			if s.due >= from && s.due < from+recoveryWindow {
				window = append(window, s)
			}
		}
		refused := slices.ContainsFunc(window, func(s sample) bool { return !s.answered })
		if len(window) > 0 && !refused && p99(window) <= 2*calm {
			return from, true
		}
	}
	return 0, false
}

// p99 returns the 99th percentile of the latencies of samples, of which there is at least one.
func p99(samples []sample) time.Duration {
	took := make([]time.Duration, len(samples))
	for i, s := range samples {
		took[i] = s.took
	}
	slices.Sort(took)
	return took[(len(took)*99+99)/100-1]
}
