package durable_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"relish/internal/durable"
	"relish/internal/durable/durabletest"
)

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Whenever the power fails, the file has the older content or the new one, and the new one after
// Replace has returned.
func TestReplaceSurvivesPowerLoss(t *testing.T) {
	for ops := range 8 {
		for seed := range uint64(20) {
			root := t.TempDir()
			disk, path := durabletest.New(root), filepath.Join(root, "f")
			if err := durable.WriteFile(disk, path, []byte("old")); err != nil {
				t.Fatal(err)
			}
			disk.StopAfter(ops)
			err := durable.WriteFile(disk, path, []byte("new"))
			after := t.TempDir()
			if _, err := disk.PowerLoss(rand.New(rand.NewPCG(seed, 1)), after); err != nil {
				t.Fatal(err)
			}
			got := content(t, filepath.Join(after, "f"))
			if got != "new" && (err == nil || got != "old") {
				t.Errorf("stopped after %d operations (%v): the file has %q", ops, err, got)
			}
		}
	}
}

// A write that fails leaves the older file and nothing else.
func TestFailedReplace(t *testing.T) {
	failed := errors.New("in a test")
	for _, c := range []struct {
		name   string
		faults durabletest.Faults
		write  func(io.Writer) error
		want   error
	}{
		{"full disk", durabletest.Faults{Write: syscall.ENOSPC}, nil, syscall.ENOSPC},
		{"failed sync", durabletest.Faults{Sync: syscall.EIO}, nil, syscall.EIO},
		{"failed caller", durabletest.Faults{}, func(io.Writer) error { return failed }, failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			disk, path := durabletest.New(root), filepath.Join(root, "f")
			if err := durable.WriteFile(disk, path, []byte("old")); err != nil {
				t.Fatal(err)
			}
			if c.write == nil {
				c.write = func(w io.Writer) error { _, err := w.Write([]byte("new")); return err }
			}
			disk.SetFaults(c.faults)
			if err := durable.Replace(disk, path, c.write); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			entries, err := os.ReadDir(root)
			if err != nil || len(entries) != 1 || content(t, path) != "old" {
				t.Errorf("%d files are left, %v", len(entries), err)
			}
		})
	}
}

func TestLinkAndRemove(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, text := range []string{"1", "2"} {
		err := errors.Join(durable.WriteFile(durable.Disk, a, []byte(text)),
			durable.Link(durable.Disk, a, b))
		if err != nil || content(t, b) != text {
			t.Errorf("%v, b has %q", err, content(t, b))
		}
	}
	for range 2 {
		if err := durable.Remove(durable.Disk, a); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(a); !errors.Is(err, os.ErrNotExist) || content(t, b) != "2" {
		t.Errorf("a: %v", err)
	}
	if free, total, err := durable.Disk.Space(dir); err != nil || free <= 0 || free > total {
		t.Errorf("%d of %d bytes are free, %v", free, total, err)
	}
}
