package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/training"
)

// found is what the first pass over the logs finds.
type found struct {
	ranges rangeList
	tables map[string]string // name -> digest of the newest version
	all    tally
	// What came after what the parent, or the running bundle, has learned from; all where there is none.
	sinceParent, sinceRunning tally
	parentEnd, runningEnd     uint64 // the first number that the parent, or the running bundle, has not learned from
}

// tally counts lists, and what lists can be made of.
type tally struct {
	impressions, steps int
	clicked            map[uint64]struct{} // impressions that were followed by something
}

func (t *tally) add(e *event.Event, counted bool) {
	switch {
	case e.Kind == event.EventImpression:
		t.impressions++
	case e.Kind == event.EventInteraction && counted:
		t.steps++
		if t.clicked != nil && e.ImpressionID != "" {
			t.clicked[xxhash.Sum64String(e.ImpressionID)] = struct{}{}
		}
	}
}

// lists are the impressions, or the interactions where there are none.
func (t *tally) lists() int {
	if t.impressions > 0 {
		return t.impressions
	}
	return t.steps
}

// survey walks the logs once: it fixes where they end, has every text encoded that any item ever had, and finds out
// what is new since the parent.
func (r *run) survey(ctx context.Context) error {
	r.source = &source{dirs: r.Logs, until: r.Until}
	f := &found{tables: map[string]string{}, parentEnd: math.MaxUint64, runningEnd: math.MaxUint64}
	f.sinceRunning.clicked = map[uint64]struct{}{}
	parent, running := learned(r.parent), learned(r.running.bundle)
	if r.Vectors != nil {
		r.vectors = newVectors(r.Vectors)
	}
	items := features.New(r.State)
	var failed error
	err := r.source.each(func(rec *event.Record, number uint64) bool {
		f.ranges.add(rec)
		if number%markEvery == 0 {
			r.Progress("survey", int(number), 0)
			failed = ctx.Err()
		}
		counted := slices.Contains(r.State.Actions, rec.Event.Action)
		f.all.add(&rec.Event, counted)
		if f.parentEnd == math.MaxUint64 && !parent.holds(rec) {
			f.parentEnd = number
		}
		if number >= f.parentEnd {
			f.sinceParent.add(&rec.Event, counted)
		}
		if !running.holds(rec) {
			f.runningEnd = min(f.runningEnd, number)
			f.sinceRunning.add(&rec.Event, counted)
		}
		switch rec.Event.Kind {
		case event.EventItem, event.EventDelete:
			if info := items.Apply(rec); info != nil && r.vectors != nil {
				failed = errors.Join(failed, r.vectors.need(ctx, info))
			}
		case event.EventTable:
			f.tables[rec.Event.Table] = rec.Event.Digest
		}
		return failed == nil
	})
	if r.vectors != nil && failed == nil {
		failed = r.vectors.encode(ctx)
	}
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	r.source.bound(f.ranges)
	r.found = f
	return nil
}

// learned is what a bundle has learned from, nothing where there is none.
func learned(b *bundle.Bundle) rangeList {
	if b == nil {
		return nil
	}
	return b.Manifest.Data.Logs
}

// tableColumns are the imported columns that the newest versions have.
func (r *run) tableColumns() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(r.found.tables)) {
		if c := r.OpenTable(name, r.found.tables[name]); c != nil {
			for _, column := range c.Names() {
				names = append(names, name+"."+column)
			}
		}
	}
	return names
}

// inputs are a training's on the bounded source.
func (r *run) inputs(holdout float64) training.Inputs {
	in := training.Inputs{Source: r.source.Records, State: r.State, OpenTable: r.OpenTable, TextSpec: r.State.Text, ExternalColumns: r.tableColumns(),
		Library: r.Library, Backend: r.Backend, WorkDir: r.work, Config: r.Config, Holdout: holdout, Progress: r.Progress}
	if r.vectors != nil {
		in.Vectors = r.vectors
	}
	return in
}

// vectors has all texts at hand: what the table lacks is encoded once and kept in memory.
type vectors struct {
	service ranker.Vectors
	extra   map[uint64][]float32
	seen    map[uint64]struct{}
	waiting []*ranker.ItemInfo
}

func newVectors(service ranker.Vectors) *vectors {
	return &vectors{service: service, extra: map[uint64][]float32{}, seen: map[uint64]struct{}{}}
}

// encodeChunk is how many texts are handed to the encoder at once.
const encodeChunk = 512

// need sees to it that the item's text will be at hand.
func (v *vectors) need(ctx context.Context, it *ranker.ItemInfo) error {
	if _, again := v.seen[it.TextKey]; again || it.TextKey == 0 {
		return nil
	}
	v.seen[it.TextKey] = struct{}{}
	if v.waiting = append(v.waiting, it); len(v.waiting) < encodeChunk {
		return nil
	}
	return v.encode(ctx)
}

// encode encodes what waits and is not at hand.
func (v *vectors) encode(ctx context.Context) error {
	missing, out := v.missing(v.waiting, make([][]float32, len(v.waiting)))
	v.service.Fetch(ctx, missing, out)
	if ctx.Err() != nil {
		return fmt.Errorf("encoding texts: %w", ctx.Err())
	}
	for i, it := range missing {
		if out[i] == nil {
			return errors.New("a text could not be encoded, see the log; --no-text trains without any")
		}
		v.extra[it.TextKey] = out[i]
	}
	v.waiting = v.waiting[:0]
	return nil
}

// missing returns the items whose texts are not at hand, with room for their vectors; the others' are put into out.
func (v *vectors) missing(items []*ranker.ItemInfo, out [][]float32) (missing []*ranker.ItemInfo, room [][]float32) {
	if v.Lookup(items, out) == 0 {
		return nil, nil
	}
	for i, it := range items {
		if out[i] == nil && it != nil && it.TextKey != 0 {
			missing = append(missing, it)
		}
	}
	return missing, make([][]float32, len(missing))
}

// Fetch implements ranker.Vectors. What is not at hand are texts of queries.
func (v *vectors) Fetch(ctx context.Context, items []*ranker.ItemInfo, out [][]float32) {
	missing, fresh := v.missing(items, out)
	v.service.Fetch(ctx, missing, fresh)
	for i, it := range items {
		if at := slices.Index(missing, it); at >= 0 {
			out[i] = fresh[at]
		}
	}
}

// Lookup implements ranker.Vectors.
func (v *vectors) Lookup(items []*ranker.ItemInfo, out [][]float32) (missing int) {
	if v.service.Lookup(items, out) == 0 {
		return 0
	}
	for i, it := range items {
		if out[i] != nil || it == nil || it.TextKey == 0 {
			continue
		}
		if out[i] = v.extra[it.TextKey]; out[i] == nil {
			missing++
		}
	}
	return missing
}
