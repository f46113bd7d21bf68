package memory

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"relish/features"
	"relish/features/eventlog"
	"relish/features/journal"
)

// A store that was started from elsewhere has a base: a state that the log's records come after. It has the
// form of a checkpoint, and unlike one it cannot be made again from the log.
func basePath(dir string) string { return filepath.Join(dir, "base") }

// Restore makes state the base of the store in dir: the log's records after its sequence come on top of it.
// The caller holds journal.Lock(dir); the next Open uses it.
func Restore(dir string, state *features.State) error {
	if err := save(basePath(dir), state); err != nil {
		return err
	}
	return Forget(dir)
}

// Forget removes the checkpoint, so that the next Open makes the state anew from base and log.
func Forget(dir string) error {
	err := os.Remove(filepath.Join(dir, "checkpoint"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// base returns the base, an empty state where there is none. One that cannot be read is an error: without it
// the log is not the whole truth.
func base(dir string, cfg features.Config) (*features.State, error) {
	s, err := load(basePath(dir), cfg)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return features.New(cfg), nil
	case err != nil:
		return nil, fmt.Errorf("%s: %w: run relish rebuild --from the snapshot again", basePath(dir), err)
	}
	return s, nil
}

// eraseBase takes forgotten users out of the base.
func (s *Store) eraseBase(hashes map[string]uint64) error {
	b, err := load(basePath(s.dir), s.state.Config())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for id := range b.Users() {
		if _, gone := hashes[features.UserHash(id)]; gone {
			b.PutUser(id, nil)
		}
	}
	return save(basePath(s.dir), b)
}

// State returns the state of a folder as of its last whole record, beside the process that writes it.
func State(dir string, cfg features.Config) (*features.State, error) {
	s, err := load(filepath.Join(dir, "checkpoint"), cfg)
	if err != nil {
		if s, err = base(dir, cfg); err != nil {
			return nil, err
		}
	}
	for rec, err := range eventlog.Read(journal.LogDir(dir), s.Seq()+1) {
		if err != nil {
			return nil, err
		}
		s.Apply(&rec)
	}
	return s, nil
}

func load(path string, cfg features.Config) (*features.State, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return features.ReadCheckpoint(cfg, bufio.NewReaderSize(f, 1<<20))
}

// save writes a state beside the old file, syncs it and takes its place.
func save(path string, state *features.State) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if err := state.WriteCheckpoint(f); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
