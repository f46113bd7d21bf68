package pipeline

import (
	"context"
	"fmt"
	"slices"
	"time"

	"relish/ranker"
)

// timedRounds is how often each list is matched; the median counts, so that what else the machine does counts little.
const timedRounds = 9

// costs measures how long each of the model's matchers takes for a list, in microseconds, over lists as they were read.
func costs(ctx context.Context, m *ranker.Model, lists []*ranker.SignalInput) ([]float64, error) {
	out := make([]float64, len(m.Signals))
	for i, matcher := range m.Signals {
		for _, in := range lists {
			block := make([]float32, len(in.Request.Candidates)*len(matcher.Columns()))
			took := make([]time.Duration, timedRounds)
			for round := range took {
				start := time.Now()
				if err := matcher.Compute(ctx, in, block); err != nil {
					return nil, fmt.Errorf("matcher %v: %w", matcher.Columns(), err)
				}
				took[round] = time.Since(start)
			}
			slices.Sort(took)
			out[i] += float64(took[timedRounds/2].Nanoseconds()) / 1000 / float64(len(lists))
		}
	}
	return out, nil
}
