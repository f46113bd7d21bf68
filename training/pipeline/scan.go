package pipeline

import (
	"context"
	"errors"
	"maps"
	"slices"

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
	log             *replay.Log
	all             counts
	// sinceParent and sinceActive are the newest part of the log, after the last record that the
	// parent and the active bundle were trained on: everything if there is no such bundle.
	sinceParent, sinceActive counts
	incomplete               []incompleteLog
}

// incompleteLog is a log that ends with a part of a record.
type incompleteLog struct {
	dir   string
	bytes int // after the last complete record
}

// counts has the number of lists in the newest part of the log.
type counts struct {
	from     uint64 // number of the part's first record
	shown    int    // impressions
	clicked  int    // of these, those that training can learn from, see replay.Log.ClickedLists
	unlinked int    // interactions that name no impression
}

// countFrom counts the part of the log from a number on.
func countFrom(log *replay.Log, from uint64) counts {
	out := counts{
		from: from, clicked: log.CountClickedLists(from), unlinked: log.CountUnlinked(from),
	}
	for i := range log.Lists {
		if log.Lists[i].Seq >= from {
			out.shown++
		}
	}
	return out
}

// lists returns the number of lists of which a holdout is a share, see replay.Log.HoldoutStart.
// sampled says whether lists are sampled as well.
func (c *counts) lists(sampled bool) float64 {
	if sampled {
		return float64(c.shown + c.unlinked)
	}
	return float64(c.shown)
}

// measurable estimates how many of the lists a bundle can be measured on: those with clicks, and
// about every second interaction, because there is no sampled list for repeated ones.
func (c *counts) measurable(sampled bool) float64 {
	n := float64(c.clicked)
	if sampled {
		n += float64(c.unlinked) / 2
	}
	return n
}

// scanLogs fixes where the logs end, puts their records in order, counts what is new, and makes
// sure that encoder has the vector of each text that any item ever had, in the catalogue or in a
// request.
func scanLogs(ctx context.Context, run *run, b *bundles, encoder *textEncoder) (*scan, error) {
	out := &scan{
		source: &source{
			dirs: run.opt.Logs, ids: run.opt.State.DedupeIDs, until: run.opt.Until,
		},
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
	var sinceParent, sinceActive uint64
	var failed error
	err := s.source.inOrder(func(rec *event.Record, number uint64) bool {
		if number%cancelInterval == 0 {
			run.opt.Progress("scan", int(number), 0)
			failed = ctx.Err()
		}
		if replay.HasLearned(parentData, rec) {
			sinceParent = number + 1
		}
		if replay.HasLearned(activeData, rec) {
			sinceActive = number + 1
		}
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
	in := run.inputs(&plan{scan: s}, encoder)
	if s.log, err = in.Scan(ctx); err != nil {
		return err
	}
	s.all = countFrom(s.log, 0)
	s.all.shown += s.log.DroppedLists
	s.sinceParent, s.sinceActive = countFrom(s.log, sinceParent), countFrom(s.log, sinceActive)
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
