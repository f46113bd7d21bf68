package features

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"relish/features/event"
	"relish/ranker"
)

// Apply changes the state by one record. Records come in the order of the log. Their event times
// may come in any order, and the state does not depend on that order except for rounding. An event
// time after the arrival counts as the arrival: a later one would make all earlier events old, and
// the counters would decay as if that time had passed. So does an unknown time. Apply returns the
// item whose content changed, nil if none did.
func (s *State) Apply(rec *event.Record) (changed *ranker.ItemInfo) {
	if t := rec.Event.Time; t == 0 || t > rec.Arrival {
		limited := *rec
		limited.Event.Time = rec.Arrival
		rec = &limited
	}
	s.advance(rec.Arrival)
	s.seq = rec.Seq
	if rec.Replica != "" {
		s.replica = rec.Replica
	}
	e := &rec.Event
	switch e.Kind {
	case ranker.EventItem:
		return s.applyItem(rec)
	case ranker.EventUser:
		u := s.user(e.UserID)
		mergeFields(&u.fields, &u.times, e.Fields, e.Time)
	case ranker.EventImpression:
		s.applyImpression(rec)
	case ranker.EventInteraction:
		s.applyInteraction(rec)
	case ranker.EventDelete:
		s.PutItem(e.ItemID, nil)
	case ranker.EventErase:
		s.EraseUser(e.UserHash)
	case ranker.EventTable:
		s.tables[e.Table] = e.Digest
		if s.OpenTable != nil {
			s.UseTable(e.Table, s.OpenTable(e.Table, e.Digest))
		}
	}
	return nil
}

// AppliedParts names the parts of the state that already include a record. A store that writes
// users and items one by one may have been interrupted between them. It must not count them twice.
type AppliedParts struct {
	User, Counters bool
	Items          map[string]bool
}

// ApplyRemaining is Apply for all parts of the state except the ones that already include the
// record.
func (s *State) ApplyRemaining(rec *event.Record, applied AppliedParts) (changed *ranker.ItemInfo) {
	s.applied = applied
	defer func() { s.applied = AppliedParts{} }()
	return s.Apply(rec)
}

// item returns the item for an event that names it, and creates it if needed. If the item already
// includes the record, it returns a copy that is thrown away.
func (s *State) item(id string, rec *event.Record) *ItemState {
	it := s.items.get(id)
	if s.applied.Items[id] {
		return it.scratch()
	}
	if it == nil {
		created := ItemState{Content: Content{cache: &itemCache{}}, first: rec.Event.Time}
		if s.bounded() {
			s.items.makeRoom(s.cfg.MaxItems)
		}
		id = strings.Clone(id) // it may be a part of a long string
		it = s.items.add(id, &created, s.now())
	} else {
		s.items.touch(it, s.now())
	}
	it.first = min(it.first, rec.Event.Time)
	it.version++
	return it
}

// user does the same as item for a user.
func (s *State) user(id string) *UserState {
	if s.applied.User {
		return s.users.state(id).scratch(len(s.cfg.Fields))
	}
	if known := s.users.get(id); known != nil {
		return s.users.change(known, s.now())
	}
	if s.bounded() {
		s.users.makeRoom(s.cfg.MaxUsers)
	}
	return s.users.create(id, s.now())
}

// scratch returns a copy that may be changed, an empty one for nil.
func (it *ItemState) scratch() *ItemState {
	if it == nil {
		return &ItemState{}
	}
	c := *it
	c.times, c.counts = maps.Clone(it.times), it.counts.clone()
	return &c
}

func (u *UserState) scratch(fields int) *UserState {
	if u == nil {
		return &UserState{values: make([][]userFieldCounts, fields)}
	}
	c := *u
	c.times, c.recent, c.shown = maps.Clone(u.times), slices.Clone(u.recent), slices.Clone(u.shown)
	c.counts = u.counts.clone()
	c.values = make([][]userFieldCounts, len(u.values))
	for f, list := range u.values {
		c.values[f] = slices.Clone(list)
		for i := range list {
			c.values[f][i].decayedCounts = list[i].clone()
		}
	}
	return &c
}

// ---- Impressions and interactions ----

func (s *State) applyImpression(rec *event.Record) {
	e := &rec.Event
	u := s.user(e.UserID)
	newcomer := u.isNewcomer()
	ids := make([]string, len(e.Impression.Items))
	for i, id := range e.Impression.Items {
		it := s.item(id, rec)
		s.count(u, it, 0, rec, !newcomer || s.admitsNewcomer(it, 0), newcomer)
		ids[i] = it.sharedID(id)
	}
	u.addShown(ids, e.Time, s.cfg.Shown)
}

func (s *State) applyInteraction(rec *event.Record) {
	e := &rec.Event
	// Not Config.counterIndex: "any" and "impression" are not actions of an event.
	action := slices.Index(s.cfg.Actions, e.Action)
	if action < 0 {
		return
	}
	u, it := s.user(e.UserID), s.item(e.ItemID, rec)
	repeats := s.repeats(u, e)
	if repeats >= s.cfg.DailyListed {
		s.uncounted.add(UncountedRepeated, e)
		return
	}
	newcomer := !u.hasActedOnOther(e.ItemID)
	forAll := false
	switch {
	case repeats >= s.cfg.DailyUnlisted && !u.wasShown(e.ItemID, e.Time):
		s.uncounted.add(UncountedUnlisted, e)
	case newcomer && !s.admitsNewcomer(it, action+1):
		s.uncounted.add(UncountedNewcomer, e)
	default:
		forAll = true
	}
	s.count(u, it, action+1, rec, forAll, newcomer)
	value := float32(1)
	if e.Value != nil && math.Abs(*e.Value) <= math.MaxFloat32 { // old logs may hold others
		value = float32(*e.Value)
	}
	in := ranker.Interaction{
		Item:   it.sharedID(e.ItemID),
		Action: s.cfg.Actions[action],
		Time:   e.Time,
		Value:  value,
	}
	u.recent = insertNewestFirst(
		u.recent, in, s.cfg.Recent, func(a ranker.Interaction) int64 { return a.Time },
	)
	for i := range u.shown {
		if sh := &u.shown[i]; sh.Item == e.ItemID && isFollowUp(sh.Time, e.Time) {
			sh.Clicked = true
		}
	}
}

// ---- Counting ----

// count counts one event of the action for the user and for this user with each of the item's field
// values. With forAll it also counts for the item, for its field values over all users, and for
// everything together. newcomer says that a newcomer caused the event.
func (s *State) count(
	u *UserState, it *ItemState, action int, rec *event.Record, forAll, newcomer bool,
) {
	t := rec.Event.Time
	byNewcomer := uint32(boolToInt(newcomer))
	if forAll {
		s.layout.add(&it.counts, action, t)
		*it.newcomers.of(action) += byNewcomer
	}
	forAll = forAll && !s.applied.Counters
	if forAll {
		s.layout.add(&s.global, action, t)
		*s.newcomers.of(action) += byNewcomer
		s.markChanged(globalKey)
	}
	s.layout.add(&u.counts, action, t)
	ids := s.idsOf(&it.Content)
	for f := range s.cfg.Fields {
		unknown := ids.unknown(f)
		for k, id := range ids.of(f) {
			v := s.fieldValue(f, id, unknown, k)
			if forAll {
				s.countValue(f, v.Value(), action, t)
			}
			s.layout.add(s.userFieldCountsOf(u, f, v, rec), action, t)
		}
	}
}

// userFieldCountsOf returns the user's counters for a value of a counted field. If the user has
// Config.UserValues values already, a new value replaces the one whose newest event is the oldest.
// The event times decide, not the arrivals, which differ between imports of the same history.
func (s *State) userFieldCountsOf(
	u *UserState,
	field int,
	v fieldValue,
	rec *event.Record,
) *decayedCounts {
	list := u.values[field]
	for i := range list {
		if list[i].value == v {
			list[i].seen = rec.Arrival
			return &list[i].decayedCounts
		}
	}
	added := userFieldCounts{value: v, seen: rec.Arrival}
	if len(list) < s.cfg.UserValues {
		u.values[field] = append(list, added)
		return &u.values[field][len(list)].decayedCounts
	}
	oldest := 0
	for i := range list {
		if cmp.Or(
			cmp.Compare(list[i].ref, list[oldest].ref),
			cmp.Compare(list[i].value.Value(), list[oldest].value.Value()),
		) < 0 {
			oldest = i
		}
	}
	list[oldest] = added
	return &list[oldest].decayedCounts
}
