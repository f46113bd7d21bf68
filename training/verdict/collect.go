package verdict

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/features/event"
	"relish/internal/stats"
)

// The periods of a user's counts.
const (
	earlier = iota // before the first exposure
	since
	today
	periods
)

// collector walks the log. Users are known by the 64-bit hash of their id: of a million users two meet
// with a chance of 3e-8.
type collector struct {
	opt    Options
	slots  *slots
	metric metric
	guards []metric // aligned with opt.Margins

	index  map[uint64]int32
	users  []user
	counts []float32 // users x periods x slots

	arms             *names
	models, degraded *names // of users' first exposures, as are
	allocations      *names
	segments         []*names
	details          bool      // lists keep their content
	sides            [2]string // the arms that are interleaved
	groups           *groups

	first, last     int64 // of what counts, Unix ms
	firstDay, today int32
	days            [][]stats.Moments // of each day alone, by day since firstDay and arm
	ends            []dayEnd
	records         int
	unmatched       int
}

func newCollector(opt Options) (*collector, error) {
	c := &collector{opt: opt, slots: newSlots(), index: map[uint64]int32{}, arms: newNames(0), models: newNames(maxValues),
		degraded: newNames(maxValues), allocations: newNames(maxValues), groups: newGroups()}
	for _, arm := range slices.Sorted(maps.Keys(opt.Weights)) {
		c.arms.of(arm)
	}
	for range opt.Segments {
		c.segments = append(c.segments, newNames(maxValues))
	}
	var err error
	if c.metric, err = parseMetric(opt.Metric, c.slots); err != nil {
		return nil, err
	}
	c.details = c.metric.name == "ndcg"
	for _, g := range opt.Margins {
		m, err := parseMetric(g.Metric, c.slots)
		if err != nil {
			return nil, fmt.Errorf("guardrail: %w", err)
		}
		c.guards = append(c.guards, m)
		c.details = c.details || m.name == "ndcg"
	}
	return c, nil
}

func (c *collector) walk(ctx context.Context, src Source) error {
	for rec, err := range src {
		if err != nil {
			return err
		}
		if c.records++; c.records%4096 == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if c.opt.Progress != nil {
				c.opt.Progress(c.records)
			}
		}
		e := &rec.Event
		at := e.Time
		if at == 0 {
			at = rec.Arrival
		}
		if !c.opt.To.IsZero() && at >= c.opt.To.UnixMilli() {
			continue
		}
		switch e.Kind {
		case event.Item:
			c.groups.describe(e)
		case event.Impression:
			if err := c.impression(e, at); err != nil {
				return err
			}
		case event.Interaction:
			c.interaction(e, at)
		}
	}
	c.endOfDay()
	for i := range c.users {
		c.flush(i)
	}
	return nil
}

// unit returns the number of the event's user (or session), -1 without one.
func (c *collector) unit(e *event.Event) int {
	id := e.UserID
	if c.opt.Unit == "session" {
		id = e.Session
	}
	if id == "" {
		return -1
	}
	key := xxhash.Sum64String(id)
	i, ok := c.index[key]
	if !ok {
		i = int32(len(c.users))
		c.index[key] = i
		c.users = append(c.users, user{arm: noArm})
		c.counts = append(c.counts, make([]float32, periods*c.slots.n)...)
	}
	return int(i)
}

// of returns user i's counts of a period.
func (c *collector) of(i, period int) []float32 {
	at := (i*periods + period) * c.slots.n
	return c.counts[at : at+c.slots.n]
}

func (c *collector) impression(e *event.Event, at int64) error {
	i := c.unit(e)
	if i < 0 {
		return nil
	}
	u := &c.users[i]
	teams := c.teams(e)
	arm, exposed := assigned(e, c.opt.Experiment)
	inWindow := c.opt.From.IsZero() || at >= c.opt.From.UnixMilli()
	l := list{id: xxhash.Sum64String(e.ID), phase: ignored}
	if exposed {
		if err := c.expose(i, arm, e, at, inWindow); err != nil {
			return err
		}
		if inWindow && !u.crossed {
			l.phase = counted
			c.openDay(i, at)
			c.groups.show(int(u.arm), i, e)
		}
	} else if u.arm == noArm {
		l.phase = before
	}
	c.count(i, l.phase, sLists, 1)
	if e.Answer != nil && len(e.Answer.Degraded) > 0 {
		c.count(i, l.phase, sDegraded, 1)
	}
	if e.Answer != nil && e.Answer.Fallback[c.opt.Experiment] != "" {
		c.count(i, l.phase, sFallback, 1)
	}
	if variety, ok := c.groups.variety(e.Shown); ok {
		c.count(i, l.phase, sDiversity, variety)
		c.count(i, l.phase, sTagged, 1)
	}
	if c.details || teams != nil {
		l.what = newContent(e.Shown, teams)
	}
	u.remember(l)
	return nil
}

// teams returns the teams of an impression that the experiment interleaves, nil for others.
func (c *collector) teams(e *event.Event) []uint8 {
	if e.Answer == nil || e.Answer.Interleaved == nil || e.Answer.Interleaved.Experiment != c.opt.Experiment {
		return nil
	}
	c.sides = e.Answer.Interleaved.Arms
	return e.Answer.Interleaved.Teams
}

func (c *collector) interaction(e *event.Event, at int64) {
	i := c.unit(e)
	if i < 0 {
		return
	}
	u := &c.users[i]
	slot, ok := c.slots.byAction[e.Action]
	if !ok || slot == sRevenue {
		return
	}
	p := ignored
	switch {
	case e.ImpressionID != "":
		l := u.find(xxhash.Sum64String(e.ImpressionID))
		if l == nil {
			c.unmatched++
			return
		}
		p = l.phase
		if l.what != nil && slot == sClicks {
			c.hit(i, l, e)
		}
	case slot == sClicks: // of no list: it says nothing of one
		return
	case u.arm == noArm:
		p = before
	case u.inWindow && !u.crossed:
		p = counted
	}
	if p == counted {
		c.openDay(i, at)
	}
	c.count(i, p, slot, 1)
	if slot == sPurchases && e.Value != nil {
		c.count(i, p, sRevenue, *e.Value)
	}
}

// hit counts what a click says of a list's order and of its teams.
func (c *collector) hit(i int, l *list, e *event.Event) {
	place, grown, first, ok := l.what.hit(uint32(xxhash.Sum64String(e.ItemID)))
	if !ok {
		return
	}
	c.count(i, l.phase, sNDCG, grown)
	if first {
		c.count(i, l.phase, sClicked, 1)
	}
	if l.phase == counted && l.what.teams != nil {
		c.users[i].credit[l.what.teams[place]]++
	}
}

// count adds to a slot in the periods that a phase belongs to.
func (c *collector) count(i int, p phase, slot int, x float64) {
	switch p {
	case before:
		c.of(i, earlier)[slot] += float32(x)
	case counted:
		c.of(i, since)[slot] += float32(x)
		c.of(i, today)[slot] += float32(x)
	}
}
