package ingest_test

import (
	"os"
	"path/filepath"
	"testing"

	"relish/features/ingest"
)

// A full disk does not keep a service from starting: the lock is taken without the process id. The
// lock file is a link to a device that refuses every write as a full disk does.
func TestLockOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/full", filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		unlock, err := ingest.Lock(dir)
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	}
}
