package embedded

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
	"relish/features/ingest"
)

// A store that did not start with an empty state has a base: the state before the first record of
// its log, for example a restored snapshot. The base has the format of a checkpoint. Unlike a
// checkpoint it cannot be computed again from the log.
func basePath(dir string) string { return filepath.Join(dir, "base") }

// SetBase makes state the base of the store in dir. The next Open applies the log's records after
// the state's sequence to it. The caller must hold ingest.Lock(dir).
func SetBase(dir string, state *features.State) error {
	if err := writeState(basePath(dir), state); err != nil {
		return err
	}
	return RemoveCheckpoint(dir)
}

// RemoveCheckpoint removes the checkpoint, so that the next Open computes the state from base and
// log.
func RemoveCheckpoint(dir string) error {
	err := os.Remove(filepath.Join(dir, "checkpoint"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// loadBase returns the base, an empty state if there is none. A base that cannot be read is an
// error, because the state cannot be computed from the log alone.
func loadBase(dir string, cfg features.Config) (*features.State, error) {
	s, err := readState(basePath(dir), cfg)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return features.New(cfg), nil
	case err != nil:
		return nil, fmt.Errorf(
			"read the base state %s: %w; restore it from the snapshot with relish rebuild --from",
			basePath(dir), err,
		)
	}
	return s, nil
}

// eraseBase removes erased users from the base.
func (s *Store) eraseBase(hashes map[string]uint64) error {
	b, err := readState(basePath(s.dir), s.state.Config())
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
	return writeState(basePath(s.dir), b)
}

// LoadState returns the state of a data folder as of its last complete record. Another process may
// have the folder open.
func LoadState(dir string, cfg features.Config) (*features.State, error) {
	s, err := readState(filepath.Join(dir, "checkpoint"), cfg)
	if err != nil {
		if s, err = loadBase(dir, cfg); err != nil {
			return nil, err
		}
	}
	for rec, err := range eventlog.Read(ingest.LogDir(dir), s.Seq()+1) {
		if err != nil {
			return nil, err
		}
		s.Apply(&rec)
	}
	return s, nil
}

func readState(path string, cfg features.Config) (*features.State, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return features.ReadCheckpoint(cfg, bufio.NewReaderSize(f, 1<<20))
}

// writeState writes a state to a new file, makes it durable and renames it to path.
func writeState(path string, state *features.State) error {
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
