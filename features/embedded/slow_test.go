package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"relish/features"
	"relish/features/embedded"
	"relish/features/ingest"
	"relish/internal/durable"
	"relish/ranker"
)

// stuck is a disk whose syncs, or whose writes of one file, wait for release.
type stuck struct {
	durable.FS
	path    string        // the file whose writes wait, instead of all syncs; "": none
	waiting chan struct{} // gets a value when something waits; nil: nothing waits
	release chan struct{}
}

type stuckFile struct {
	durable.File
	fs   *stuck
	path string
}

func (s *stuck) Create(path string) (durable.File, error) {
	f, err := s.FS.Create(path)
	return stuckFile{f, s, path}, err
}

func (s *stuck) wait() {
	if s.waiting != nil {
		s.waiting <- struct{}{}
		<-s.release
	}
}

func (f stuckFile) Sync() error {
	if f.fs.path == "" {
		f.fs.wait()
	}
	return f.File.Sync()
}

func (f stuckFile) Write(b []byte) (int, error) {
	if f.fs.path == f.path {
		f.fs.wait()
	}
	return f.File.Write(b)
}

// While the disk hangs in a sync, rankings read the state, an append ends with its context, and
// nothing is lost.
func TestHangingDiskStopsNoRanking(t *testing.T) {
	disk := &stuck{FS: durable.Disk}
	dir := filepath.Join(t.TempDir(), "d")
	s := open(t, dir, features.DefaultConfig(),
		embedded.Options{Ingest: ingest.Options{FS: disk}})
	add(t, s, click("first", clickUser, "i"))
	disk.waiting, disk.release = make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Append(ctx, []ranker.Event{click("second", clickUser, "i")})
		done <- err
	}()
	<-disk.waiting // the log waits for the disk
	if got := countClicks(t, s); got != 1 {
		t.Errorf("%d clicks, want the one that is acknowledged", got)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the append that waits for the disk: %v", err)
	}
	release := disk.release
	disk.waiting = nil
	close(release)
	add(t, s, click("third", clickUser, "i"))
	if got := countClicks(t, s); got != 3 {
		t.Errorf("%d clicks after the disk goes on, want 3", got)
	}
}

// While the disk hangs in the checkpoint, or in the file of remembered event ids, rankings read the
// state and events are acknowledged. The checkpoint has the state as of its begin, and a start
// applies the rest.
func TestHangingCheckpointStopsNothing(t *testing.T) {
	for _, name := range []string{"checkpoint", "journal"} {
		dir := filepath.Join(t.TempDir(), "d")
		disk := &stuck{
			FS: durable.Disk, path: filepath.Join(dir, name+durable.TempSuffix),
			waiting: make(chan struct{}), release: make(chan struct{}),
		}
		opt := embedded.Options{Ingest: ingest.Options{FS: disk, Checkpoint: time.Millisecond}}
		s := open(t, dir, features.DefaultConfig(), opt)
		add(t, s, click("first", clickUser, "i"))
		<-disk.waiting
		for i := range 20 {
			add(t, s, click(fmt.Sprint("e", i), clickUser, fmt.Sprint("i", i)))
			if got := countClicks(t, s); got != 2+i {
				t.Errorf("%d clicks, want %d", got, 2+i)
			}
		}
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		for writing := true; writing; { // until both files are complete
			select {
			case disk.release <- struct{}{}:
			case <-disk.waiting:
			case err := <-closed:
				if writing = false; err != nil {
					t.Error(err)
				}
			}
		}
		disk.waiting = nil
		again := open(t, dir, features.DefaultConfig(), quick())
		if got := countClicks(t, again); got != 21 {
			t.Errorf("%d clicks after a restart, want 21", got)
		}
		out, err := again.Append(t.Context(), []ranker.Event{click("first", clickUser, "i")})
		if err != nil || !out[0].Duplicate {
			t.Errorf("a repeated event: %+v, %v", out, err)
		}
	}
}

// A checkpoint that was begun before a user was erased, and ends after their records have left the
// log, does not become a base: a replay would bring the user back.
func TestEraseDuringCheckpoint(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	disk := &stuck{
		FS: durable.Disk, path: filepath.Join(dir, "checkpoint"+durable.TempSuffix),
		waiting: make(chan struct{}), release: make(chan struct{}),
	}
	opt := embedded.Options{Ingest: ingest.Options{FS: disk, Checkpoint: time.Millisecond}}
	s := open(t, dir, features.DefaultConfig(), opt)
	add(t, s, click("first", clickUser, "i"))
	<-disk.waiting // the checkpoint has the user
	if err := s.EraseUser(t.Context(), clickUser); err != nil {
		t.Fatal(err)
	}
	erased := make(chan error, 1)
	go func() { erased <- s.EraseNow(t.Context()) }()
	for !s.KeepRequested() { // the records have left the log
		time.Sleep(time.Millisecond)
	}
	release := disk.release
	disk.waiting = nil
	close(release)
	if err := <-erased; err != nil {
		t.Fatal(err)
	}
	bases, err := embedded.Bases(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bases {
		state, err := b.Load(features.DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		if state.UserState(clickUser) != nil {
			t.Errorf("the base of record %d has the erased user", b.Seq)
		}
	}
	if len(bases) != 1 || bases[0].Seq != s.LastSeq() {
		t.Errorf("the bases are %+v, want one that includes the erasure", bases)
	}
}
