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

// A store has a base if its log does not have everything that its state came from: the state before
// the first record of the log. A base has the format of a checkpoint, but it cannot be computed
// again. There are two:
//
//	base  a restored snapshot
//	cut   the state where retention cut the log: base and the records that were dropped since
//
// The cut includes the base, so it is used if there is one.
func basePath(dir string) string { return filepath.Join(dir, "base") }
func cutPath(dir string) string  { return filepath.Join(dir, "cut") }

// SetBase makes state the base of the store in dir. The next Open applies the log's records after
// the state's sequence to it. The caller must hold ingest.Lock(dir).
func SetBase(dir string, state *features.State) error {
	if err := writeState(basePath(dir), state); err != nil {
		return err
	}
	if err := removeIfExists(cutPath(dir)); err != nil {
		return err
	}
	return RemoveCheckpoint(dir)
}

// RemoveCheckpoint removes the checkpoint, so that the next Open computes the state from base and
// log.
func RemoveCheckpoint(dir string) error {
	return removeIfExists(filepath.Join(dir, "checkpoint"))
}

func removeIfExists(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// LoadBase returns the state that the log's records add to, an empty state if the log has
// everything. A base that cannot be read is an error, because the state cannot be computed from the
// log alone. A cut that was counted with another configuration is left out, as the records before
// it are: the log has what can be counted again.
func LoadBase(dir string, cfg features.Config) (*features.State, error) {
	s, err := readState(cutPath(dir), cfg)
	if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, features.ErrLayout) {
		return s, baseError(cutPath(dir), err, "or remove it to start with the log alone")
	}
	s, err = readState(basePath(dir), cfg)
	if errors.Is(err, fs.ErrNotExist) {
		return features.New(cfg), nil
	}
	return s, baseError(basePath(dir), err,
		"restore it from the snapshot with relish rebuild --from")
}

// BaseSeq returns the last record that the base of a data folder includes. found is false if there
// is no base.
func BaseSeq(dir string) (seq uint64, found bool, err error) {
	for _, path := range []string{cutPath(dir), basePath(dir)} {
		seq, err := stateSeq(path)
		if err == nil {
			return seq, true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return 0, false, baseError(path, err, "restore the file from a backup")
		}
	}
	return 0, false, nil
}

func baseError(path string, err error, remedy string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read the base state %s: %w; %s", path, err, remedy)
}

// advanceBase makes the state before the record first the cut, because retention is about to drop
// the records before it. It takes the memory of a second state while it runs.
func (s *Store) advanceBase(first uint64) error {
	s.baseMu.Lock()
	defer s.baseMu.Unlock()
	base, err := LoadBase(s.dir, s.cfg)
	if err != nil {
		return err
	}
	if base.Seq()+1 >= first {
		return nil
	}
	for rec, err := range eventlog.Read(ingest.LogDir(s.dir), base.Seq()+1) {
		if d := new(eventlog.Damage); err != nil && !errors.As(err, &d) {
			return err
		}
		if err == nil && rec.Seq >= first {
			break
		}
		if err == nil {
			base.Apply(&rec)
		}
	}
	base.SkipTo(first - 1)
	return writeState(cutPath(s.dir), base)
}

// completeBase writes the present state as the cut if base and log do not add up to it, because an
// earlier version dropped records without one. A replay is then exact from now on.
func (s *Store) completeBase() error {
	first := s.FirstSeq()
	if first == 1 {
		return nil
	}
	base, _, err := BaseSeq(s.dir)
	if err != nil || base+1 >= first {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return writeState(cutPath(s.dir), s.state)
}

// eraseBase removes erased users from base and cut.
func (s *Store) eraseBase(hashes map[string]uint64) error {
	s.baseMu.Lock()
	defer s.baseMu.Unlock()
	for _, path := range []string{basePath(s.dir), cutPath(s.dir)} {
		b, err := readState(path, s.cfg)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, features.ErrLayout) && path == cutPath(s.dir) {
			if err := os.Remove(path); err != nil { // nothing reads it any more
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		for id := range b.Users() {
			if _, gone := hashes[features.UserHash(id)]; gone {
				b.PutUser(id, nil)
			}
		}
		if err := writeState(path, b); err != nil {
			return err
		}
	}
	return nil
}

// LoadState returns the state of a data folder as of its last complete record. Another process may
// have the folder open.
func LoadState(dir string, cfg features.Config) (*features.State, error) {
	s, err := readState(filepath.Join(dir, "checkpoint"), cfg)
	if err != nil {
		if s, err = LoadBase(dir, cfg); err != nil {
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

// stateSeq returns the sequence of a written state.
func stateSeq(path string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return features.CheckpointSeq(f)
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
