package memory

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"relish/features"
	"relish/features/eventlog"
)

func (s *Store) checkpointPath() string { return filepath.Join(s.dir, "checkpoint") }

// restore loads the checkpoint, if it is sound, and applies the log's records after it.
func (s *Store) restore(cfg features.Config) error {
	if err := s.loadCheckpoint(cfg); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.opt.Log.Warn("the checkpoint is not used; replaying the log", "reason", err)
		}
		s.state, s.ids, s.erase.pending = features.New(cfg), newRecentIDs(cfg.DedupeIDs), nil
	}
	for rec, err := range eventlog.Read(LogDir(s.dir), s.state.Seq()+1) {
		var d *eventlog.Damage
		if errors.As(err, &d) {
			s.opt.Log.Error("the event log is damaged; serving goes on without these records", "file", d.File, "offset", d.Offset, "reason", d.Reason)
			continue
		}
		if err != nil {
			return err
		}
		s.ids.commit(rec.Event.ID)
		s.erase.see(&rec)
		s.state.Apply(&rec)
	}
	return s.erase.load(s.dir)
}

// loadCheckpoint reads state, event ids and pending erasures.
func (s *Store) loadCheckpoint(cfg features.Config) error {
	f, err := os.Open(s.checkpointPath())
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20) // ReadCheckpoint takes it over as it is, and reads no further than its end
	if s.state, err = features.ReadCheckpoint(cfg, in); err != nil {
		return err
	}
	s.ids = newRecentIDs(cfg.DedupeIDs)
	if err := s.ids.read(in); err != nil {
		return err
	}
	return json.NewDecoder(in).Decode(&s.erase.pending)
}

// checkpoint writes the state beside the old checkpoint, syncs it and takes its place. Reading goes
// on meanwhile, applying waits.
func (s *Store) checkpoint() error {
	s.checkpointMu.Lock()
	defer s.checkpointMu.Unlock()
	f, err := renameio.NewPendingFile(s.checkpointPath(), renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if err := s.writeState(f); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

func (s *Store) writeState(w io.Writer) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.state.WriteCheckpoint(w); err != nil {
		return err
	}
	if err := s.ids.write(w); err != nil {
		return err
	}
	s.erase.mu.Lock()
	defer s.erase.mu.Unlock()
	return json.NewEncoder(w).Encode(s.erase.pending)
}

// checkpointIfMoved writes a checkpoint when there are new records.
func (s *Store) checkpointIfMoved(context.Context) {
	s.mu.RLock()
	seq := s.state.Seq()
	s.mu.RUnlock()
	if seq == s.erase.lastCheckpoint.Swap(seq) {
		return
	}
	if err := s.checkpoint(); err != nil {
		s.opt.Log.Error("checkpoint failed; the next start takes longer", "reason", err)
	}
}
