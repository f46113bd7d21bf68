package pipeline

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/features/event"
	"relish/features/eventlog"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/training/replay"
)

// scan is the result of the first pass over the logs.
type scan struct {
	source *source // ends where the logs ended during the scan
	// catalogue is the items at the end of the logs, sorted by id; nil in a training without text.
	catalogue       []*ranker.ItemInfo
	externalColumns []string // columns of the newest external tables, "TABLE.COLUMN", sorted
	all             counts
	// sinceParent and sinceActive are the newest part of the log, which the parent and the active
	// bundle were not trained on: everything if there is no such bundle.
	sinceParent, sinceActive newPart
	incomplete               []incompleteLog
}

// incompleteLog is a log that ends with a part of a record.
type incompleteLog struct {
	dir   string
	bytes int // after the last complete record
}

// newPart is the part of the log after the last record that a bundle was trained on.
type newPart struct {
	counts
	from uint64 // its first number
}

// add counts a record, and starts again if the bundle was trained on it.
func (p *newPart) add(
	rec *event.Record, number uint64, trainedOn *bundle.TrainingData, isCounted bool,
) {
	if replay.HasLearned(trainedOn, rec) {
		*p = newPart{newCounts(), number + 1}
		return
	}
	p.counts.add(&rec.Event, isCounted)
}

// counts has the number of impressions and interactions in a part of the logs.
type counts struct {
	impressions int
	unlinked    int                 // interactions that name no impression
	clicked     map[uint64]struct{} // ids of impressions with a follow-up, hashed
}

func newCounts() counts { return counts{clicked: map[uint64]struct{}{}} }

// add counts one event. isCounted says whether the state counts the event's action.
func (c *counts) add(e *ranker.Event, isCounted bool) {
	switch {
	case e.Kind == ranker.EventImpression:
		c.impressions++
	case e.Kind == ranker.EventInteraction && isCounted && e.ImpressionID != "":
		c.clicked[xxhash.Sum64String(e.ImpressionID)] = struct{}{}
	case e.Kind == ranker.EventInteraction && isCounted:
		c.unlinked++
	}
}

// lists returns the number of lists of which a holdout is a share, see replay.Log.HoldoutStart.
// sampled says whether lists are sampled as well.
func (c *counts) lists(sampled bool) float64 {
	if sampled {
		return float64(c.impressions + c.unlinked)
	}
	return float64(c.impressions)
}

// measurable estimates how many of the lists a bundle can be measured on: those with clicks, and
// about every second interaction, because there is no sampled list for repeated ones.
func (c *counts) measurable(sampled bool) float64 {
	n := float64(len(c.clicked))
	if sampled {
		n += float64(c.unlinked) / 2
	}
	return n
}

// needsSampledLists estimates replay.Log.NeedsSampledLists before the lists are built. It counts
// each impression that a follow-up names, also one in which everything was clicked.
func (s *scan) needsSampledLists() bool { return len(s.all.clicked) < replay.MinClickedLists }

// scanLogs fixes where the logs end, puts their records in order, counts what is new, and makes
// sure that encoder has the vector of each text that any item ever had, in the catalogue or in a
// request.
func scanLogs(ctx context.Context, run *run, b *bundles, encoder *textEncoder) (*scan, error) {
	out := &scan{
		source: &source{
			dirs: run.opt.Logs, ids: run.opt.State.DedupeIDs, until: run.opt.Until,
		},
		all: newCounts(), sinceParent: newPart{counts: newCounts()},
		sinceActive: newPart{counts: newCounts()},
	}
	err := run.stage("scan", func() error { return out.read(ctx, run, b, encoder) })
	if err != nil {
		return nil, errors.Join(err, out.source.close())
	}
	return out, nil
}

func (s *scan) read(ctx context.Context, run *run, b *bundles, encoder *textEncoder) error {
	if err := s.source.open(ctx, run.workDir); err != nil {
		return err
	}
	parentData, activeData := trainedOn(b.parent), trainedOn(b.active.bundle)
	base := s.source.timeline.Base(run.opt.Base)
	texts := &textScan{newItemReplay(run.opt.State, base), encoder}
	var failed error
	err := s.source.inOrder(func(rec *event.Record, number uint64) bool {
		if number%cancelInterval == 0 {
			run.opt.Progress("scan", int(number), 0)
			failed = ctx.Err()
		}
		isCounted := slices.Contains(run.opt.State.Actions, rec.Event.Action)
		s.all.add(&rec.Event, isCounted)
		s.sinceParent.add(rec, number, parentData, isCounted)
		s.sinceActive.add(rec, number, activeData, isCounted)
		failed = errors.Join(failed, texts.add(ctx, rec))
		return failed == nil
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	tables := texts.items.state.TableDigests()
	if s.catalogue, err = s.encodeTexts(ctx, run.opt, encoder, texts); err != nil {
		return err
	}
	for _, dir := range run.opt.Logs {
		bytes, err := eventlog.IncompleteTail(dir)
		if err != nil {
			return err
		}
		if bytes > 0 {
			s.incomplete = append(s.incomplete, incompleteLog{dir, bytes})
		}
	}
	s.externalColumns = externalColumns(run.opt, tables)
	return nil
}

// encodeTexts encodes the texts that the scan has found, and returns the catalogue at the end of
// the logs, nil without text. An item that several events describe may have had other texts on the
// server than in the order in which things happened; these are encoded too.
func (s *scan) encodeTexts(
	ctx context.Context, opt *Options, encoder *textEncoder, texts *textScan,
) ([]*ranker.ItemInfo, error) {
	if encoder.vectors == nil {
		return nil, nil
	}
	if !s.source.timeline.InLogOrder() {
		var failed error
		texts = &textScan{newItemReplay(opt.State, opt.Base), encoder}
		err := s.source.inLogOrder(func(rec *event.Record, _ uint64) bool {
			failed = texts.add(ctx, rec)
			return failed == nil
		})
		if err := errors.Join(err, failed); err != nil {
			return nil, err
		}
	}
	return texts.items.state.Items(), encoder.vectors.encodePending(ctx)
}

// textScan collects the texts of items, record by record, for an encoder.
type textScan struct {
	items   *itemReplay
	encoder *textEncoder
}

func (t *textScan) add(ctx context.Context, rec *event.Record) error {
	infos, err := t.items.observe(rec, true)
	if err != nil || t.encoder.vectors == nil {
		return err
	}
	for _, info := range infos {
		if err := t.encoder.vectors.require(ctx, info); err != nil {
			return err
		}
	}
	return nil
}

// trainedOn returns what a bundle was trained on, nothing for nil.
func trainedOn(b *bundle.Bundle) *bundle.TrainingData {
	if b == nil {
		return &bundle.TrainingData{}
	}
	return &b.Manifest.Data
}

// externalColumns returns the columns of external tables as "TABLE.COLUMN".
func externalColumns(opt *Options, digests map[string]string) (names []string) {
	for _, table := range slices.Sorted(maps.Keys(digests)) {
		if t := opt.OpenTable(table, digests[table]); t != nil {
			for _, column := range t.Names() {
				names = append(names, table+"."+column)
			}
		}
	}
	return names
}
