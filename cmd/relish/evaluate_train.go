package main

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"

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
		Text: l.cfg.Text, Library: library, Dir: dir, Config: training.DefaultConfig(), Without: without}
	for _, t := range l.cfg.Tables {
		in.Tables = append(in.Tables, t.Column)
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
