package features

import (
	"cmp"
	"maps"
	"slices"
	"unique"

	"relish/features/event"
	"relish/ranker"
)

// AppliedParts names the parts of the state that have a record already. A store that writes its users and items
// one by one may have been cut off in between: what it does again must not count twice.
type AppliedParts struct {
	User, Counters bool
	Items          map[string]bool
}

// ApplyRemaining applies the record to all parts of the state but those of skip.
func (s *State) ApplyRemaining(rec *event.Record, skip AppliedParts) (changed *ranker.ItemInfo) {
	s.applied = skip
	defer func() { s.applied = AppliedParts{} }()
	return s.Apply(rec)
}

// followUpWindow is how long after being shown an interaction still counts as its follow-up.
const followUpWindow = 24 * 60 * 60 * 1000 // ms

// Apply takes one record into the state. Records come in the order of the log; event times may be
// in any order, and the result does not depend on it (decayed sums up to rounding). It returns the
// item whose content changed, if one did.
func (s *State) Apply(rec *event.Record) (changed *ranker.ItemInfo) {
	s.expire(rec.Arrival)
	s.seq, s.arrival = rec.Seq, max(s.arrival, rec.Arrival)
	e := &rec.Event
	switch e.Kind {
	case ranker.EventItem:
		return s.applyItem(rec)
	case ranker.EventUser:
		u := s.user(e.UserID, rec)
		mergeFields(&u.fields, &u.times, e.Fields, e.Time)
	case ranker.EventImpression:
		s.applyImpression(rec)
	case ranker.EventInteraction:
		s.applyInteraction(rec)
	case ranker.EventDelete:
		delete(s.items, e.ItemID)
	case ranker.EventErase:
		for id := range s.users {
			if UserHash(id) == e.UserHash {
				delete(s.users, id)
			}
		}
	case ranker.EventTable:
		if s.OpenTable != nil {
			s.UseTable(e.Table, s.OpenTable(e.Table, e.Digest))
		}
	}
	return nil
}

// mergeFields lets each field's newest event time win, ties by arrival. The map is replaced, not
// changed: readers may hold the old one.
func mergeFields(fields *map[string]ranker.FieldValue, times *map[string]int64, add map[string]ranker.FieldValue, t int64) {
	if len(add) == 0 {
		return
	}
	merged := maps.Clone(*fields)
	if merged == nil {
		merged = make(map[string]ranker.FieldValue, len(add))
	}
	if *times == nil {
		*times = map[string]int64{}
	}
	for name, v := range add {
		if at, known := (*times)[name]; !known || t >= at {
			merged[name], (*times)[name] = v, t
		}
	}
	*fields = merged
}

func (s *State) applyItem(rec *event.Record) *ranker.ItemInfo {
	e := &rec.Event
	it := s.item(e.ItemID, rec)
	content := ranker.Item{ID: e.ItemID}
	switch {
	case e.Replace:
		if it.Info != nil && e.Time < it.newest() {
			return nil
		}
		it.times = nil
		setContent(&content, e)
		it.time = e.Time
	case it.Info == nil:
		setContent(&content, e)
		it.time = e.Time
	default:
		content = it.Info.Item
		it.mergeItem(&content, e)
	}
	it.Content = s.content(content)
	return it.Info
}

func setContent(to *ranker.Item, e *ranker.Event) {
	if e.Title != nil {
		to.Title = *e.Title
	}
	if e.Text != nil {
		to.Text = *e.Text
	}
	to.Tags, to.Fields = e.Tags, e.Fields
}

// newest is the newest event time of any of the item's parts.
func (it *ItemState) newest() int64 {
	t := it.time
	for _, at := range it.times {
		t = max(t, at)
	}
	return t
}

// The item's own parts in ItemState.times; fields are there under "." and their name.
const (
	partTitle = "title"
	partText  = "text"
	partTags  = "tags"
)

func (it *ItemState) mergeItem(content *ranker.Item, e *ranker.Event) {
	wins := func(part string, known bool) bool {
		at, own := it.times[part]
		if !own {
			at = it.time
		}
		if known && e.Time < at {
			return false
		}
		if it.times == nil {
			it.times = map[string]int64{}
		}
		it.times[part] = e.Time
		return true
	}
	if e.Title != nil && wins(partTitle, content.Title != "") {
		content.Title = *e.Title
	}
	if e.Text != nil && wins(partText, content.Text != "") {
		content.Text = *e.Text
	}
	if e.Tags != nil && wins(partTags, content.Tags != nil) {
		content.Tags = e.Tags
	}
	if len(e.Fields) == 0 {
		return
	}
	fields := maps.Clone(content.Fields)
	if fields == nil {
		fields = map[string]ranker.FieldValue{}
	}
	for name, v := range e.Fields {
		if _, known := fields[name]; wins("."+name, known) {
			fields[name] = v
		}
	}
	content.Fields = fields
}

// fieldValuesOf returns the item's values of each counted field.
func fieldValuesOf(info *ranker.ItemInfo, fields []string) [][]fieldValue {
	out := make([][]fieldValue, len(fields))
	for i, f := range fields {
		if v, ok := fieldOf(info, f); ok {
			words := v.AsStrings()
			out[i] = make([]fieldValue, len(words))
			for k, w := range words {
				out[i][k] = unique.Make(w)
			}
		}
	}
	return out
}

func (s *State) applyImpression(rec *event.Record) {
	e := &rec.Event
	u := s.user(e.UserID, rec)
	for _, id := range e.Impression.Items {
		it := s.item(id, rec)
		s.countForAll(u, it, 0, rec)
		s.addShown(u, it.sharedID(id), e.Time)
	}
}

// sharedID is the item's id as its description has it: users' histories are full of ids, which need not be there many times.
func (it *ItemState) sharedID(id string) string {
	if it.Info != nil {
		return it.Info.ID
	}
	return id
}

func (s *State) applyInteraction(rec *event.Record) {
	e := &rec.Event
	action := slices.Index(s.cfg.Actions, e.Action) // not kind: "any" and "impression" are no actions
	if action < 0 {
		return
	}
	u, it := s.user(e.UserID, rec), s.item(e.ItemID, rec)
	s.countForAll(u, it, action+1, rec)
	value := float32(1)
	if e.Value != nil {
		value = float32(*e.Value)
	}
	in := ranker.Interaction{Item: it.sharedID(e.ItemID), Action: s.cfg.Actions[action], Time: e.Time, Value: value}
	u.recent = insert(u.recent, in, s.cfg.Recent, func(a ranker.Interaction) int64 { return a.Time })
	for i := range u.shown {
		if sh := &u.shown[i]; sh.Item == e.ItemID && follows(sh.Time, e.Time) {
			sh.Clicked = true
		}
	}
}

// follows reports whether something at t may be the follow-up of being shown at shown.
func follows(shown, t int64) bool { return t >= shown && t-shown <= followUpWindow }

func (s *State) addShown(u *UserState, id string, t int64) {
	sh := ranker.Shown{Item: id, Time: t}
	for _, in := range u.recent {
		if in.Item == id && follows(t, in.Time) {
			sh.Clicked = true // the interaction arrived before the impression
		}
	}
	u.shown = insert(u.shown, sh, s.cfg.Shown, func(a ranker.Shown) int64 { return a.Time })
}

// insert puts x into a list sorted newest first, before others of its time (ties go by arrival, the
// later one is newer), and cuts the list to the bound.
func insert[T any](list []T, x T, bound int, time func(T) int64) []T {
	at, _ := slices.BinarySearchFunc(list, time(x), func(a T, t int64) int {
		if time(a) > t {
			return -1
		}
		return 1
	})
	if at >= bound {
		return list
	}
	if len(list) >= bound {
		list = list[:bound-1]
	}
	return slices.Insert(list, at, x)
}

// countForAll counts one event of the kind for the item, the user, the item's field values, the user with
// them, and everything together.
func (s *State) countForAll(u *UserState, it *ItemState, kind int, rec *event.Record) {
	t := rec.Event.Time
	if !s.applied.Counters {
		s.layout.add(&s.global, kind, t)
		s.markChanged(globalKey)
	}
	s.layout.add(&it.counts, kind, t)
	s.layout.add(&u.counts, kind, t)
	for f, values := range it.values {
		for _, v := range values {
			if !s.applied.Counters {
				s.countValue(f, v.Value(), kind, t)
			}
			s.layout.add(s.userFieldCountsOf(u, f, v, rec), kind, t)
		}
	}
}

// userFieldCountsOf finds a user's counters for a value; a new value takes the place of the one longest
// untouched when there is no room.
func (s *State) userFieldCountsOf(u *UserState, field int, v fieldValue, rec *event.Record) *decayedCounts {
	list := u.values[field]
	for i := range list {
		if list[i].value == v {
			list[i].seen = rec.Arrival
			return &list[i].decayedCounts
		}
	}
	fresh := userFieldCounts{value: v, seen: rec.Arrival}
	if len(list) < s.cfg.UserValues {
		u.values[field] = append(list, fresh)
		return &u.values[field][len(list)].decayedCounts
	}
	oldest := 0
	for i := range list {
		if cmp.Or(cmp.Compare(list[i].seen, list[oldest].seen), cmp.Compare(list[i].ref, list[oldest].ref)) < 0 {
			oldest = i
		}
	}
	list[oldest] = fresh
	return &list[oldest].decayedCounts
}
