package analysis

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/internal/stats"
	"relish/ranker"
)

// The periods for which a user's actions are counted.
const (
	prePeriod     = iota // before the first exposure
	exposedPeriod        // since the first exposure, in the window
	dayPeriod            // on the user's open day
	periodCount
)

// collector reads the log into counts by user. It identifies users by a 64-bit hash of their id;
// among a million users, two collide with probability 3e-8.
type collector struct {
	opt              Options
	slots            *slotTable
	metric           metric
	guardrailMetrics []metric // aligned with opt.Guardrails

	index  map[uint64]int32 // hash of a user's id -> number
	users  []user
	counts []float32 // users x periods x slots

	arms *nameTable
	// The names that users' first exposures refer to by number.
	models, answers, allocations *nameTable
	segments                     []*nameTable

	keepsContent    bool      // open lists keep their items, for ndcg and interleaving
	interleavedArms [2]string // empty in an A/B experiment
	groups          *userGroups

	first, last          int64             // times of what counts, Unix ms
	firstDay, currentDay int32             // days since 1970
	dailyMoments         [][]stats.Moments // of each day alone, by day since firstDay and arm
	dayEnds              []dayEnd
	records              int // read from the log
	unmatched            int // interactions that name an unknown list
	invalidValues        int // purchases whose value is left out
}

func newCollector(opt Options) (*collector, error) {
	c := &collector{
		opt:         opt,
		slots:       newSlotTable(),
		index:       map[uint64]int32{},
		arms:        newNameTable(0),
		models:      newNameTable(maxValues),
		answers:     newNameTable(maxValues),
		allocations: newNameTable(maxValues),
		groups:      newUserGroups(),
	}
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

// readLog counts all records before Options.To, and closes the last day.
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

// userIndex returns the number of the event's user (or session), -1 if the event names none.
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

// countsOf returns user i's counts in a period, by slot.
func (c *collector) countsOf(i, period int) []float32 {
	at := (i*periodCount + period) * c.slots.n
	return c.counts[at : at+c.slots.n]
}

// addImpression assigns the user to an arm at their first exposure, counts the list, and keeps it
// open for clicks.
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
	if diversity, ok := c.groups.tagDiversity(e.Impression.Items); ok {
		c.addCount(i, l.phase, slotDiversity, diversity)
		c.addCount(i, l.phase, slotTaggedLists, 1)
	}
	if c.keepsContent || teams != nil {
		l.content = newContent(e.Impression.Items, teams)
	}
	u.addList(l)
	return nil
}

// teams returns which arm placed each item if the experiment interleaves this impression, else nil.
func (c *collector) teams(e *ranker.Event) []uint8 {
	interleaved := e.Impression.Interleaved
	if interleaved == nil || interleaved.Experiment != c.opt.Experiment {
		return nil
	}
	c.interleavedArms = interleaved.Arms
	return interleaved.Teams
}

// addInteraction counts an action for the phase of the list that it names, or for the user's
// current phase if it names none.
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
	case slot == slotClicks: // a click counts only with its list
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
		c.addRevenue(i, p, *e.Value)
	}
}

// addRevenue adds the value of a purchase. Events are checked when they arrive; logs of versions
// that did not check may hold other values.
func (c *collector) addRevenue(i int, p phase, value float64) {
	if !(math.Abs(value) <= math.MaxFloat32) {
		c.invalidValues++
		return
	}
	c.addCount(i, p, slotRevenue, value)
}

// addClick counts what a click contributes to its list's NDCG and to the arm that placed the item.
func (c *collector) addClick(i int, l *openList, e *ranker.Event) {
	position, ndcgGain, first, ok := l.content.click(uint32(xxhash.Sum64String(e.ItemID)))
	if !ok {
		return
	}
	c.addCount(i, l.phase, slotNDCG, ndcgGain)
	if first {
		c.addCount(i, l.phase, slotClickedLists, 1)
	}
	if l.phase == counted && l.content.teams != nil {
		c.users[i].credit[l.content.teams[position]]++
	}
}

// addCount adds x to a slot, in the periods that belong to the phase.
func (c *collector) addCount(i int, p phase, slot int, x float64) {
	add := func(period int) {
		sum := &c.countsOf(i, period)[slot]
		*sum = float32(toFinite(float64(*sum) + x))
	}
	switch p {
	case preExposure:
		add(prePeriod)
	case counted:
		add(exposedPeriod)
		add(dayPeriod)
	}
}
