package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"relish/features"
	"relish/features/event"
	"relish/internal/plural"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/scorer"
	"relish/training"
	"relish/training/replay"
)

const (
	// maxParityLists bounds the lists of one combination of kinds whose matrices are compared, the
	// newest. So every kind is checked, however rare it is.
	maxParityLists = 1000
	// maxMismatch is the largest share of differing matrices that a training accepts.
	maxMismatch = 0.01
)

// parity says whether replay reproduces the feature matrices that were served. It compares the hash
// that the server logged with each impression with the hash of the replayed matrix.
type parity struct {
	all     parityCount
	kinds   map[string]*parityCount // by kind of list
	reasons map[string]int          // why lists cannot be reproduced -> number of lists
	// columns counts the differing lists by column, as far as the log has the served matrix.
	columns map[string]int
}

// parityCount counts lists that Relish ranked.
type parityCount struct {
	lists     int
	equal     int // the replayed matrix has the same hash
	differing int // it has another one, and nothing explains that
	// impossible lists cannot be reproduced, see unreproducible.
	impossible int
}

// count adds one list to the total and to each of its kinds.
func (p *parity) count(kinds []string, add func(*parityCount)) {
	add(&p.all)
	for _, kind := range kinds {
		if p.kinds[kind] == nil {
			p.kinds[kind] = &parityCount{}
		}
		add(p.kinds[kind])
	}
}

// mismatch returns the share of the compared matrices that differ, 0 to 1.
func (c *parityCount) mismatch() float64 {
	return float64(c.differing) / float64(max(1, c.equal+c.differing))
}

// servedModel is a model that ranked lists, as it is now.
type servedModel struct {
	model   *ranker.Model // nil if it cannot be loaded
	missing string        // why it cannot be loaded
}

// servedList is a list that Relish ranked.
type servedList struct {
	*ranker.Impression
	replica string
	request *ranker.Request
	kinds   []string
	// unsure says why the matrix may differ although nothing is wrong, "" if it must be equal.
	unsure string
}

// checkParity replays the lists that Relish ranked, with the models that ranked them and with the
// events that the server knew then. Above maxMismatch differing matrices it returns an error,
// unless the configuration allows them: the model would be trained on other values than it serves.
func checkParity(
	ctx context.Context, run *run, b *bundles, s *scan, encoder *textEncoder,
) (out *parity, err error) {
	err = run.stage("parity", func() error {
		out, err = compareMatrices(ctx, run, b, s, encoder)
		return err
	})
	if err != nil || run.opt.Config.AllowMismatch || out.all.mismatch() <= maxMismatch {
		return out, err
	}
	return nil, out.mismatchError()
}

func compareMatrices(
	ctx context.Context, run *run, b *bundles, s *scan, encoder *textEncoder,
) (*parity, error) {
	out := &parity{
		kinds: map[string]*parityCount{}, reasons: map[string]int{}, columns: map[string]int{},
	}
	models := map[string]servedModel{}
	lists, err := out.servedLists(ctx, run.opt, b, s, models)
	if err != nil || len(lists) == 0 {
		return out, err
	}
	state := features.New(run.opt.State)
	state.OpenTable = run.opt.OpenTable
	pipelineOptions := ranker.Options{
		Features: training.ReplayedState{State: state},
		Models:   scorer.SingleModel(&ranker.Model{}), TextSpec: run.opt.State.Text,
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
	done, total := 0, 0
	for _, queue := range lists {
		total += len(queue)
	}
	var failed error
	base := run.opt.Base.Switch()
	err = s.source.inLogOrder(func(rec *event.Record, _ uint64) bool {
		if failed = base.Before(rec, state); failed != nil {
			return false
		}
		queue := lists[rec.Replica]
		for failed == nil && len(queue) > 0 && queue[0].StateSeq < rec.Seq {
			failed = out.compare(ctx, pipeline, &queue[0], models)
			queue = queue[1:]
			if done++; done%100 == 0 {
				run.opt.Progress("parity", done, total)
			}
		}
		lists[rec.Replica] = queue
		state.Apply(rec)
		return failed == nil && done < total
	})
	return out, cmp.Or(failed, err)
}

// servedLists returns the lists to compare, by replica, in the order of the state that they were
// ranked with. It counts those that cannot be reproduced. It adds the models that ranked the lists
// to models, by version.
func (p *parity) servedLists(
	ctx context.Context, opt *Options, b *bundles, s *scan, models map[string]servedModel,
) (map[string][]servedList, error) {
	byKinds := map[string][]servedList{}
	log := newLogHistory(opt)
	err := s.source.inLogOrder(func(rec *event.Record, _ uint64) bool {
		log.observe(rec)
		e := &rec.Event
		if e.Kind != ranker.EventImpression || !e.Impression.Served {
			return true
		}
		version := e.Impression.Model
		if _, known := models[version]; !known {
			models[version] = findModel(ctx, opt, b, version)
		}
		kinds := kindsOf(e.Impression, log)
		reason := unreproducible(e.Impression, models[version], log)
		p.count(kinds, func(c *parityCount) { c.lists++ })
		if reason != "" {
			p.reasons[reason]++
			p.count(kinds, func(c *parityCount) { c.impossible++ })
			return true
		}
		key := strings.Join(kinds, "|")
		byKinds[key] = append(byKinds[key], servedList{
			e.Impression, rec.Replica, replay.ServedRequest(e), kinds, log.unsure(e.Impression),
		})
		if list := byKinds[key]; len(list) >= 2*maxParityLists {
			byKinds[key] = slices.Delete(list, 0, maxParityLists)
		}
		return true
	})
	out := map[string][]servedList{}
	for _, list := range byKinds {
		for _, x := range list[max(0, len(list)-maxParityLists):] {
			out[x.replica] = append(out[x.replica], x)
		}
	}
	for _, queue := range out {
		slices.SortStableFunc(queue, func(a, b servedList) int {
			return cmp.Compare(a.StateSeq, b.StateSeq)
		})
	}
	return out, cmp.Or(err, ctx.Err()) // cancelled, a bundle could not be loaded
}

// compare replays one list. Only a cancelled context is an error.
func (p *parity) compare(
	ctx context.Context, pipeline *ranker.Pipeline, x *servedList, models map[string]servedModel,
) error {
	m, _, err := pipeline.Matrix(ctx, models[x.Model].model, x.request)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil && m.Hash(x.request.Candidates) == x.MatrixHash:
		p.count(x.kinds, func(c *parityCount) { c.equal++ })
	case x.unsure != "":
		p.reasons[x.unsure]++
		p.count(x.kinds, func(c *parityCount) { c.impossible++ })
	default:
		p.count(x.kinds, func(c *parityCount) { c.differing++ })
		if err == nil {
			p.countColumns(m, x.Matrix)
		}
	}
	return nil
}

// countColumns counts the columns in which a replayed matrix differs from the served one.
func (p *parity) countColumns(m *ranker.Matrix, served []float32) {
	if len(served) != len(m.Data) {
		return // the log does not have it
	}
	width := len(m.Columns)
	for c, column := range m.Columns {
		for i := c; i < len(served); i += width {
			if x, y := served[i], m.Data[i]; x != y && (x == x || y == y) {
				p.columns[column.Name]++
				break
			}
		}
	}
}

// mismatchError says which lists and columns differ, and what to do.
func (p *parity) mismatchError() error {
	var kinds []string
	for _, kind := range p.sortedKinds() {
		if c := p.kinds[kind]; c.differing > 0 {
			kinds = append(kinds, fmt.Sprintf("%s %d of %d", kind, c.differing,
				c.equal+c.differing))
		}
	}
	columns := "The log has no served matrices to name the columns: serve with --log-features 0.1"
	if len(p.columns) > 0 {
		columns = "Columns: " + strings.Join(p.columnCounts(), ", ")
	}
	return fmt.Errorf("%d of %d served feature matrices differ from their replay (%s), so the "+
		"model would be trained on other values than it serves; up to %.0f %% is accepted. %s. "+
		"Check for a missing table or encoder, and for replicas with different clocks. To train "+
		"all the same, pass --allow-mismatch",
		p.all.differing, p.all.equal+p.all.differing, strings.Join(kinds, ", "), 100*maxMismatch,
		columns)
}

// columnCounts returns the columns that differ in most lists, with the number of lists.
func (p *parity) columnCounts() (out []string) {
	const most = 10
	names := make([]string, 0, len(p.columns))
	for name := range p.columns {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(p.columns[b], p.columns[a]), cmp.Compare(a, b))
	})
	for _, name := range names[:min(most, len(names))] {
		out = append(out, fmt.Sprintf("%s (%s)", name, plural.Count(p.columns[name], "list")))
	}
	if rest := len(names) - most; rest > 0 {
		out = append(out, fmt.Sprintf("%d more", rest))
	}
	return out
}

// findModel returns the model of a version.
func findModel(
	ctx context.Context, opt *Options, b *bundles, version string,
) servedModel {
	if version == ranker.PriorVersion {
		return servedModel{model: opt.Prior}
	}
	if active := b.active.bundle; active != nil && active.Model.Version == version {
		return servedModel{model: active.Model}
	}
	other, err := loadBundle(ctx, opt, version)
	switch {
	case err == nil:
		return servedModel{model: other.Model}
	case !bundle.IsVersion(version), errors.Is(err, fs.ErrNotExist):
		return servedModel{missing: "the model that ranked it is gone"}
	}
	return servedModel{missing: "the bundle that ranked it does not fit this configuration"}
}
