package embedded

import (
	"bufio"
	"errors"
	"math"
	"os"
	"path/filepath"

	"relish/features"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/internal/durable"
)

// LoadState returns the state of a data folder as of its last complete record. Another process may
// have the folder open.
func LoadState(dir string, cfg features.Config) (*features.State, error) {
	s, _, err := loadNewest(dir, cfg)
	if err != nil {
		return nil, err
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

// stateHead returns what a written state includes.
func stateHead(path string) (features.CheckpointHead, error) {
	f, err := os.Open(path)
	if err != nil {
		return features.CheckpointHead{}, err
	}
	defer f.Close()
	return features.ReadCheckpointHead(f)
}

var (
	// errOtherLog says that a state came of another event log than the folder's.
	errOtherLog = errors.New("it belongs to another event log")
	// errOtherConfig says that a checkpoint was counted with other bounds, or by a version that did
	// not name them. With the present ones the log may give another state.
	errOtherConfig = errors.New("it was counted with another configuration")
)

// checkReplica fails if a state with this replica is not of the folder's log. States of older
// versions name no replica, and a log without segments has none yet.
func checkReplica(dir, replica string) error {
	log, err := eventlog.Replica(ingest.LogDir(dir))
	if err == nil && log != "" && replica != "" && log != replica {
		err = errOtherLog
	}
	return err
}

// readCheckpoint returns the state of the folder's checkpoint. With errOtherConfig it returns the
// state as well.
func readCheckpoint(dir string, cfg features.Config) (*features.State, error) {
	path := filepath.Join(dir, "checkpoint")
	s, err := readState(path, cfg)
	if err == nil {
		err = checkReplica(dir, s.Replica())
	}
	if err != nil {
		return nil, err
	}
	head, err := stateHead(path)
	if err == nil && head.Config != cfg.Hash() {
		err = errOtherConfig
	}
	return s, err
}

// loadNewest returns the newest state of the folder to which its log adds: the checkpoint or a
// base. unusable says why the checkpoint cannot be used, nil if it can.
func loadNewest(dir string, cfg features.Config) (s *features.State, unusable, err error) {
	first, err := eventlog.First(ingest.LogDir(dir))
	if err != nil {
		return nil, nil, err
	}
	s, unusable = readCheckpoint(dir, cfg)
	if unusable == nil && first <= s.Seq()+1 {
		return s, nil, nil
	}
	base, err := loadBase(dir, cfg, math.MaxUint64)
	switch {
	case err != nil:
		return nil, unusable, err
	case s != nil && first > base.Seq()+1:
		// Neither the base nor the log has the records between them any more.
		return s, nil, nil
	case unusable == nil && base.Seq() <= s.Seq():
		return s, nil, nil
	}
	// If the checkpoint is usable, retention has dropped records after it: the base is the cut,
	// which has what came of them.
	return base, unusable, nil
}

func writeState(fsys durable.FS, path string, state *features.State) error {
	return durable.Replace(fsys, path, state.WriteCheckpoint)
}
