package regularfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"relish/internal/regularfile"
)

// Read takes regular files within the folder only, up to the limit. Nothing blocks or never ends.
func TestRead(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "folder")
	outside := filepath.Join(parent, "outside")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "sub"), 0o700),
		os.Mkdir(outside, 0o700),
		os.WriteFile(filepath.Join(outside, "file"), []byte("secret"), 0o600),
		os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600),
		os.WriteFile(filepath.Join(dir, "sub", "file"), []byte("deeper"), 0o600),
		os.WriteFile(filepath.Join(dir, "large"), make([]byte, 101), 0o600),
		os.Symlink("file", filepath.Join(dir, "link")),
		os.Symlink(filepath.Join(outside, "file"), filepath.Join(dir, "link out")),
		os.Symlink("sub", filepath.Join(dir, "linked folder")),
		os.Symlink("/dev/zero", filepath.Join(dir, "zeros")),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ name, content, err string }{
		{"file", "content", ""},
		{"sub/file", "deeper", ""},
		{"large", "", "101 bytes"},
		{"link", "", "not a regular file"},
		{"link out", "", "not a regular file"},
		{"linked folder/file", "", "not a folder"},
		{"zeros", "", "not a regular file"},
		{"pipe", "", "not a regular file"},
		{"sub", "", "not a regular file"},
		{"../outside/file", "", "path escapes"},
	} {
		data, err := regularfile.Read(dir, c.name, 100)
		if string(data) != c.content || (err == nil) != (c.err == "") ||
			err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q, %v, want %q, %q", c.name, data, err, c.content, c.err)
		}
	}
	if _, err := regularfile.Read(dir, "missing", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
