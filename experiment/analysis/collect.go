package analysis

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/internal/stats"
	"relish/ranker"
)

// The periods of a user's counts.
const (
	prePeriod = iota // before the first exposure
	exposedPeriod
	dayPeriod
	periodCount
)

// collector walks the log. Users are known by the 64-bit hash of their id: of a million users two meet
// with a chance of 3e-8.
type collector struct {
	opt              Options
	slots            *slotTable
	metric           metric
	guardrailMetrics []metric // aligned with opt.Margins

	index  map[uint64]int32
	users  []user
	counts []float32 // users x periods x slots

	arms            *nameTable
	models, answers *nameTable // of users' first exposures, as are
	allocations     *nameTable
	segments        []*nameTable
	keepsContent    bool      // lists keep their content
	interleavedArms [2]string // the arms that are interleaved
	groups          *userGroups

	first, last          int64 // of what counts, Unix ms
	firstDay, currentDay int32
	dailyMoments         [][]stats.Moments // of each day alone, by day since firstDay and arm
	dayEnds              []dayEnd
	records              int
	unmatched            int
}

func newCollector(opt Options) (*collector, error) {
	c := &collector{opt: opt, slots: newSlotTable(), index: map[uint64]int32{}, arms: newNameTable(0), models: newNameTable(maxValues),
		answers: newNameTable(maxValues), allocations: newNameTable(maxValues), groups: newUserGroups()}
	for _, arm := range slices.Sorted(maps.Keys(opt.Weights)) {
		c.arms.id(arm)
	}
	for range opt.Segments {
		c.segments = append(c.segments, newNameTable(maxValues))
	}
	var err error
	if c.metric, err = parseMetric(opt.Metric, c.slots); err != nil {
		return nil, err
	}
	c.keepsContent = c.metric.name == "ndcg"
	for _, g := range opt.Guardrails {
		m, err := parseMetric(g.Metric, c.slots)
		if err != nil {
			return nil, fmt.Errorf("guardrail: %w", err)
		}
		c.guardrailMetrics = append(c.guardrailMetrics, m)
		c.keepsContent = c.keepsContent || m.name == "ndcg"
	}
	return c, nil
}

func (c *collector) readLog(ctx context.Context, src Source) error {
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
		case ranker.EventItem:
			c.groups.setTags(e)
		case ranker.EventImpression:
			if err := c.addImpression(e, at); err != nil {
				return err
			}
		case ranker.EventInteraction:
			c.addInteraction(e, at)
		}
	}
	c.closeDay()
	for i := range c.users {
		c.closeUserDay(i)
	}
	return nil
}

// userIndex returns the number of the event's user (or session), -1 without one.
func (c *collector) userIndex(e *ranker.Event) int {
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
		c.counts = append(c.counts, make([]float32, periodCount*c.slots.n)...)
	}
	return int(i)
}

// countsOf returns user i's counts of a period.
func (c *collector) countsOf(i, period int) []float32 {
	at := (i*periodCount + period) * c.slots.n
	return c.counts[at : at+c.slots.n]
}

func (c *collector) addImpression(e *ranker.Event, at int64) error {
	i := c.userIndex(e)
	if i < 0 {
		return nil
	}
	u := &c.users[i]
	teams := c.teams(e)
	arm, exposed := assignedArm(e, c.opt.Experiment)
	inWindow := c.opt.From.IsZero() || at >= c.opt.From.UnixMilli()
	l := openList{id: xxhash.Sum64String(e.ID), phase: ignored}
	if exposed {
		if err := c.expose(i, arm, e, at, inWindow); err != nil {
			return err
		}
		if inWindow && !u.crossed {
			l.phase = counted
			c.openDay(i, at)
			c.groups.addList(int(u.arm), i, e)
		}
	} else if u.arm == noArm {
		l.phase = preExposure
	}
	c.addCount(i, l.phase, slotLists, 1)
	if len(e.Impression.Degraded) > 0 {
		c.addCount(i, l.phase, slotDegraded, 1)
	}
	if e.Impression.Fallback[c.opt.Experiment] != "" {
		c.addCount(i, l.phase, slotFallback, 1)
	}
	if variety, ok := c.groups.tagDiversity(e.Impression.Items); ok {
		c.addCount(i, l.phase, slotDiversity, variety)
		c.addCount(i, l.phase, slotTaggedLists, 1)
	}
	if c.keepsContent || teams != nil {
		l.content = newContent(e.Impression.Items, teams)
	}
	u.addList(l)
	return nil
}

// teams returns the teams of an impression that the experiment interleaves, nil for others.
func (c *collector) teams(e *ranker.Event) []uint8 {
	if e.Impression.Interleaved == nil || e.Impression.Interleaved.Experiment != c.opt.Experiment {
		return nil
	}
	c.interleavedArms = e.Impression.Interleaved.Arms
	return e.Impression.Interleaved.Teams
}

func (c *collector) addInteraction(e *ranker.Event, at int64) {
	i := c.userIndex(e)
	if i < 0 {
		return
	}
	u := &c.users[i]
	slot, ok := c.slots.byAction[e.Action]
	if !ok || slot == slotRevenue {
		return
	}
	p := ignored
	switch {
	case e.ImpressionID != "":
		l := u.findList(xxhash.Sum64String(e.ImpressionID))
		if l == nil {
			c.unmatched++
			return
		}
		p = l.phase
		if l.content != nil && slot == slotClicks {
			c.addClick(i, l, e)
		}
	case slot == slotClicks: // of no list: it says nothing of one
		return
	case u.arm == noArm:
		p = preExposure
	case u.inWindow && !u.crossed:
		p = counted
	}
	if p == counted {
		c.openDay(i, at)
	}
	c.addCount(i, p, slot, 1)
	if slot == slotPurchases && e.Value != nil {
		c.addCount(i, p, slotRevenue, *e.Value)
	}
}

// addClick counts what a click says of a list's order and of its teams.
func (c *collector) addClick(i int, l *openList, e *ranker.Event) {
	place, grown, first, ok := l.content.click(uint32(xxhash.Sum64String(e.ItemID)))
	if !ok {
		return
	}
	c.addCount(i, l.phase, slotNDCG, grown)
	if first {
		c.addCount(i, l.phase, slotClickedLists, 1)
	}
	if l.phase == counted && l.content.teams != nil {
		c.users[i].credit[l.content.teams[place]]++
	}
}

// addCount adds to a slot in the periods that a phase belongs to.
func (c *collector) addCount(i int, p phase, slot int, x float64) {
	switch p {
	case preExposure:
		c.countsOf(i, prePeriod)[slot] += float32(x)
	case counted:
		c.countsOf(i, exposedPeriod)[slot] += float32(x)
		c.countsOf(i, dayPeriod)[slot] += float32(x)
	}
}
