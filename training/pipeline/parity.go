package pipeline

import (
	"cmp"
	"context"
	"slices"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training"
	"relish/training/replay"
)

// parity says whether what was served is what a replay makes of the log: the hash of each matrix that the server noted,
// against the hash of the replayed one.
type parity struct {
	Checked, Differing int
	// Why nothing, or not all, was checked: "" where there was nothing to leave out.
	Left string
}

// parityLists bounds the impressions that are checked, the newest.
const parityLists = 2000

// answered is an impression that can be checked.
type answered struct {
	event.Answer
	model   string
	request ranker.Request
}

// checkParity replays the log once more and makes the matrix of each of the newest impressions anew, with the model that
// ranked it and with the events that its ranking had seen. What cannot be made again is left out: answers that lacked a
// part, that name fewer items than were ranked, or whose model is gone. Logs of several replicas are not checked: each has
// seen the others' events at times of its own.
func (r *run) checkParity(ctx context.Context) (*parity, error) {
	if len(r.Logs) > 1 {
		return &parity{Left: "the logs of several replicas: each had seen the others' events at times of its own"}, nil
	}
	models := map[string]*ranker.Model{}
	list, err := r.answered(models)
	if err != nil || len(list) == 0 {
		return &parity{}, err
	}
	state := features.New(r.State)
	state.OpenTable = r.OpenTable
	opt := ranker.Options{Features: training.ReplayedState{State: state}, Models: scorer.SingleModel(&ranker.Model{}), TextSpec: r.State.Text}
	switch {
	case r.base != nil:
		opt.Vectors = r.base
	case r.vectors != nil:
		opt.Vectors = r.vectors
	}
	pipeline, err := ranker.New(opt)
	if err != nil {
		return nil, err
	}
	out, next := &parity{}, 0
	var failed error
	err = r.source.each(func(rec *event.Record, number uint64) bool {
		for ; failed == nil && next < len(list) && list[next].StateSeq < number; next++ {
			failed = out.check(ctx, pipeline, &list[next], models)
		}
		state.Apply(rec)
		return failed == nil && next < len(list)
	})
	if err != nil {
		return nil, err
	}
	return out, failed
}

func (p *parity) check(ctx context.Context, pipeline *ranker.Pipeline, a *answered, models map[string]*ranker.Model) error {
	m, _, err := pipeline.Matrix(ctx, models[a.model], &a.request)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.Checked++
	if err != nil || m.Hash(a.request.Candidates) != a.MatrixHash {
		p.Differing++
	}
	return nil
}

// answered gathers what can be checked, in the order of what was known; models get the models that ranked it.
func (r *run) answered(models map[string]*ranker.Model) (list []answered, err error) {
	err = r.source.each(func(rec *event.Record, number uint64) bool {
		e := &rec.Event
		if e.Kind != event.EventImpression || e.Answer == nil || len(e.Answer.Degraded) > 0 || e.Answer.Interleaved != nil || !e.Answer.Replayable {
			return true
		}
		m, tried := models[e.Model]
		if !tried {
			m = r.ranked(e.Model)
			models[e.Model] = m
		}
		if m == nil || m.Schema.Hash() != e.Answer.SchemaHash {
			return true
		}
		a := answered{Answer: *e.Answer, model: e.Model, request: ranker.Request{ID: e.ID, User: e.UserID, Session: e.Session, Time: e.Time,
			Context: e.Context, Deadline: replay.OfflineDeadline}}
		a.Matrix = nil
		for i, id := range e.Shown {
			c := ranker.Candidate{ID: id}
			if e.Scores != nil && e.Scores[i] != 0 {
				c.Score, c.HasScore = float32(e.Scores[i]), true
			}
			a.request.Candidates = append(a.request.Candidates, c)
		}
		if list = append(list, a); len(list) >= 2*parityLists {
			list = slices.Delete(list, 0, parityLists)
		}
		return true
	})
	list = list[max(0, len(list)-parityLists):]
	slices.SortStableFunc(list, func(a, b answered) int { return cmp.Compare(a.StateSeq, b.StateSeq) })
	return list, err
}

// ranked is the model of a version that is still there and fits, nil without one.
func (r *run) ranked(version string) *ranker.Model {
	if version == ranker.PriorVersion {
		return r.Prior
	}
	if b := r.running.bundle; b != nil && b.Model.Version == version {
		return b.Model
	}
	if b, err := r.load(version); err == nil {
		return b.Model
	}
	return nil
}
