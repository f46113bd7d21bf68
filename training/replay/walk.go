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
	next := 0
	listOf, delayed := l.earlyFollowUps(), map[uint64][]event.Record{}
	apply := func(rec *event.Record) {
		if next > 0 && opt.FreezeState {
			return
		}
		state.Apply(rec)
		for _, o := range opt.Observers {
			o.Observe(rec)
		}
	}
	hasList := make([]bool, l.Users.Len()) // by user
	base := l.Base.Switch()
	for rec, err := range src() {
		if err != nil {
			return err
		}
		if rec.Seq%cancelInterval == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if next == 0 || !opt.FreezeState {
			if err := base.Before(&rec, state); err != nil {
				return err
			}
		}
		if list, isEarly := listOf[rec.Seq]; isEarly {
			delayed[list] = append(delayed[list], rec)
			continue
		}
		for next < len(lists) && lists[next].Seq == rec.Seq {
			list := &lists[next]
			x := l.newExample(list, &rec)
			x.Index, x.NewUser = next, list.Logged && !hasList[list.User]
			if err := each(x); err != nil {
				return fmt.Errorf("list at sequence %d: %w", list.Seq, err)
			}
			if next++; opt.Progress != nil {
				opt.Progress(next, len(lists))
			}
		}
		if next == len(lists) {
			return nil
		}
		apply(&rec)
		for _, early := range delayed[rec.Seq] {
			apply(&early)
		}
		delete(delayed, rec.Seq)
		if rec.Event.Kind == ranker.EventImpression {
			if user := l.Users.Number(rec.Event.UserID); user >= 0 {
				hasList[user] = true
			}
		}
	}
	return fmt.Errorf("the log ends before the list at sequence %d", lists[next].Seq)
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
