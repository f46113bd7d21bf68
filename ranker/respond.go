package ranker

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"relish/internal/parallel"
)

// newResponse returns the answer and closes the timings. explanations is aligned with its first
// items.
func newResponse(run *run, r ranking, explanations []*Explanation) *Response {
	noAnswer, answered := r.noAnswer(run.req), r.answered(run.req)
	if noAnswer != nil && 1-*noAnswer < run.req.MinFit {
		answered, explanations = 0, nil
	}
	items := make([]RankedItem, answered)
	for i, e := range r.list.Entries[:len(items)] {
		scores := r.scores
		if r.team(i) == 1 {
			scores = r.second.scores
		}
		id := run.req.Candidates[e.Index].ID
		items[i] = RankedItem{ID: id, Rank: i + 1, Score: scores[e.Index]}
	}
	for i, x := range explanations {
		items[i].Explain = x
	}
	run.timing(StageTotal, run.start)
	resp := &Response{
		RequestID:   run.req.ID,
		Items:       items,
		Experiments: r.plan.servedArms(),
		NoAnswer:    noAnswer,
		Coverage:    run.coverage,
		Degraded:    run.degraded,
		Timings:     run.timings,
		ShortOfTime: run.short,
	}
	if r.model != nil {
		resp.Model = r.model.Version
	}
	return resp
}

// answered returns how many entries are in the answer.
func (r *ranking) answered(req *Request) int {
	n := len(r.list.Entries)
	if req.Limit > 0 {
		n = min(n, req.Limit)
	}
	return n
}

// record hands the impression to the recorder. A request that sets its own time, or that asks not
// to be recorded, leaves no trace. If caller has ended, nobody gets the answer, so the list was not
// shown: it is counted, not recorded.
func (p *Pipeline) record(caller context.Context, run *run, r ranking, resp *Response) {
	if p.opt.Recorder == nil || !run.req.Record || run.req.Time != 0 || len(resp.Items) == 0 {
		return
	}
	if caller.Err() != nil {
		p.unshown.Add(1)
		return
	}
	req, n := run.req, min(len(resp.Items), MaxImpressionItems)
	imp := &Impression{
		Served:    true,
		Context:   req.Context,
		Model:     resp.Model,
		Degraded:  resp.Degraded,
		StateHash: p.opt.StateHash,
		StateSeq:  r.inputs.signals.State.Seq,
		Took:      time.Since(run.start),
	}
	rows := make([]int, n)
	for i, e := range r.list.Entries[:n] {
		rows[i] = e.Index
	}
	recordItems(imp, req, rows)
	imp.Scored, imp.Replayable = recordScored(req, rows, len(r.list.Entries))
	recordArms(imp, r, resp, n)
	if r.list.Propensity != nil {
		imp.Propensity = slices.Clone(r.list.Propensity[:n])
	}
	if r.model != nil {
		imp.SchemaHash = r.model.Schema.Hash()
		imp.MatrixHash = r.matrix.HashRows(req.Candidates, rows)
		if sampledForLog(req.ID, p.opt.LogFeatures) {
			for _, row := range rows {
				imp.Matrix = append(imp.Matrix, r.matrix.Row(row)...)
			}
		}
		if s := imp.Scored; s.MissingOthers > 0 || s.MissingInline > 0 {
			s.Stats = r.matrix.statsOfList(r.model.Schema, rows)
		}
	}
	err := parallel.Catch(func() error {
		p.opt.Recorder.Record(&Event{Kind: EventImpression, ID: req.ID, Time: run.now,
			UserID: req.User, Session: req.Session, Impression: imp})
		return nil
	})
	if err != nil {
		run.fail("recorder", err)
	}
}

// sampledForLog reports whether a request is in the given share, 0 to 1, of requests. The id
// decides.
func sampledForLog(id string, share float64) bool {
	return float64(xxhash.Sum64String(id)>>11)/(1<<53) < share
}

func recordItems(imp *Impression, req *Request, rows []int) {
	imp.Items = make([]string, len(rows))
	for i, row := range rows {
		imp.Items[i] = req.Candidates[row].ID
	}
	imp.Scores = scoresOf(req, rows)
}

// recordArms records what an experiment report needs to know of the impression's n items.
func recordArms(imp *Impression, r ranking, resp *Response, n int) {
	imp.ExperimentsVersion = r.plan.version
	for i := range r.plan.assignments {
		a := &r.plan.assignments[i]
		switch {
		case a.Forced: // set by a person who tests: it counts for nothing
		case a.fellBack:
			if imp.Fallback == nil {
				imp.Fallback = map[string]string{}
			}
			imp.Fallback[a.Experiment] = a.Arm.Name
		case a.Parts == 0 || a.Parts&r.exposed != 0:
			imp.Exposed = append(imp.Exposed, a.Experiment)
		}
	}
	slices.Sort(imp.Exposed)
	if i := r.plan.interleaving(); i >= 0 {
		a := &r.plan.assignments[i]
		imp.Interleaved = &Interleaved{
			Experiment: a.Experiment,
			Arms:       [2]string{a.Control.Name, a.Arm.Name},
			Teams:      slices.Clone(r.teams[:n]),
		}
	}
	imp.Experiments = maps.Clone(resp.Experiments)
}
