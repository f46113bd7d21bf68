package embedded

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"relish/features"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/internal/durable"
)

// A store has a base if its log does not have everything that its state came from. A base has the
// format of a checkpoint, but reading the log in its order does not give it again. There are four:
//
//	base     a restored snapshot
//	cut      the state where retention cut the log: what came of the records that were dropped
//	kept     the state when records last left the log in another way: those of erased users, or
//	         its end that was lost; it keeps what came of them
//	ordered  the state after an import, if the log is not in the order in which things happened
//
// Each is the whole state at its sequence. A state is computed from the newest one. A replay
// passes from one to the next (see Bases).
func basePath(dir string) string    { return filepath.Join(dir, "base") }
func cutPath(dir string) string     { return filepath.Join(dir, "cut") }
func keptPath(dir string) string    { return filepath.Join(dir, "kept") }
func orderedPath(dir string) string { return filepath.Join(dir, "ordered") }

// Base is a state of a data folder that its log's records after Seq add to.
type Base struct {
	Seq  uint64
	path string
}

// Bases returns the bases of a data folder, the oldest first.
func Bases(dir string) (bases []Base, err error) {
	for _, path := range []string{basePath(dir), cutPath(dir), keptPath(dir), orderedPath(dir)} {
		head, err := stateHead(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = checkReplica(dir, head.Replica)
		}
		if err != nil {
			return nil, Base{path: path}.failure(err)
		}
		bases = append(bases, Base{head.Seq, path})
	}
	slices.SortStableFunc(bases, func(a, b Base) int { return cmp.Compare(a.Seq, b.Seq) })
	return bases, nil
}

// Load returns the state. It is nil if the state was counted with another configuration, so that
// what the log has must be counted again. A snapshot is an error then, because the log does not
// have what it counted.
func (b Base) Load(cfg features.Config) (*features.State, error) {
	s, err := readState(b.path, cfg)
	if errors.Is(err, features.ErrLayout) && filepath.Base(b.path) != "base" {
		return nil, nil
	}
	if err != nil {
		return nil, b.failure(err)
	}
	return s, nil
}

func (b Base) failure(err error) error {
	remedy := "restore it from a backup, or remove it to start without it"
	if errors.Is(err, errOtherLog) {
		remedy = "put the log that it came with back, or remove it to start without it"
	}
	if filepath.Base(b.path) == "base" {
		remedy = "restore it from the snapshot with relish rebuild --from"
	}
	return fmt.Errorf("read the base state %s: %w; %s", b.path, err, remedy)
}

// loadBase returns the newest base that includes no record after upTo, an empty state if there is
// none.
func loadBase(dir string, cfg features.Config, upTo uint64) (*features.State, error) {
	bases, err := Bases(dir)
	if err != nil {
		return nil, err
	}
	for _, b := range slices.Backward(bases) {
		if b.Seq > upTo {
			continue
		}
		if s, err := b.Load(cfg); s != nil || err != nil {
			return s, err
		}
	}
	return features.New(cfg), nil
}

// SetBase makes state the base of the store in dir. The next Open applies the log's records after
// the state's sequence to it. The caller must hold ingest.Lock(dir).
func SetBase(dir string, state *features.State) error {
	if err := writeState(durable.Disk, basePath(dir), state); err != nil {
		return err
	}
	for _, path := range []string{cutPath(dir), keptPath(dir), orderedPath(dir)} {
		if err := durable.Remove(durable.Disk, path); err != nil {
			return err
		}
	}
	return RemoveCheckpoint(dir)
}

// SetOrdered makes state, which includes the whole log, the state of the store in dir at the next
// Open. It replaces what the records give in the order of the log. The caller must hold
// ingest.Lock(dir).
func SetOrdered(dir string, state *features.State) error {
	if err := writeState(durable.Disk, orderedPath(dir), state); err != nil {
		return err
	}
	return RemoveCheckpoint(dir)
}

// OrderedSeq returns the sequence of the state that SetOrdered has made, 0 if there is none that
// was counted with this configuration.
func OrderedSeq(dir string, cfg features.Config) (uint64, error) {
	state, err := readState(orderedPath(dir), cfg)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, features.ErrLayout):
		return 0, nil
	case err != nil:
		return 0, Base{path: orderedPath(dir)}.failure(err)
	}
	return state.Seq(), nil
}

// RemoveCheckpoint removes the checkpoint, so that the next Open computes the state from base and
// log.
func RemoveCheckpoint(dir string) error {
	return durable.Remove(durable.Disk, filepath.Join(dir, "checkpoint"))
}

// advanceBase makes the state before the record first the cut, because retention is about to drop
// the records before it. It takes the memory of a second state while it runs.
func (s *Store) advanceBase(first uint64) error {
	s.baseMu.Lock()
	defer s.baseMu.Unlock()
	base, err := loadBase(s.dir, s.cfg, first-1)
	if err != nil {
		return err
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
	return writeState(s.fs, cutPath(s.dir), base)
}

// completeBase writes the present state as the cut if base and log do not add up to it, because an
// earlier version dropped records without one. A replay is then exact from now on.
func (s *Store) completeBase() error {
	first := s.FirstSeq()
	if first == 1 {
		return nil
	}
	bases, err := Bases(s.dir)
	if err != nil {
		return err
	}
	if n := len(bases); n > 0 && bases[n-1].Seq+1 >= first {
		return nil
	}
	return s.writeState(cutPath(s.dir))
}

// eraseBase removes erased users from the bases. The next save keeps the state, because the log
// and the older bases no longer have what was counted of these users.
func (s *Store) eraseBase(hashes map[string]uint64) error {
	s.baseMu.Lock()
	defer s.baseMu.Unlock()
	if err := durable.Remove(s.fs, keptPath(s.dir)); err != nil {
		return err
	}
	s.keep.request()
	for _, path := range []string{basePath(s.dir), cutPath(s.dir), orderedPath(s.dir)} {
		b, err := readState(path, s.cfg)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, features.ErrLayout) && path != basePath(s.dir) {
			if err := durable.Remove(s.fs, path); err != nil { // nothing reads it any more
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		for hash := range hashes {
			b.EraseUser(hash)
		}
		if err := writeState(s.fs, path, b); err != nil {
			return err
		}
	}
	return nil
}

// keepRequest says whether the next checkpoint becomes a base.
type keepRequest struct {
	pending bool
	number  int // of requests so far
}

func (k *keepRequest) request() { *k = keepRequest{pending: true, number: k.number + 1} }

// keepCheckpoint makes the checkpoint a base as well if records of erased users have left the log.
// Both files are only ever replaced, so they can be one. begun is what s.keep was when the save of
// the checkpoint began. A later request is left to the next save, because this checkpoint may still
// have the users who were erased meanwhile.
func (s *Store) keepCheckpoint(begun keepRequest) error {
	s.baseMu.Lock()
	defer s.baseMu.Unlock()
	if !begun.pending || s.keep != begun {
		return nil
	}
	if err := durable.Link(s.fs, s.checkpointPath(), keptPath(s.dir)); err != nil {
		return err
	}
	s.keep.pending = false
	return nil
}
