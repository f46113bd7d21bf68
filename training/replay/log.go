// Package replay walks the event log again as the server met it, for training and for measuring.
//
// Scan is one pass that notes who did what with which item, which lists were shown and what followed them
// (Log). Picks are the lists chosen from it. Walk is a second pass, in the order of arrival, through the very
// state code that serves: at each picked list the state is what it was just before it was shown.
//
// Where a log has no impressions, lists are made from its interactions: the next item of a user among sampled ones.
package replay

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
)

// Source gives the log's records in the order of arrival; it is walked several times.
type Source func() iter.Seq2[event.Record, error]

// Options of Scan. Zero values mean the defaults in brackets.
type Options struct {
	State features.Config    // what is counted
	Gains map[string]float64 // action -> gain [1]; the highest of an item's counts
	Until int64              // records from this arrival on are left out, Unix ms [all are taken]
	// FollowUpMillis is how long after an impression's arrival, or before it, an interaction that names it still counts as
	// its follow-up, ms [24 h].
	FollowUpMillis int64
	// MaxLists bounds the lists that are kept, the newest [1,000,000].
	MaxLists int
}

func (o *Options) defaults() {
	if o.FollowUpMillis == 0 {
		o.FollowUpMillis = 24 * 60 * 60 * 1000
	}
	if o.MaxLists == 0 {
		o.MaxLists = 1_000_000
	}
}

func (o *Options) gain(action string) float32 {
	if g, ok := o.Gains[action]; ok {
		return float32(g)
	}
	return 1
}

// Interaction is one interaction of a counted action.
type Interaction struct {
	Seq           uint64
	User, Item    int32
	Gain          float32
	HasImpression bool // it named its impression
}

// LoggedList is one impression.
type LoggedList struct {
	Seq            uint64
	Arrival        int64
	User           int32
	Items          []int32   // as they were shown, without repeats
	Gains          []float32 // aligned with Items
	Model          string    // that ranked it, "" if it was not Relish
	EarlyFollowUps []uint64  // sequences of its follow-ups that arrived before it; nil mostly
}

// Log is what a pass over the event log found. It is only read.
type Log struct {
	Users, Items *IDs
	Interactions []Interaction // in the order of arrival
	Lists        []LoggedList  // in the order of arrival, the newest Options.MaxLists
	DroppedLists int           // lists that were too old to be kept
	ClickedLists int           // of Lists: with a gain
	// Catalogue is the items' content at the end.
	Catalogue         *features.State
	Counts            map[ranker.EventKind]int
	First             event.Record // without its event; the zero Record for an empty log
	Last              event.Record
	Actions           map[string]int // counted actions -> how many interactions
	ScoredImpressions int            // impressions that came with retrieval scores
	Contexts          map[string]ContextField
	LateFollowUps     int // follow-ups outside the window

	erased          map[string]uint64 // user hash -> sequence of the last order to forget him
	impressionIndex map[uint64]int    // impression id -> its place among all lists
	earlyFollowUps  [2]map[uint64][]earlyFollowUp
	opt             Options
}

// ContextField says what a context field held.
type ContextField struct {
	Count, Numbers int
	Values         map[string]int // at most maxContextValues
}

const (
	maxContextValues = 50
	maxContextFields = 64
)

// earlyFollowUp is an interaction that arrived before the impression it names.
type earlyFollowUp struct {
	seq     uint64
	item    int32
	gain    float32
	arrival int64
}

// maxEarlyFollowUps bounds how many impressions are waited for: when the newer half of them is full, the older is given up.
const maxEarlyFollowUps = 500_000

// Scan reads the log up to Options.Until.
func Scan(ctx context.Context, src Source, opt Options) (*Log, error) {
	opt.defaults()
	catalogue := opt.State
	catalogue.MaxAge = "36500d" // it sees no interactions, which would keep an item from expiring
	l := &Log{Users: newIDs(), Items: newIDs(), Catalogue: features.New(catalogue), Counts: map[ranker.EventKind]int{}, Actions: map[string]int{},
		Contexts: map[string]ContextField{}, erased: map[string]uint64{}, impressionIndex: map[uint64]int{}, opt: opt}
	counted := map[string]bool{}
	for _, a := range opt.State.Actions {
		counted[a] = true
	}
	for rec, err := range src() {
		if err != nil {
			return nil, err
		}
		if opt.Until > 0 && rec.Arrival >= opt.Until {
			break
		}
		if rec.Seq%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		l.add(&rec, counted)
	}
	l.dropOldest()
	l.dropErased()
	l.earlyFollowUps, l.impressionIndex = [2]map[uint64][]earlyFollowUp{}, nil
	for i := range l.Lists {
		if slices.ContainsFunc(l.Lists[i].Gains, func(g float32) bool { return g > 0 }) {
			l.ClickedLists++
		}
	}
	return l, nil
}

func (l *Log) add(rec *event.Record, counted map[string]bool) {
	place := *rec
	place.Event = ranker.Event{}
	if l.Last = place; l.First.Seq == 0 {
		l.First = place
	}
	e := &rec.Event
	l.Counts[e.Kind]++
	switch e.Kind {
	case ranker.EventItem, ranker.EventDelete:
		if e.Kind == ranker.EventItem {
			l.Items.intern(e.ItemID)
		}
		l.Catalogue.Apply(rec)
	case ranker.EventImpression:
		l.addImpression(rec)
	case ranker.EventInteraction:
		if counted[e.Action] {
			l.Actions[e.Action]++
			l.addInteraction(rec)
		}
	case ranker.EventErase:
		l.erased[e.UserHash] = rec.Seq
	}
}

func (l *Log) addImpression(rec *event.Record) {
	e, imp := &rec.Event, rec.Event.Impression
	list := LoggedList{Seq: rec.Seq, Arrival: rec.Arrival, User: l.Users.intern(e.UserID)}
	if imp.Served {
		list.Model = imp.Model
	}
	for _, id := range imp.Items {
		if item := l.Items.intern(id); !slices.Contains(list.Items, item) {
			list.Items = append(list.Items, item)
		}
	}
	list.Gains = make([]float32, len(list.Items))
	if imp.Scores != nil {
		l.ScoredImpressions++
	}
	l.addContext(imp.Context)
	key := xxhash.Sum64String(e.ID)
	l.impressionIndex[key] = l.DroppedLists + len(l.Lists)
	l.Lists = append(l.Lists, list)
	for _, waiting := range l.earlyFollowUps {
		for _, x := range waiting[key] {
			last := &l.Lists[len(l.Lists)-1]
			if l.attribute(last, x.item, x.gain, rec.Arrival-x.arrival) {
				last.EarlyFollowUps = append(last.EarlyFollowUps, x.seq)
			}
		}
		delete(waiting, key)
	}
	if len(l.Lists) >= l.opt.MaxLists+l.opt.MaxLists/4+1 { // some go together, so that dropping costs little
		l.dropOldest()
	}
}

// dropOldest keeps the newest Options.MaxLists.
func (l *Log) dropOldest() {
	drop := max(0, len(l.Lists)-l.opt.MaxLists)
	copy(l.Lists, l.Lists[drop:])
	clear(l.Lists[len(l.Lists)-drop:])
	l.Lists = l.Lists[:len(l.Lists)-drop]
	l.DroppedLists += drop
	for id, at := range l.impressionIndex {
		if at < l.DroppedLists {
			delete(l.impressionIndex, id)
		}
	}
}

func (l *Log) addContext(fields map[string]ranker.FieldValue) {
	for name, v := range fields {
		c, known := l.Contexts[name]
		if !known && len(l.Contexts) >= maxContextFields {
			continue
		}
		c.Count++
		if v.Kind == ranker.Number || v.Kind == ranker.Bool {
			c.Numbers++
		} else {
			if c.Values == nil {
				c.Values = map[string]int{}
			}
			for _, w := range v.AsStrings() {
				if _, seen := c.Values[w]; seen || len(c.Values) < maxContextValues {
					c.Values[w]++
				}
			}
		}
		l.Contexts[name] = c
	}
}

func (l *Log) addInteraction(rec *event.Record) {
	e := &rec.Event
	s := Interaction{Seq: rec.Seq, User: l.Users.intern(e.UserID), Item: l.Items.intern(e.ItemID), Gain: l.opt.gain(e.Action), HasImpression: e.ImpressionID != ""}
	l.Interactions = append(l.Interactions, s)
	if !s.HasImpression {
		return
	}
	key := xxhash.Sum64String(e.ImpressionID)
	switch at, known := l.impressionIndex[key]; {
	case known && at >= l.DroppedLists:
		list := &l.Lists[at-l.DroppedLists]
		l.attribute(list, s.Item, s.Gain, rec.Arrival-list.Arrival)
	case !known:
		if len(l.earlyFollowUps[0]) >= maxEarlyFollowUps {
			l.earlyFollowUps[1], l.earlyFollowUps[0] = l.earlyFollowUps[0], nil
		}
		if l.earlyFollowUps[0] == nil {
			l.earlyFollowUps[0] = map[uint64][]earlyFollowUp{}
		}
		l.earlyFollowUps[0][key] = append(l.earlyFollowUps[0][key], earlyFollowUp{s.Seq, s.Item, s.Gain, rec.Arrival})
	}
}

// attribute counts a follow-up that arrived apart ms from its impression, and reports whether that is within the window.
func (l *Log) attribute(list *LoggedList, item int32, gain float32, apart int64) bool {
	if apart > l.opt.FollowUpMillis {
		l.LateFollowUps++
		return false
	}
	if at := slices.Index(list.Items, item); at >= 0 {
		list.Gains[at] = max(list.Gains[at], gain)
	}
	return true
}

// dropErased drops what users did and saw before they were forgotten, as long as the log still has it. What they do
// afterwards is new.
func (l *Log) dropErased() {
	if len(l.erased) == 0 {
		return
	}
	until := map[int32]uint64{}
	for i, id := range l.Users.IDs() {
		if seq, gone := l.erased[features.UserHash(id)]; gone {
			until[int32(i)] = seq
		}
	}
	l.Interactions = slices.DeleteFunc(l.Interactions, func(s Interaction) bool { return s.Seq < until[s.User] })
	l.Lists = slices.DeleteFunc(l.Lists, func(x LoggedList) bool { return x.Seq < until[x.User] })
}

// IDs numbers ids from 0, in the order in which they came.
type IDs struct {
	ids   []string
	index map[string]int32
}

func newIDs() *IDs { return &IDs{index: map[string]int32{}} }

func (n *IDs) intern(id string) int32 {
	if i, ok := n.index[id]; ok {
		return i
	}
	i := int32(len(n.ids))
	n.ids = append(n.ids, id)
	n.index[id] = i
	return i
}

// IDs returns the ids by number; the slice must not be changed.
func (n *IDs) IDs() []string { return n.ids }

// Len returns how many there are.
func (n *IDs) Len() int { return len(n.ids) }

// Number returns an id's number, -1 for an unknown one.
func (n *IDs) Number(id string) int32 {
	if i, ok := n.index[id]; ok {
		return i
	}
	return -1
}

// errEmptyLog says that nothing can be learned or measured.
var errEmptyLog = errors.New("the log holds neither impressions nor interactions of a counted action: import some events first")
