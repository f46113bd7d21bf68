package main

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"relish/evaluation"
	"relish/features"
	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/external"
	"relish/features/ingest"
	"relish/ranker"
	"relish/ranker/signals"
	"relish/training"
	"relish/training/gbdt"
	"relish/training/replay"
)

// logSource reads the folder's log, up to its last whole record.
func logSource(data string) replay.Source {
	return func() iter.Seq2[event.Record, error] { return eventlog.Read(ingest.LogDir(data), 1) }
}

// train implements evaluate.Trainer: nothing of what is trained stays but the model in memory.
func (l *lab) train(ctx context.Context, name string, on replay.Source, without []string) (evaluation.Scorer, *ranker.Schema, error) {
	in, err := l.inputs(on, without)
	if err != nil {
		return nil, nil, err
	}
	backend, err := l.cmd.openBackend()
	if err != nil {
		return nil, nil, err
	}
	defer backend.Finalize()
	in.Backend = backend
	if in.WorkDir, err = os.MkdirTemp("", "relish-evaluate-*"); err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(in.WorkDir)
	stages := stageProgress{what: name}
	in.Progress = stages.set
	trained, err := training.Train(ctx, in)
	stages.end()
	if err != nil {
		return nil, nil, err
	}
	s, err := l.scorer(name, trained.Model, in.Vectors != nil)
	return s, trained.Model.Schema, err
}

// inputs are a training's. Without text it gets neither vectors nor words.
func (l *lab) inputs(on replay.Source, without []string) (in training.Inputs, err error) {
	assets, err := l.cmd.assets()
	if err != nil {
		return in, err
	}
	in = training.Inputs{Source: on, State: l.cfg.State, OpenTable: external.Opener(l.cmd.Data, l.cmd.logger()), TextSpec: l.cfg.Text, Config: l.cfg.Train}
	if in.Library, err = gbdt.Open(filepath.Join(assets, "lightgbm", "lib_lightgbm.so")); err != nil {
		return in, err
	}
	if in.ExternalColumns, err = tableColumns(on, in.OpenTable); err != nil {
		return in, err
	}
	for _, name := range without {
		if name == evaluation.TextGroup {
			in.Exclude = append(in.Exclude, signals.KindTokenOverlap, signals.KindLexical)
		} else {
			in.Exclude = append(in.Exclude, name)
		}
	}
	if !slices.Contains(without, evaluation.TextGroup) {
		in.Vectors = ranksWith(l.vectors)
	}
	return in, nil
}

// tableColumns are the columns of the imported tables' newest versions, "TABLE.COLUMN".
func tableColumns(on replay.Source, open func(name, digest string) *features.ExternalTable) (names []string, err error) {
	newest := map[string]string{}
	for rec, err := range on() {
		if err != nil {
			return nil, err
		}
		if rec.Event.Kind == event.EventTable {
			newest[rec.Event.Table] = rec.Event.Digest
		}
	}
	for _, name := range slices.Sorted(maps.Keys(newest)) {
		if t := open(name, newest[name]); t != nil {
			for _, column := range t.Names() {
				names = append(names, name+"."+column)
			}
		}
	}
	return names, nil
}

// complete is an error where a text has no vector yet: a training learns from all of them, and would do without.
func (l *lab) complete(part *evaluation.TestSet) error {
	if l.vectors == nil {
		return nil
	}
	items := part.Log.Catalogue.Items()
	if n := l.vectors.Lookup(items, make([][]float32, len(items))); n > 0 {
		return fmt.Errorf("%d texts have no vector yet: run relish embed on the folder first, or measure with --no-text", n)
	}
	return nil
}

// stageProgress shows one progress per stage of a training, whose first word comes at once: a stage may say in its name how
// well it goes.
type stageProgress struct {
	what, stage string
	at          *progress
}

func (s *stageProgress) set(stage string, done, total int) {
	if stage != s.stage {
		s.end()
		s.stage, s.at = stage, newProgress(fmt.Sprintf("%s: %s", s.what, stage))
		s.at.last = time.Time{}
	}
	s.at.set(done, total)
}

func (s *stageProgress) end() {
	if s.at != nil {
		s.at.end()
	}
}
