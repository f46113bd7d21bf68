package replay

import (
	"context"
	"fmt"
	"time"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
)

// OfflineDeadline is the deadline of an offline ranking. It is long, so that nothing is left out on
// a machine that is busy, or that was suspended for a while.
const OfflineDeadline = time.Hour

// Example is a ranking list at the moment when it was shown.
type Example struct {
	*RankingList
	Index   int             // of the list, in Walk's argument
	Request *ranker.Request // aligned with Items; Time is the moment when it was shown
	NewUser bool            // it is the user's first list
	// Impression is the logged impression, nil for a sampled list.
	Impression *ranker.Impression
	// Propensity is aligned with Items: P(item at this position | the items above it). It is nil if
	// the log does not have it for each item, as for a list that shows an item twice.
	Propensity []float64
}

// Observer follows a walk. Observe is called for each record that is applied to the state.
type Observer interface{ Observe(rec *event.Record) }

// WalkOptions of Walk.
type WalkOptions struct {
	FreezeState bool // the state stays as it is at the first list
	Observers   []Observer
	Progress    func(done, total int) // may be nil
}

// Walk applies the log's records to state, which is empty, and calls each for each list, just
// before the list's own record is applied. lists are sorted by sequence (SortLists). The walk ends
// after the last list.
//
// A follow-up that arrived before its list is applied after it. It had not happened yet when the
// list was ranked, and a state that has it knows the label.
func (l *Log) Walk(
	ctx context.Context, src Source, state *features.State, lists []RankingList, opt WalkOptions,
	each func(*Example) error,
) error {
	if len(lists) == 0 {
		return nil
	}
	w := &walk{
		log: l, lists: lists, opt: opt, state: state, base: l.Base.Switch(),
		listOf: l.earlyFollowUps(), delayed: map[uint64][]event.Record{},
		hasList: make([]bool, l.Users.Len()),
	}
	for rec, err := range src() {
		if err != nil {
			return err
		}
		if rec.Seq%cancelInterval == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if done, err := w.step(&rec, each); done || err != nil {
			return err
		}
	}
	return fmt.Errorf("the log ends before the list at sequence %d", lists[w.next].Seq)
}

// walk is one call of Walk.
type walk struct {
	log     *Log
	lists   []RankingList
	opt     WalkOptions
	state   *features.State
	base    BaseSwitch
	next    int                       // index of the next list
	listOf  map[uint64]uint64         // early follow-up -> its list
	delayed map[uint64][]event.Record // early follow-ups that were read, by list
	hasList []bool                    // by user: whether the user was shown a list
}

// step calls each for the lists of a record and then applies the record. done reports that these
// were the last lists.
func (w *walk) step(rec *event.Record, each func(*Example) error) (done bool, err error) {
	if w.next == 0 || !w.opt.FreezeState {
		if err := w.base.Before(rec, w.state); err != nil {
			return false, err
		}
	}
	if list, isEarly := w.listOf[rec.Seq]; isEarly {
		w.delayed[list] = append(w.delayed[list], *rec)
		return false, nil
	}
	for w.next < len(w.lists) && w.lists[w.next].Seq == rec.Seq {
		list := &w.lists[w.next]
		x := w.log.newExample(list, rec)
		x.Index, x.NewUser = w.next, list.Logged && !w.hasList[list.User]
		if err := each(x); err != nil {
			return false, fmt.Errorf("list at sequence %d: %w", list.Seq, err)
		}
		if w.next++; w.opt.Progress != nil {
			w.opt.Progress(w.next, len(w.lists))
		}
	}
	if w.next == len(w.lists) {
		return true, nil
	}
	w.apply(rec)
	for _, early := range w.delayed[rec.Seq] {
		w.apply(&early)
	}
	delete(w.delayed, rec.Seq)
	if rec.Event.Kind == ranker.EventImpression {
		if user := w.log.Users.Number(rec.Event.UserID); user >= 0 {
			w.hasList[user] = true
		}
	}
	return false, nil
}

// apply applies a record to the state, unless the state is frozen since the first list.
func (w *walk) apply(rec *event.Record) {
	if w.next > 0 && w.opt.FreezeState {
		return
	}
	w.state.Apply(rec)
	for _, o := range w.opt.Observers {
		o.Observe(rec)
	}
}

// earlyFollowUps returns the list of each early follow-up: sequence -> sequence of its list.
func (l *Log) earlyFollowUps() map[uint64]uint64 {
	out := map[uint64]uint64{}
	for i := range l.Lists {
		for _, seq := range l.Lists[i].EarlyFollowUps {
			out[seq] = l.Lists[i].Seq
		}
	}
	return out
}

// newExample makes the example of a list from the list's own record.
func (l *Log) newExample(list *RankingList, rec *event.Record) *Example {
	ids := make([]string, len(list.Items))
	for i, item := range list.Items {
		ids[i] = l.Items.IDs()[item]
	}
	if !list.Logged {
		e := &rec.Event
		return &Example{RankingList: list, Request: newRequest(e, ids)}
	}
	impression := rec.Event.Impression
	x := &Example{
		RankingList: list, Impression: impression, Request: servedRequest(&rec.Event, ids),
	}
	if len(impression.Propensity) == len(list.Items) {
		x.Propensity = impression.Propensity
	}
	return x
}
