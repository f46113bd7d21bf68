package app

import (
	"context"
	"errors"
	"path/filepath"

	"relish/features"
	"relish/features/embedded"
	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/training/replay"
)

// History computes the state of a data folder in the order in which things happened.
type History struct {
	Data  string
	State features.Config
	// Progress is called with the number of events done. It may be nil.
	Progress func(done int)
}

// Order makes the next start of the server begin with the state that the events give in the order
// in which they happened, if imports brought them in another order: an item that is described
// after the clicks on it is then counted by its fields as in training. It returns whether it
// computed a state: it does not if the log is in that order, or has nothing new since the last
// time. The data folder must not be in use.
func (h *History) Order(ctx context.Context) (changed bool, err error) {
	unlock, err := ingest.Lock(h.Data)
	if err != nil {
		return false, err
	}
	defer unlock()
	if done, err := h.isDone(); done || err != nil {
		return false, err
	}
	dir := filepath.Join(h.Data, importFolder)
	timeline, err := replay.NewTimeline(ctx, eachRecord(h.Data), dir)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, timeline.Close()) }()
	if timeline.InLogOrder() {
		return false, nil
	}
	state, err := h.compute(ctx, timeline)
	if err != nil {
		return false, err
	}
	return true, embedded.SetOrdered(h.Data, state)
}

// isDone reports whether the log has no records after the state that Order made last.
func (h *History) isDone() (bool, error) {
	last, err := embedded.OrderedSeq(h.Data, h.State)
	if err != nil || last == 0 {
		return false, err
	}
	for _, err := range eventlog.Read(ingest.LogDir(h.Data), last+1) {
		return false, err
	}
	return true, nil
}

// eachRecord reads the log of a data folder.
func eachRecord(data string) replay.EachRecord {
	return func(yield func(rec *event.Record, number uint64) bool) error {
		for rec, err := range eventlog.Read(ingest.LogDir(data), 1) {
			if err != nil || !yield(&rec, rec.Seq) {
				return err
			}
		}
		return nil
	}
}

// compute applies all events to the state that the log adds to.
func (h *History) compute(ctx context.Context, timeline *replay.Timeline) (*features.State, error) {
	base, err := logBase(h.Data, h.State)
	if err != nil {
		return nil, err
	}
	state, last := features.New(h.State), uint64(0)
	if base = timeline.Base(base); base != nil {
		from, err := base.Load()
		if err != nil {
			return nil, err
		}
		if from != nil { // else it was counted with another configuration
			state = from
		}
	}
	included := state.Seq()
	err = timeline.Each(func(rec *event.Record, number uint64) bool {
		last = max(last, rec.Seq)
		if rec.Seq > included {
			state.Apply(rec)
		}
		if h.Progress != nil {
			h.Progress(int(number))
		}
		return ctx.Err() == nil
	})
	state.SkipTo(last)
	return state, errors.Join(err, ctx.Err())
}
