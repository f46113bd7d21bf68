package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"relish/internal/durable"
)

// The functions of this file write folders of any manifest: bundles, and what other packages
// version in the same way, such as text classifiers. Activate, Active, Versions and Prune take such
// a root too.

// temporaryPrefix begins the names of files and folders that are not complete yet. No version and
// no file of a bundle begins with a dot.
const temporaryPrefix = ".part-"

// WriteFolder writes an immutable folder into root and returns its version: the time of creation
// and the digest of the encoded manifest. It makes root if that does not exist.
//
// The manifest must list the files as DescribeFiles does, so that ReadFolder can check them. The
// folder appears under its version once it is complete and durable, as with Write.
func WriteFolder(
	root string, created time.Time, manifest []byte, files map[string][]byte,
) (version string, err error) {
	return (&writer{}).writeFolder(root, created, manifest, files, nil)
}

// DescribeFiles returns the entries of a manifest for files by name, sorted by name.
func DescribeFiles(files map[string][]byte) (list []File) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list,
			File{Name: name, Bytes: int64(len(files[name])), SHA256: digest(files[name])})
	}
	return list
}

// writer writes one folder. Tests interrupt it between two steps.
type writer struct {
	beforeStep func(step string) error
}

// step calls f, unless beforeStep fails.
func (w *writer) step(step string, f func() error) error {
	if w.beforeStep != nil {
		if err := w.beforeStep(step); err != nil {
			return err
		}
	}
	return f()
}

func (w *writer) writeFolder(
	root string, created time.Time, manifest []byte, files map[string][]byte, copies []string,
) (version string, err error) {
	unlock, err := lockRoot(root)
	if err != nil {
		return "", err
	}
	defer unlock()
	version = versionOf(created, manifest)
	if _, err := os.Lstat(filepath.Join(root, version)); err == nil {
		return "", fmt.Errorf("bundle %s exists already", version)
	}
	tmp := filepath.Join(root, temporaryPrefix+version)
	if err := w.step("make folder", func() error { return os.Mkdir(tmp, 0o755) }); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	for _, f := range slices.Sorted(maps.Keys(files)) {
		if err := w.writeFile(tmp, f, bytes.NewReader(files[f])); err != nil {
			return "", err
		}
	}
	for _, path := range copies {
		if err := w.copyFile(tmp, path); err != nil {
			return "", err
		}
	}
	if err := w.writeFile(tmp, ManifestFile, bytes.NewReader(manifest)); err != nil {
		return "", err
	}
	if err := w.step("sync folder", func() error { return durable.Disk.SyncDir(tmp) }); err != nil {
		return "", err
	}
	err = w.step("rename", func() error { return os.Rename(tmp, filepath.Join(root, version)) })
	if err != nil {
		return "", err
	}
	return version, w.step("sync root", func() error { return durable.Disk.SyncDir(root) })
}

// copyFile copies a file into the bundle. Nobody may have changed it since describeFile; otherwise
// the bundle is refused when it is loaded.
func (w *writer) copyFile(dir, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return w.writeFile(dir, filepath.Base(path), f)
}

func (w *writer) writeFile(dir, name string, data io.Reader) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = w.step("write "+name, func() error {
		_, err := io.Copy(f, data)
		return err
	})
	if err == nil {
		err = w.step("sync "+name, f.Sync)
	}
	return errors.Join(err, f.Close())
}

// lockRoot waits until no other process writes into root, and removes what a process left that died
// while writing.
func lockRoot(root string) (unlock func(), err error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	l := flock.New(filepath.Join(root, ".lock"), flock.SetPermissions(0o644))
	if err := l.Lock(); err != nil {
		return nil, fmt.Errorf("locking %s: %w", root, err)
	}
	entries, err := os.ReadDir(root)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporaryPrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(root, e.Name())))
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.Unlock())
	}
	return func() { _ = l.Unlock() }, nil
}
