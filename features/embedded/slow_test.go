package embedded_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"relish/features"
	"relish/features/embedded"
	"relish/features/ingest"
	"relish/internal/durable"
	"relish/ranker"
)

// stuck is a disk whose syncs wait for release.
type stuck struct {
	durable.FS
	syncing chan struct{} // gets a value when a sync waits; nil: syncs do not wait
	release chan struct{}
}

type stuckFile struct {
	durable.File
	fs *stuck
}

func (s *stuck) Create(path string) (durable.File, error) {
	f, err := s.FS.Create(path)
	return stuckFile{f, s}, err
}

func (f stuckFile) Sync() error {
	if f.fs.syncing != nil {
		f.fs.syncing <- struct{}{}
		<-f.fs.release
	}
	return f.File.Sync()
}

// While the disk hangs in a sync, rankings read the state, an append ends with its context, and
// nothing is lost.
func TestHangingDiskStopsNoRanking(t *testing.T) {
	disk := &stuck{FS: durable.Disk}
	dir := filepath.Join(t.TempDir(), "d")
	s := open(t, dir, features.DefaultConfig(),
		embedded.Options{Ingest: ingest.Options{FS: disk}})
	add(t, s, click("first", clickUser, "i"))
	disk.syncing, disk.release = make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Append(ctx, []ranker.Event{click("second", clickUser, "i")})
		done <- err
	}()
	<-disk.syncing // the log waits for the disk
	if got := countClicks(t, s); got != 1 {
		t.Errorf("%d clicks, want the one that is acknowledged", got)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the append that waits for the disk: %v", err)
	}
	release := disk.release
	disk.syncing = nil
	close(release)
	add(t, s, click("third", clickUser, "i"))
	if got := countClicks(t, s); got != 3 {
		t.Errorf("%d clicks after the disk goes on, want 3", got)
	}
}
