package ingest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gofrs/flock"

	"relish/features/ingest"
)

// A lock whose process id cannot be written is released again. The lock file is a link to a device
// that refuses every write as a full disk does.
func TestLockIsReleasedIfItCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/full", filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := ingest.Lock(dir); err == nil {
		t.Fatal("the lock was taken without the process id")
	}
	l := flock.New("/dev/full")
	if ok, err := l.TryLock(); err != nil || !ok {
		t.Fatalf("the lock is still held: %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
}
