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

// parity says whether replay reproduces the feature matrices that were served. It compares the hash
// that the server logged with each impression with the hash of the replayed matrix.
type parity struct {
	Checked, Differing int
	Skipped            string // why nothing was checked, "" if there was nothing to skip
}

// maxParityLists bounds the impressions that are checked, the newest.
const maxParityLists = 2000

// checkedImpression is an impression whose matrix can be replayed.
type checkedImpression struct {
	*ranker.Impression
	request *ranker.Request
}

// checkParity replays the newest impressions with the model that ranked them and with the events
// that the server knew then.
//
// It skips impressions that cannot be reproduced: degraded answers, answers of which the record
// does not have everything, and those of a model that no longer exists. Logs of several
// replicas are not checked, because each replica received the other's events at its own time.
func checkParity(
	ctx context.Context,
	run *run,
	p *plan,
	encoder *textEncoder,
) (out *parity, err error) {
	err = run.stage("parity", func() error {
		out, err = replayMatrices(ctx, run.opt, p, encoder)
		return err
	})
	return out, err
}

func replayMatrices(
	ctx context.Context,
	opt *Options,
	p *plan,
	encoder *textEncoder,
) (*parity, error) {
	if len(opt.Logs) > 1 {
		return &parity{
			Skipped: "logs of several replicas, because each replica received the events of " +
				"the others at its own time",
		}, nil
	}
	models := map[string]*ranker.Model{}
	list, err := replayableImpressions(opt, p, models)
	if err != nil || len(list) == 0 {
		return &parity{}, err
	}
	state := features.New(opt.State)
	state.OpenTable = opt.OpenTable
	pipelineOptions := ranker.Options{
		Features: training.ReplayedState{State: state},
		Models:   scorer.SingleModel(&ranker.Model{}), TextSpec: opt.State.Text,
	}
	switch {
	case encoder.baseVectors != nil:
		pipelineOptions.Vectors = encoder.baseVectors
	case encoder.vectors != nil:
		pipelineOptions.Vectors = encoder.vectors
	}
	pipeline, err := ranker.New(pipelineOptions)
	if err != nil {
		return nil, err
	}
	out, next := &parity{}, 0
	var failed error
	base := opt.Base.Switch()
	err = p.scan.source.each(func(rec *event.Record, number uint64) bool {
		if failed = base.Before(rec, state); failed != nil {
			return false
		}
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

// check replays one impression. Only a cancelled context is an error.
func (p *parity) check(
	ctx context.Context,
	pipeline *ranker.Pipeline,
	a *checkedImpression,
	models map[string]*ranker.Model,
) error {
	m, _, err := pipeline.Matrix(ctx, models[a.Model], a.request)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.Checked++
	if err != nil || m.Hash(a.request.Candidates) != a.MatrixHash {
		p.Differing++
	}
	return nil
}

// replayableImpressions returns the impressions to check, in the order of the state that they were
// ranked with. It adds the models that ranked them to models, nil for a model that is gone.
func replayableImpressions(
	opt *Options,
	p *plan,
	models map[string]*ranker.Model,
) (list []checkedImpression, err error) {
	err = p.scan.source.each(func(rec *event.Record, _ uint64) bool {
		e := &rec.Event
		if e.Kind != ranker.EventImpression || !e.Impression.Replayable ||
			len(e.Impression.Degraded) > 0 {
			return true
		}
		impression := *e.Impression
		impression.Matrix = nil // not needed, and large
		model, known := models[impression.Model]
		if !known {
			model = findModel(opt, p.bundles, impression.Model)
			models[impression.Model] = model
		}
		if model == nil || model.Schema.Hash() != impression.SchemaHash {
			return true
		}
		a := checkedImpression{Impression: &impression, request: replay.ServedRequest(e)}
		if list = append(list, a); len(list) >= 2*maxParityLists {
			list = slices.Delete(list, 0, maxParityLists)
		}
		return true
	})
	list = list[max(0, len(list)-maxParityLists):]
	slices.SortStableFunc(list, func(a, b checkedImpression) int {
		return cmp.Compare(a.StateSeq, b.StateSeq)
	})
	return list, err
}

// findModel returns the model of a version, nil if it is gone or no longer fits.
func findModel(opt *Options, b *bundles, version string) *ranker.Model {
	if version == ranker.PriorVersion {
		return opt.Prior
	}
	if active := b.active.bundle; active != nil && active.Model.Version == version {
		return active.Model
	}
	if other, err := loadBundle(opt, version); err == nil {
		return other.Model
	}
	return nil
}
