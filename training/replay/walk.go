package replay

import (
	"context"
	"fmt"
	"time"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
)

// OfflineDeadline is the deadline of an offline ranking: long, so that nothing is left out.
const OfflineDeadline = time.Minute

// Example is a picked list at the moment it was shown.
type Example struct {
	*RankingList
	Index   int             // of the pick
	Request *ranker.Request // aligned with Pick.Items; Time is the moment it was shown
	NewUser bool            // the user's first list
	// Impression is the logged impression, nil for a sampled list.
	Impression *ranker.Impression
	// Propensity is what the log has for each item: P(it at its place | the places above it); nil where it has nothing
	// for them one by one, as for a list that holds an item twice.
	Propensity []float64
}

// Observer has its own memory of the log.
type Observer interface{ Observe(rec *event.Record) }

// WalkOptions of Walk.
type WalkOptions struct {
	FreezeState bool // the state stands still from the first pick on
	Observers   []Observer
	Progress    func(done, total int) // may be nil
}

// Walk applies the log's records to state, and hands every picked list to each before its own record is applied. picks
// are in ascending order of their sequences. The walk ends after the last of them.
//
// A follow-up that arrived before its list is applied after it: when the list was ranked it had not happened, and a
// state that has it knows the answer.
func (l *Log) Walk(ctx context.Context, src Source, state *features.State, picks []RankingList, opt WalkOptions, each func(*Example) error) error {
	if len(picks) == 0 {
		return nil
	}
	next, held, waiting := 0, l.followUpLists(), map[uint64][]event.Record{}
	apply := func(rec *event.Record) {
		if next > 0 && opt.FreezeState {
			return
		}
		state.Apply(rec)
		for _, f := range opt.Observers {
			f.Observe(rec)
		}
	}
	seen := make([]bool, l.Users.Len())
	for rec, err := range src() {
		if err != nil {
			return err
		}
		if rec.Seq%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if list, early := held[rec.Seq]; early {
			waiting[list] = append(waiting[list], rec)
			continue
		}
		for next < len(picks) && picks[next].Seq == rec.Seq {
			p := &picks[next]
			c := l.newExample(p, &rec)
			c.Index, c.NewUser = next, p.Logged && !seen[p.User]
			if err := each(c); err != nil {
				return fmt.Errorf("list at sequence %d: %w", p.Seq, err)
			}
			if next++; opt.Progress != nil {
				opt.Progress(next, len(picks))
			}
		}
		if next == len(picks) {
			return nil
		}
		apply(&rec)
		for _, early := range waiting[rec.Seq] {
			apply(&early)
		}
		delete(waiting, rec.Seq)
		if rec.Event.Kind == ranker.EventImpression {
			if u := l.Users.Number(rec.Event.UserID); u >= 0 {
				seen[u] = true
			}
		}
	}
	return fmt.Errorf("the log ends before the list at sequence %d", picks[next].Seq)
}

// followUpLists has the lists of the follow-ups that arrived before them, by the follow-ups' sequences.
func (l *Log) followUpLists() map[uint64]uint64 {
	out := map[uint64]uint64{}
	for i := range l.Lists {
		for _, seq := range l.Lists[i].EarlyFollowUps {
			out[seq] = l.Lists[i].Seq
		}
	}
	return out
}

func (l *Log) newExample(p *RankingList, rec *event.Record) *Example {
	e := &rec.Event
	c := &Example{RankingList: p, Request: &ranker.Request{ID: e.ID, User: e.UserID, Session: e.Session, Time: e.Time}}
	scores := map[string]float64{}
	if p.Logged {
		imp := e.Impression
		c.Impression, c.Request.Context = imp, imp.Context
		if len(imp.Propensity) == len(p.Items) {
			c.Propensity = imp.Propensity
		}
		for i, s := range imp.Scores {
			if _, twice := scores[imp.Items[i]]; !twice { // a repeated item keeps its first place, as in a request
				scores[imp.Items[i]] = s
			}
		}
	}
	ids := l.Items.IDs()
	for _, item := range p.Items {
		cand := ranker.Candidate{ID: ids[item]}
		if s := scores[cand.ID]; s != 0 {
			cand.Score, cand.HasScore = float32(s), true
		}
		c.Request.Candidates = append(c.Request.Candidates, cand)
	}
	return c
}
