package ingest_test

import (
	"os"
	"path/filepath"
	"testing"

	"relish/features/ingest"
)

// A lock whose process id cannot be written is released again.
func TestLockIsReleasedIfItCannotBeWritten(t *testing.T) {
	if os.Geteuid() == 0 {
		return // root may write every file
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "lock")
	if err := os.WriteFile(file, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := ingest.Lock(dir); err == nil {
		t.Fatal("the lock was taken without the process id")
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	unlock, err := ingest.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
