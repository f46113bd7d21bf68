package features

import (
	"cmp"
	"math"
	"slices"
)

// ---- One decayed counter ----

// decayedCounts counts the impressions of one thing and each action on it, with one value for each
// half-life. It uses forward decay (Cormode, Shkapenyuk, Srivastava and Xu 2009): an event at time
// t weighs 2^((t-ref)/halfLife), where ref is the newest event time so far. The order of the events
// does not matter, except for rounding.
type decayedCounts struct {
	ref int64 // Unix ms; the values are as of this time
	// values is indexed by action*halfLives + halfLife. Action 0 is being shown. nil: nothing
	// counted.
	values []float64
}

// counterLayout says how decayedCounts.values is laid out.
type counterLayout struct {
	kinds   int       // 1 + number of actions
	rates   []float64 // by half-life: ln 2 / half-life in ms; 0 does not decay
	allTime int       // index of the half-life that does not decay
}

func newLayout(c *Config) counterLayout {
	l := counterLayout{
		kinds: 1 + len(c.Actions), allTime: slices.Index(c.HalfLives, allTime),
	}
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

// size returns the number of values of one decayedCounts.
func (l *counterLayout) size() int { return l.kinds * len(l.rates) }

// add counts one event of the action at time t, Unix ms.
func (l *counterLayout) add(c *decayedCounts, action int, t int64) {
	h := len(l.rates)
	if c.values == nil {
		c.values, c.ref = make([]float64, l.size()), t
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
		c.values[action*h+i] += w
	}
}

// merge adds the counts of b to a.
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

// actionsAndImpressions returns the counts of the action, or with anyAction of all actions, and of
// being shown, decayed to now. If now is before the newest event, nothing decays.
func (l *counterLayout) actionsAndImpressions(
	c *decayedCounts, action, halfLife int, now int64,
) (actions, shown float64) {
	if c == nil || c.values == nil {
		return 0, 0
	}
	decay := l.decay(c, halfLife, now)
	return c.sum(action, halfLife, len(l.rates)) * decay, c.values[halfLife] * decay
}

// decay returns the factor from ref to now.
func (l *counterLayout) decay(c *decayedCounts, halfLife int, now int64) float64 {
	if rate := l.rates[halfLife]; rate != 0 && now > c.ref {
		return math.Exp(-rate * float64(now-c.ref))
	}
	return 1
}

// sum returns the count of the action as of ref. halfLives is the number of half-lives.
func (c *decayedCounts) sum(action, halfLife, halfLives int) (v float64) {
	if action != anyAction {
		return c.values[action*halfLives+halfLife]
	}
	for k := halfLives + halfLife; k < len(c.values); k += halfLives {
		v += c.values[k]
	}
	return v
}

// anyAction stands for the sum over all actions, impressions not included.
const anyAction = -1

// counterIndex returns an action's index in decayedCounts. ok is false for an action that is not
// counted.
func (c *Config) counterIndex(action string) (index int, ok bool) {
	switch action {
	case ActionImpression:
		return 0, true
	case ActionAny:
		return anyAction, true
	}
	i := slices.Index(c.Actions, action)
	return i + 1, i >= 0
}

// ---- The counters that every replica holds in full ----

// Counters holds the counters over all items and users: one for everything together, and one for
// each value of each counted field. Config.FieldValues bounds them. Every replica holds them in
// full, while items and users may be spread over a shared store.
//
// It is not safe for concurrent use, except that any number of reads may run at once while nothing
// is counted.
type Counters struct {
	cfg        Config
	layoutHash uint64 // hash of the config keys that change what a counter means
	layout     counterLayout
	tick       int64               // Config.Tick, ms
	values     []valueCounters     // by counted field
	noIDs      *valueIDs           // of an item without content
	counted    slab[*valueCounter] // all of values; none is removed or moved
	global     decayedCounts
	newcomers  NewcomerCounts // included in global
	save       *walk          // of a save in progress, nil without one

	changed  map[CounterKey]struct{} // since TakeChanged; nil until its first call
	schemas  schemaCache
	external externalTables
}

// CounterKey names one of the Counters: a value of the counted field with the index Field. Field -1
// names the counter of everything together.
type CounterKey struct {
	Field int
	Value string
}

// globalKey names the counter of everything together.
var globalKey = CounterKey{Field: -1}

// NewCounters returns counters that have counted nothing. cfg must be valid.
func NewCounters(cfg Config) *Counters {
	t := &Counters{cfg: cfg, layoutHash: cfg.layoutHash(), layout: newLayout(&cfg),
		tick: cfg.Tick().Milliseconds(), noIDs: withoutValues(len(cfg.Fields))}
	for range cfg.Fields {
		t.values = append(t.values, valueCounters{byValue: map[string]*valueCounter{}})
	}
	return t
}

// Config returns the configuration.
func (t *Counters) Config() Config { return t.cfg }

// LayoutHash identifies the configuration of actions, fields, half-lives and text. Packed state
// with another hash cannot be decoded.
func (t *Counters) LayoutHash() uint64 { return t.layoutHash }

// Len returns the number of field values that are counted.
func (t *Counters) Len() (n int) {
	for f := range t.values {
		n += len(t.values[f].byID)
	}
	return n
}

// Keys returns all keys in ascending order, the one of everything together first.
func (t *Counters) Keys() []CounterKey {
	out := []CounterKey{globalKey}
	for f := range t.values {
		for _, v := range sortedKeys(t.values[f].byValue) {
			out = append(out, CounterKey{f, v})
		}
	}
	return out
}

// TakeChanged returns the keys that changed since the last call, in ascending order. The first call
// returns all keys and starts to note changes.
func (t *Counters) TakeChanged() []CounterKey {
	if t.changed == nil {
		t.changed = map[CounterKey]struct{}{}
		return t.Keys()
	}
	out := make([]CounterKey, 0, len(t.changed))
	for key := range t.changed {
		out = append(out, key)
	}
	clear(t.changed)
	slices.SortFunc(out, compareKeys)
	return out
}

func compareKeys(a, b CounterKey) int {
	return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Value, b.Value))
}

// SetSum sets one counter to the sum of what parts counted for it.
func (t *Counters) SetSum(key CounterKey, parts ...*Counters) {
	to := t.getOrCreate(key)
	if to == nil {
		return
	}
	sum := decayedCounts{}
	if key == globalKey {
		t.newcomers = NewcomerCounts{}
	}
	for _, p := range parts {
		if key == globalKey {
			t.newcomers.add(p.newcomers)
		}
		if c := p.lookup(key); c != nil {
			t.layout.merge(&sum, c)
		}
	}
	*to = sum
}

func (t *Counters) markChanged(key CounterKey) {
	if t.changed != nil {
		t.changed[key] = struct{}{}
	}
}
