package replay

import (
	"context"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/features"
	"relish/features/event"
	"relish/internal/plackettluce"
	"relish/ranker"
)

const (
	maxContextValues = 50
	maxContextFields = 64

	// maxEarlyFollowUps bounds how many impressions are waited for. When that many are missing,
	// those of the previous generation are given up.
	maxEarlyFollowUps = 500_000

	// cancelInterval is the number of records between two checks of the context.
	cancelInterval = 4096
)

// earlyFollowUp is an interaction that comes before the impression that it names.
type earlyFollowUp struct {
	seq  uint64
	item int32
	gain float32
	time int64
}

// scanner fills a Log record by record.
type scanner struct {
	*Log
	opt         Options
	counted     map[string]bool   // the counted actions
	erased      map[string]uint64 // user hash -> sequence of the last erasure
	impressions map[uint64]int    // hash of an impression id -> index among all lists
	// early has the early follow-ups by the hash of the impression id they name, in two
	// generations: the present one and the one before.
	early     [2]map[uint64][]earlyFollowUp
	items     itemChanges
	repeats   dayRepeats
	newcomers newcomerBound
}

// Scan reads the log up to Options.Until and Options.Before.
func Scan(ctx context.Context, src Source, opt Options) (*Log, error) {
	opt.setDefaults()
	catalogue := opt.State
	// The catalogue sees no interactions, which would otherwise keep an item from expiring.
	catalogue.MaxAge = "36500d"
	s := &scanner{
		Log: &Log{
			Base:  opt.Base,
			Users: newIDs(), Items: newIDs(), Catalogue: features.New(catalogue),
			Counts: map[ranker.EventKind]int{}, Actions: map[string]int{},
			Contexts: map[string]ContextField{},
		},
		opt: opt, counted: map[string]bool{}, erased: map[string]uint64{},
		impressions: map[uint64]int{}, newcomers: newcomerBound{cfg: opt.State},
	}
	for _, action := range opt.State.Actions {
		s.counted[action] = true
	}
	base := opt.Base.Switch()
	for rec, err := range src() {
		if err != nil {
			return nil, err
		}
		from, err := base.Take(&rec)
		if err != nil {
			return nil, err
		}
		if from != nil {
			s.addItems(from, rec.Seq)
		}
		if opt.Until > 0 && event.OrderOf(&rec).Time >= opt.Until {
			break
		}
		if rec.Seq%cancelInterval == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if opt.Before > 0 && rec.Seq >= opt.Before {
			s.addErasure(&rec)
			continue
		}
		s.add(&rec)
	}
	s.dropOldest()
	s.dropErased()
	s.ItemChanges = s.items.list
	s.ClickedLists = s.CountClickedLists(0)
	return s.Log, nil
}

func (s *scanner) add(rec *event.Record) {
	position := *rec
	position.Event = ranker.Event{}
	if s.Last = position; s.First.Seq == 0 {
		s.First = position
	}
	if s.To = event.OrderOf(rec).Time; s.From == 0 {
		s.From = s.To
	}
	e := &rec.Event
	s.Counts[e.Kind]++
	switch e.Kind {
	case ranker.EventItem, ranker.EventDelete:
		if e.Kind == ranker.EventItem {
			s.items.set(rec.Seq, s.Items.intern(e.ItemID), true)
		} else if item := s.Items.Number(e.ItemID); item >= 0 {
			s.items.set(rec.Seq, item, false)
		}
		s.Catalogue.Apply(rec)
	case ranker.EventImpression:
		s.addImpression(rec)
	case ranker.EventInteraction:
		if s.counted[e.Action] {
			s.Actions[e.Action]++
			s.addInteraction(rec)
		}
	case ranker.EventErase:
		s.addErasure(rec)
	}
}

// addItems adds the items of a base to the catalogue, before the record seq.
func (s *scanner) addItems(base *features.State, seq uint64) {
	for _, info := range base.Items() {
		s.Catalogue.PutItem(info.ID, base.ItemState(info.ID))
		s.items.set(seq-1, s.Items.intern(info.ID), true)
	}
}

func (s *scanner) addImpression(rec *event.Record) {
	e, impression := &rec.Event, rec.Event.Impression
	list := LoggedList{Seq: rec.Seq, Time: s.To, User: s.Users.intern(e.UserID)}
	if impression.Served {
		list.Model = impression.Model
		list.Incomplete = impression.Scored != nil && !impression.Replayable
	}
	for _, id := range impression.Items {
		item := s.Items.intern(id)
		s.items.set(rec.Seq, item, true)
		if !slices.Contains(list.Items, item) {
			list.Items = append(list.Items, item)
		}
	}
	if query := ranker.SearchText(impression.Context); len(query) <= MaxQueryBytes {
		list.Query = query
	}
	list.BasePositions = basePositions(impression, len(list.Items))
	list.Gains = make([]float32, len(list.Items))
	if impression.Scores != nil {
		s.ScoredImpressions++
	}
	s.addContext(impression.Context)
	key := xxhash.Sum64String(e.ID)
	for _, generation := range s.early {
		for _, x := range generation[key] {
			if s.attribute(&list, x.item, x.gain, list.Time-x.time) {
				list.EarlyFollowUps = append(list.EarlyFollowUps, x.seq)
			}
		}
		delete(generation, key)
	}
	s.impressions[key] = s.DroppedLists + len(s.Lists)
	s.Lists = append(s.Lists, list)
	// Dropping many lists at a time makes the cost for each one small.
	if len(s.Lists) >= s.opt.MaxLists+s.opt.MaxLists/4+1 {
		s.dropOldest()
	}
}

// basePositions returns LoggedList.BasePositions of a list of n different items.
func basePositions(impression *ranker.Impression, n int) []int16 {
	if impression.Interleaved != nil || len(impression.Propensity) != n {
		return nil // the propensities of interleaving depend on the teams
	}
	draw, complete := plackettluce.Recover(impression.Propensity)
	if len(draw.Positions) == 0 || !complete {
		return nil
	}
	out := make([]int16, n)
	for place, position := range draw.Order(n) {
		out[position] = int16(place)
	}
	return out
}

// dropOldest keeps the newest Options.MaxLists.
func (s *scanner) dropOldest() {
	drop := max(0, len(s.Lists)-s.opt.MaxLists)
	copy(s.Lists, s.Lists[drop:])
	clear(s.Lists[len(s.Lists)-drop:])
	s.Lists = s.Lists[:len(s.Lists)-drop]
	s.DroppedLists += drop
	for key, at := range s.impressions {
		if at < s.DroppedLists {
			delete(s.impressions, key)
		}
	}
}

func (s *scanner) addContext(fields map[string]ranker.FieldValue) {
	for name, v := range fields {
		c, known := s.Contexts[name]
		if !known && len(s.Contexts) >= maxContextFields {
			continue
		}
		c.Count++
		if v.Kind == ranker.Number || v.Kind == ranker.Bool {
			c.Numbers++
		} else {
			if c.Values == nil {
				c.Values = map[string]int{}
			}
			for _, value := range v.AsStrings() {
				if _, seen := c.Values[value]; seen || len(c.Values) < maxContextValues {
					c.Values[value]++
				}
			}
		}
		s.Contexts[name] = c
	}
}

func (s *scanner) addInteraction(rec *event.Record) {
	e := &rec.Event
	x := Interaction{
		Seq: rec.Seq, Time: s.To, User: s.Users.intern(e.UserID), Item: s.Items.intern(e.ItemID),
		Gain: s.opt.gain(e.Action), HasImpression: e.ImpressionID != "",
	}
	s.items.set(rec.Seq, x.Item, true)
	if !x.HasImpression &&
		s.repeats.exceed(s.opt.State.DailyListed, userAction{x.User, x.Item, e.Action}, rec) {
		return
	}
	x.Uncounted = !s.newcomers.admit(x.User, x.Item)
	s.Interactions = append(s.Interactions, x)
	if !x.HasImpression {
		return
	}
	label := x.Gain
	if x.Uncounted {
		label = 0
	}
	key := xxhash.Sum64String(e.ImpressionID)
	switch at, known := s.impressions[key]; {
	case known && at >= s.DroppedLists:
		list := &s.Lists[at-s.DroppedLists]
		s.attribute(list, x.Item, label, x.Time-list.Time)
	case !known:
		if len(s.early[0]) >= maxEarlyFollowUps {
			s.early[1], s.early[0] = s.early[0], nil
		}
		if s.early[0] == nil {
			s.early[0] = map[uint64][]earlyFollowUp{}
		}
		s.early[0][key] = append(s.early[0][key], earlyFollowUp{x.Seq, x.Item, label, x.Time})
	}
}

// attribute credits a list with a follow-up that happened delay ms before or after it. It returns
// false if that is too long.
func (s *scanner) attribute(list *LoggedList, item int32, gain float32, delay int64) bool {
	if delay > s.opt.FollowUpMillis {
		s.LateFollowUps++
		return false
	}
	if at := slices.Index(list.Items, item); at >= 0 {
		list.Gains[at] = max(list.Gains[at], gain)
	}
	return true
}
