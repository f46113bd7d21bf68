package event

import (
	"cmp"

	"github.com/cespare/xxhash/v2"

	"relish/ranker"
)

// Order is a record's place in the order in which things happened, as opposed to the order of the
// log. A live record happened when it arrived. An imported record happened at its event time,
// however late it was imported. Orders compare the same in every log of the same events, whatever
// the order of the imported files was.
type Order struct {
	// Time is when the record happened, Unix ms. It is 0 for an imported item or user without a
	// time, which has always been there.
	Time int64 `json:"time"`
	// Rank and Hash order what happened at the same time: imported items, users, impressions,
	// interactions, each by a hash of their ids, and then records whose place in the log counts.
	// The hash of an item or a user without a time is that of the item's or the user's id.
	Rank uint8  `json:"rank"`
	Hash uint64 `json:"hash"`

	Replica string `json:"replica"`
	Seq     uint64 `json:"seq"`
}

// Ranks of records without a time of their own.
const (
	rankByLog = 254 // imported, of unknown time: ordered as in the log
	rankLive  = 255
)

// OrderOf returns a record's place.
func OrderOf(rec *Record) Order {
	e := &rec.Event
	o := Order{Time: rec.Arrival, Rank: rankLive, Replica: rec.Replica, Seq: rec.Seq}
	if !e.Imported {
		return o
	}
	rank, always := rankOf(e.Kind)
	switch {
	case e.Time != 0:
		o.Time = min(e.Time, rec.Arrival)
	case always:
		// Descriptions of one item or user keep the order of their imports: the last one holds.
		o.Time, o.Rank, o.Hash = 0, rank, xxhash.Sum64String(e.ItemID+e.UserID)
		return o
	default:
		o.Rank = rankByLog
		return o
	}
	o.Rank, o.Hash = rank, xxhash.Sum64String(e.ID)
	return o
}

// rankOf returns the rank of an imported event, and whether it has always been there if it has no
// time.
func rankOf(kind ranker.EventKind) (rank uint8, always bool) {
	switch kind {
	case ranker.EventItem:
		return 0, true
	case ranker.EventUser:
		return 1, true
	case ranker.EventImpression:
		return 2, false
	}
	return 3, false
}

// Compare returns -1 if o happened before other, 1 if after, and 0 for the same record.
func (o Order) Compare(other Order) int {
	return cmp.Or(
		cmp.Compare(o.Time, other.Time), cmp.Compare(o.Rank, other.Rank),
		cmp.Compare(o.Hash, other.Hash), cmp.Compare(o.Replica, other.Replica),
		cmp.Compare(o.Seq, other.Seq),
	)
}
