package pipeline

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/features"
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
	// sinceParent and sinceActive count the events that the parent and the active bundle were not
	// trained on: all events if there is no such bundle.
	sinceParent, sinceActive counts
	// parentEnd and activeEnd are the first numbers that those bundles were not trained on.
	parentEnd, activeEnd uint64
	incomplete           []incompleteLog
}

// incompleteLog is a log that ends with a part of a record.
type incompleteLog struct {
	dir   string
	bytes int // after the last complete record
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

// needsSampledLists reports whether lists are sampled, see replay.Log.NeedsSampledLists.
func (s *scan) needsSampledLists() bool { return len(s.all.clicked) < replay.MinClickedLists }

// scanLogs reads the logs once. It fixes where they end, counts what is new, and makes sure that
// encoder has the vector of each text that any item ever had, in the catalogue or in a request.
func scanLogs(ctx context.Context, run *run, b *bundles, encoder *textEncoder) (*scan, error) {
	out := &scan{
		source: &source{
			dirs: run.opt.Logs, ids: run.opt.State.DedupeIDs, until: run.opt.Until,
		},
		parentEnd: math.MaxUint64, activeEnd: math.MaxUint64,
		all: newCounts(), sinceParent: newCounts(), sinceActive: newCounts(),
	}
	err := run.stage("scan", func() error { return out.read(ctx, run, b, encoder) })
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *scan) read(ctx context.Context, run *run, b *bundles, encoder *textEncoder) error {
	parentRanges, activeRanges := trainedOn(b.parent), trainedOn(b.active.bundle)
	items, err := baseItems(run.opt)
	if err != nil {
		return err
	}
	for _, info := range items.Items() {
		if encoder.vectors == nil {
			break
		}
		if err := encoder.vectors.require(ctx, info); err != nil {
			return err
		}
	}
	tables := map[string]string{} // name -> digest of the newest version
	var all logRanges
	var failed error
	err = s.source.each(func(rec *event.Record, number uint64) bool {
		all.extend(rec)
		if number%markInterval == 0 {
			run.opt.Progress("scan", int(number), 0)
			failed = ctx.Err()
		}
		isCounted := slices.Contains(run.opt.State.Actions, rec.Event.Action)
		s.all.add(&rec.Event, isCounted)
		if s.parentEnd == math.MaxUint64 && !parentRanges.contains(rec) {
			s.parentEnd = number
		}
		if number >= s.parentEnd {
			s.sinceParent.add(&rec.Event, isCounted)
		}
		if !activeRanges.contains(rec) {
			s.activeEnd = min(s.activeEnd, number)
			s.sinceActive.add(&rec.Event, isCounted)
		}
		for _, info := range textsOf(rec, items) {
			if encoder.vectors != nil {
				failed = errors.Join(failed, encoder.vectors.require(ctx, info))
			}
		}
		if rec.Event.Kind == ranker.EventTable {
			tables[rec.Event.Table] = rec.Event.Digest
		}
		return failed == nil
	})
	if encoder.vectors != nil && failed == nil {
		failed = encoder.vectors.encodePending(ctx)
	}
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	if encoder.vectors != nil {
		s.catalogue = items.Items()
	}
	s.source.bound(all)
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

// baseItems returns a state that has the items of the base, an empty one without a base.
func baseItems(opt *Options) (*features.State, error) {
	if opt.Base == nil {
		return features.New(opt.State), nil
	}
	return opt.Base.Load()
}

// textsOf applies a record of an item to items. It returns the items that a replay reads with a
// text of this record: the described item, or those with content in the request of an impression.
func textsOf(rec *event.Record, items *features.State) (infos []*ranker.ItemInfo) {
	e := &rec.Event
	switch {
	case e.Kind == ranker.EventItem, e.Kind == ranker.EventDelete:
		if info := items.Apply(rec); info != nil {
			infos = append(infos, info)
		}
	case e.Kind == ranker.EventImpression && e.Impression.Scored != nil:
		for i := range e.Impression.Scored.Inline {
			inline := &e.Impression.Scored.Inline[i]
			infos = append(infos, items.InlineInfo(inline.ID, inline))
		}
	}
	return infos
}

// trainedOn returns the log ranges that a bundle was trained on, none for nil.
func trainedOn(b *bundle.Bundle) logRanges {
	if b == nil {
		return nil
	}
	return b.Manifest.Data.Logs
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
