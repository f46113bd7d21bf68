// Package replay reads the event log in the order in which things happened, to make training
// examples and to measure models. A Timeline gives that order: live records happened when they
// arrived, imported ones at their event times.
//
// Scan is a first pass: it finds who interacted with which item, which lists were shown, and which
// interactions followed them (Log). From a Log one chooses ranking lists (RankingList). Log.Walk is
// a second pass in the same order, through the same state code that serves. It hands out each
// chosen list with the state just before the list was shown (Example). A dataset file holds the
// feature matrices of many lists.
//
// For a log without impressions, lists are sampled: each has an item that a user interacted with,
// among random items.
package replay

import (
	"errors"
	"iter"
	"slices"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
)

// Source returns the log's records in the order in which they happened, numbered by it
// (Timeline.Records). It is called once for each pass.
type Source func() iter.Seq2[event.Record, error]

// Options of Scan. Zero values mean the defaults in brackets.
type Options struct {
	State features.Config // whose Actions are counted
	// Gains maps an action to the gain of its item [1]. If several actions follow, the highest
	// counts.
	Gains map[string]float64
	Base  *Base // of the log; nil: the log has everything
	Until int64 // ignores records that happened at this time or later, Unix ms [no limit]
	// Before ignores records from this sequence on, except erasures of users [no limit].
	Before uint64
	// FollowUpMillis is the longest time between an impression and an interaction that names it, in
	// either order, for the interaction to count as its follow-up, in ms [24 h].
	FollowUpMillis int64
	MaxLists       int // keeps the newest lists [1,000,000]
}

func (o *Options) setDefaults() {
	if o.FollowUpMillis == 0 {
		o.FollowUpMillis = 24 * 60 * 60 * 1000
	}
	if o.MaxLists == 0 {
		o.MaxLists = 1_000_000
	}
}

// gain returns the gain of an action.
func (o *Options) gain(action string) float32 {
	if g, ok := o.Gains[action]; ok {
		return float32(g)
	}
	return 1
}

// Interaction is one interaction with a counted action. User and Item are numbers of Log.Users and
// Log.Items.
type Interaction struct {
	Seq           uint64
	Time          int64 // when it happened, Unix ms
	User, Item    int32
	Gain          float32
	HasImpression bool // it names its impression
	// Uncounted says that the bound on newcomers leaves the interaction out of the item's counters,
	// see features.Config.NewcomerExcess. It is no label of its list.
	Uncounted bool
}

// LoggedList is one impression with its labels.
type LoggedList struct {
	Seq   uint64
	Time  int64 // when it happened, Unix ms
	User  int32
	Items []int32   // in the order shown, without repeats
	Gains []float32 // aligned with Items; 0 if no interaction followed
	Model string    // version of the model that ranked it, "" for a list that a client reports
	// Incomplete says that the impression lacks content that came with the request, so that the
	// features of its items are not those that were served.
	Incomplete bool
	// BasePositions has, for each item, the position that the item had before exploration reordered
	// the list, from 0. It is nil if the list was not explored, or if the propensities that were
	// logged do not tell.
	BasePositions []int16
	// Query is the search text of the request, "" without one or if it has more than
	// MaxQueryBytes.
	Query string
	// EarlyFollowUps are the sequences of follow-ups that come before the list, mostly nil.
	EarlyFollowUps []uint64
}

// MaxQueryBytes bounds LoggedList.Query. Nothing is learned from a longer search text.
const MaxQueryBytes = 1024

// Log is the result of Scan. It is read-only and safe for concurrent use.
type Log struct {
	Base         *Base // see Options
	Users, Items *IDs
	Interactions []Interaction // in order
	Lists        []LoggedList  // in order, the newest Options.MaxLists
	DroppedLists int           // lists that were too old to be kept
	ClickedLists int           // CountClickedLists of all Lists
	Catalogue    *features.State
	ItemChanges  []ItemChange // when each item existed, by sequence
	// Counts counts the records by kind, Actions the interactions by counted action.
	Counts  map[ranker.EventKind]int
	Actions map[string]int
	// First and Last are the first and the last record, without their events. They are the zero
	// Record for an empty log.
	First, Last event.Record
	// From and To are when the first and the last record happened that have a time, Unix ms; 0 for
	// an empty log.
	From, To          int64
	ScoredImpressions int                     // impressions with retrieval scores
	Contexts          map[string]ContextField // by name, at most maxContextFields
	LateFollowUps     int                     // follow-ups later or earlier than FollowUpMillis
}

// ContextField describes the values of one context field over all impressions.
type ContextField struct {
	Count   int            // impressions that have the field
	Numbers int            // of these, with a number or a boolean
	Values  map[string]int // string value -> impressions, at most maxContextValues values
}

// IDs numbers ids from 0 in the order in which they first appear.
type IDs struct {
	ids   []string
	index map[string]int32
}

func newIDs() *IDs { return &IDs{index: map[string]int32{}} }

// intern returns the number of an id, which is a new one for an unknown id.
func (n *IDs) intern(id string) int32 {
	if i, ok := n.index[id]; ok {
		return i
	}
	i := int32(len(n.ids))
	n.ids = append(n.ids, id)
	n.index[id] = i
	return i
}

// IDs returns the ids by number. The caller must not change the slice.
func (n *IDs) IDs() []string { return n.ids }

// Len returns the number of ids.
func (n *IDs) Len() int { return len(n.ids) }

// Number returns the number of an id, -1 for an unknown one.
func (n *IDs) Number(id string) int32 {
	if i, ok := n.index[id]; ok {
		return i
	}
	return -1
}

var errEmptyLog = errors.New(
	"the log has no impressions and no interactions with a counted action: " +
		"import events first",
)

// MinClickedLists is the number of ClickedLists below which lists are sampled in addition, to
// measure on. Training has a lower bound of its own: to learn from a sampled list is worth less
// than to learn from a logged one.
const MinClickedLists = 1000

// NeedsSampledLists reports whether the log has fewer than MinClickedLists.
func (l *Log) NeedsSampledLists() bool { return l.ClickedLists < MinClickedLists }

// CountClickedLists returns the number of ClickedImpressions from a sequence on: lists with a click
// on some of their items, but not the same on all.
func (l *Log) CountClickedLists(from uint64) (n int) {
	for i := range l.Lists {
		if l.Lists[i].Seq >= from && isInformative(l.Lists[i].Gains) {
			n++
		}
	}
	return n
}

// CountUnlinked returns the number of interactions from a sequence on that name no impression.
func (l *Log) CountUnlinked(from uint64) (n int) {
	for i := range l.Interactions {
		if x := &l.Interactions[i]; x.Seq >= from && !x.HasImpression {
			n++
		}
	}
	return n
}

// HoldoutStart returns the sequence at which the newest share (0 to 1) of the impressions begins.
// If the log needs sampled lists, interactions that name no impression count as well. An empty log
// is an error.
func (l *Log) HoldoutStart(share float64) (seq uint64, err error) {
	lists := l.possibleLists()
	if len(lists) == 0 {
		return 0, errEmptyLog
	}
	at := int((1-share)*float64(l.DroppedLists+len(lists))) - l.DroppedLists
	if at < len(lists) {
		return lists[max(0, at)], nil
	}
	return l.Last.Seq + 1, nil
}

// possibleLists returns the sequences of all impressions, and of the interactions that a list can
// be sampled for if the log needs those, in order.
func (l *Log) possibleLists() (seqs []uint64) {
	for i := range l.Lists {
		seqs = append(seqs, l.Lists[i].Seq)
	}
	if !l.NeedsSampledLists() {
		return seqs
	}
	for i := range l.Interactions {
		if x := &l.Interactions[i]; !x.HasImpression {
			seqs = append(seqs, x.Seq)
		}
	}
	slices.Sort(seqs)
	return seqs
}
