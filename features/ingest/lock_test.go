package ingest_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/ranker"
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

// A folder in place of the lock file is named, with what to do.
func TestLockIsAFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lock"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := ingest.Lock(dir); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("locked with %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	unlock, err := ingest.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// A process whose lock file somebody has removed or replaced writes nothing more: another process
// may have locked the folder meanwhile, and both would give their records the same sequences.
func TestLockIsLost(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(dir string) error
	}{
		{"lock removed", func(dir string) error { return os.Remove(filepath.Join(dir, "lock")) }},
		{"folder replaced by a copy", func(dir string) error {
			return errors.Join(os.Rename(dir, dir+"-old"), os.CopyFS(dir, os.DirFS(dir+"-old")))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			first := lockAndOpen(t, dir)
			if _, err := first.Append(t.Context(), []ranker.Event{click("1", "a")}); err != nil {
				t.Fatal(err)
			}
			if err := c.lose(dir); err != nil {
				t.Fatal(err)
			}
			second := lockAndOpen(t, dir)
			for range 2 {
				_, err := first.Append(t.Context(), []ranker.Event{click("2", "a")})
				if !errors.Is(err, ranker.ErrLogUnavailable) {
					t.Fatalf("the first process: %v, want that the log is unavailable", err)
				}
			}
			write(t, second, click("3", "a"))
			before, err := os.ReadFile(filepath.Join(dir, "journal"))
			if err != nil {
				t.Fatal(err)
			}
			if err := first.Close(); err == nil {
				t.Error("the first process has closed without an error")
			}
			after, err := os.ReadFile(filepath.Join(dir, "journal"))
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("the first process has replaced the checkpoint (%v)", err)
			}
			var ids []string
			for rec, err := range eventlog.Read(ingest.LogDir(dir), 1) {
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, rec.Event.ID)
			}
			if !slices.Equal(ids, []string{"1", "3"}) {
				t.Errorf("the log has %v, want 1 and 3", ids)
			}
		})
	}
}

// lockAndOpen opens the ingester of dir as a process does.
func lockAndOpen(t *testing.T, dir string) *ingest.Ingester {
	t.Helper()
	unlock, err := ingest.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	return open(t, dir)
}
