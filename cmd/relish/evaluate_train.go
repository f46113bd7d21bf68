package main

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"relish/features"
	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/journal"
	"relish/features/tables"
	"relish/ranker"
	"relish/ranker/match"
	"relish/training"
	"relish/training/evaluate"
	"relish/training/replay"
	"relish/training/trees"
)

// logSource reads the folder's log, up to its last whole record.
func logSource(data string) replay.Source {
	return func() iter.Seq2[event.Record, error] { return eventlog.Read(journal.LogDir(data), 1) }
}

// train implements evaluate.Trainer: nothing of what is trained stays but the model in memory.
func (l *lab) train(ctx context.Context, name string, on replay.Source, without []string) (evaluate.Scorer, *ranker.Schema, error) {
	assets, err := l.cmd.assets()
	if err != nil {
		return nil, nil, err
	}
	library, err := trees.Open(filepath.Join(assets, "lightgbm", "lib_lightgbm.so"))
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "relish-evaluate-*")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	in := training.Inputs{Source: on, State: l.cfg.State, OpenTable: tables.Opener(l.cmd.Data, l.cmd.logger()), Vectors: ranksWith(l.vectors),
		Text: l.cfg.Text, Library: library, Dir: dir, Config: l.cfg.Train, Without: without}
	if in.Tables, err = tableColumns(on, in.OpenTable); err != nil {
		return nil, nil, err
	}
	text := !slices.Contains(without, evaluate.Text)
	if !text {
		in.Vectors = nil
		in.Without = append(slices.DeleteFunc(slices.Clone(without), func(w string) bool { return w == evaluate.Text }), match.KindWords, match.KindTerms)
	}
	stages := stageProgress{what: name}
	in.Progress = stages.set
	trained, err := training.Train(ctx, in)
	stages.end()
	if err != nil {
		return nil, nil, err
	}
	s, err := l.scorer(name, trained.Model, text)
	return s, trained.Model.Schema, err
}

// tableColumns are the columns of the imported tables' newest versions, "TABLE.COLUMN".
func tableColumns(on replay.Source, open func(name, digest string) *features.Columns) (names []string, err error) {
	newest := map[string]string{}
	for rec, err := range on() {
		if err != nil {
			return nil, err
		}
		if rec.Event.Kind == event.Table {
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
func (l *lab) complete(part *evaluate.Part) error {
	if l.vectors == nil {
		return nil
	}
	items := part.Log.Catalogue.Items()
	if n := l.vectors.Lookup(items, make([][]float32, len(items))); n > 0 {
		return fmt.Errorf("%d texts have no vector yet: run relish embed on the folder first, or measure with --no-text", n)
	}
	return nil
}

// stageProgress shows one progress per stage of a training.
type stageProgress struct {
	what, stage string
	at          *progress
}

func (s *stageProgress) set(stage string, done, total int) {
	if stage != s.stage {
		s.end()
		s.stage, s.at = stage, newProgress(fmt.Sprintf("%s: %s", s.what, stage))
	}
	s.at.set(done, total)
}

func (s *stageProgress) end() {
	if s.at != nil {
		s.at.end()
	}
}
