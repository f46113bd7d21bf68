package features

import (
	"math"
	"slices"
)

// decayedCounts are the decayed counters of one thing: for being shown (kind 0) and each action (kind 1..),
// one value per half-life. The values are as of the time ref, the newest event time so far, which is
// forward decay (Cormode, Shkapenyuk, Srivastava, Xu 2009) with the landmark moved along: an event at
// t weighs 2^((t-ref)/h), whichever order the events come in, so sums agree up to rounding.
type decayedCounts struct {
	ref    int64 // Unix ms
	values []float64
}

// counterLayout says where a counter stands.
type counterLayout struct {
	kinds int       // 1 + actions
	rates []float64 // ln 2 / half-life in ms, 0 for all-time
	names []string  // the half-lives' names
}

func newLayout(c *Config) counterLayout {
	l := counterLayout{kinds: 1 + len(c.Actions), names: c.HalfLives}
	for _, h := range c.HalfLives {
		d, _ := ParseHalfLife(h) // Validate has checked it
		rate := 0.0
		if d > 0 {
			rate = math.Ln2 / float64(d.Milliseconds())
		}
		l.rates = append(l.rates, rate)
	}
	return l
}

// add counts one event of the kind at time t.
func (l *counterLayout) add(c *decayedCounts, kind int, t int64) {
	h := len(l.rates)
	if c.values == nil {
		c.values, c.ref = make([]float64, l.kinds*h), t
	}
	if t > c.ref {
		for i, rate := range l.rates {
			if rate == 0 {
				continue
			}
			f := math.Exp(-rate * float64(t-c.ref))
			for k := i; k < len(c.values); k += h {
				c.values[k] *= f
			}
		}
		c.ref = t
	}
	for i, rate := range l.rates {
		w := 1.0
		if t < c.ref && rate != 0 {
			w = math.Exp(-rate * float64(c.ref-t))
		}
		c.values[kind*h+i] += w
	}
}

// merge adds what b counted to a.
func (l *counterLayout) merge(a, b *decayedCounts) {
	if b.values == nil {
		return
	}
	if a.values == nil {
		*a = b.clone()
		return
	}
	ref, h := max(a.ref, b.ref), len(l.rates)
	for i, rate := range l.rates {
		fa, fb := 1.0, 1.0
		if rate != 0 {
			fa, fb = math.Exp(-rate*float64(ref-a.ref)), math.Exp(-rate*float64(ref-b.ref))
		}
		for k := i; k < len(a.values); k += h {
			a.values[k] = a.values[k]*fa + b.values[k]*fb
		}
	}
	a.ref = ref
}

func (c *decayedCounts) clone() decayedCounts {
	return decayedCounts{ref: c.ref, values: slices.Clone(c.values)}
}

// value returns the counter of the kind (anyAction for the sum over actions) decayed to now. A
// clock before the newest event counts as no age.
func (l *counterLayout) value(c *decayedCounts, kind, half int, now int64) float64 {
	if c == nil || c.values == nil {
		return 0
	}
	return c.sum(kind, half, len(l.rates)) * l.decay(c, half, now)
}

// actionsAndImpressions returns the kind's counter and that of being shown, as value does.
func (l *counterLayout) actionsAndImpressions(c *decayedCounts, kind, half int, now int64) (actions, shown float64) {
	if c == nil || c.values == nil {
		return 0, 0
	}
	decay := l.decay(c, half, now)
	return c.sum(kind, half, len(l.rates)) * decay, c.values[half] * decay
}

// decay is what the counters of a half-life are worth now of what they were at ref.
func (l *counterLayout) decay(c *decayedCounts, half int, now int64) float64 {
	if rate := l.rates[half]; rate != 0 && now > c.ref {
		return math.Exp(-rate * float64(now-c.ref))
	}
	return 1
}

// sum is the counter of the kind as of ref, h being the number of half-lives.
func (c *decayedCounts) sum(kind, half, h int) (v float64) {
	if kind != anyAction {
		return c.values[kind*h+half]
	}
	for k := h + half; k < len(c.values); k += h {
		v += c.values[k]
	}
	return v
}

// anyAction stands for the sum over all actions.
const anyAction = -1

// counterIndex finds an action's counter; ok is false for one that is not counted.
func (c *Config) counterIndex(action string) (kind int, ok bool) {
	switch action {
	case ActionImpression:
		return 0, true
	case ActionAny:
		return anyAction, true
	}
	i := slices.Index(c.Actions, action)
	return i + 1, i >= 0
}
