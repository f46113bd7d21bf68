package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
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

// temporaryPrefix begins the names of files and folders that are not complete yet. No version and
// no file of a bundle begins with a dot.
const temporaryPrefix = ".part-"

// Write writes a bundle into root, the folder of bundles, and returns the bundle's version. It
// makes the folder if that does not exist.
//
// files are the bundle's files by name, without the manifest. copies are paths of further files,
// too large for memory, that are copied under their base names. m describes all of them; see
// Manifest for what Write fills in.
//
// The bundle appears under its version once it is complete and durable. If the process dies before,
// nothing appears, and the next Write removes the rest. Write waits while another process writes
// into root.
func Write(
	root string, m Manifest, files map[string][]byte, copies ...string,
) (version string, err error) {
	return (&writer{}).write(root, m, files, copies)
}

// writer writes one bundle. Tests interrupt it between two steps.
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

func (w *writer) write(
	root string, m Manifest, files map[string][]byte, copies []string,
) (name string, err error) {
	manifest, err := completeManifest(&m, files, copies)
	if err != nil {
		return "", fmt.Errorf("bundle: %w", err)
	}
	unlock, err := lockRoot(root)
	if err != nil {
		return "", err
	}
	defer unlock()
	name = versionOf(m.Created, manifest)
	if _, err := os.Lstat(filepath.Join(root, name)); err == nil {
		return "", fmt.Errorf("bundle %s exists already", name)
	}
	tmp := filepath.Join(root, temporaryPrefix+name)
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
	err = w.step("rename", func() error { return os.Rename(tmp, filepath.Join(root, name)) })
	if err != nil {
		return "", err
	}
	return name, w.step("sync root", func() error { return durable.Disk.SyncDir(root) })
}

// completeManifest fills in what follows from the files, and returns the encoded manifest.
func completeManifest(m *Manifest, files map[string][]byte, copies []string) ([]byte, error) {
	m.Format = formatVersion
	if m.Created.IsZero() {
		m.Created = time.Now()
	}
	m.Created = m.Created.UTC().Truncate(time.Millisecond)
	m.Files = nil
	for _, name := range slices.Sorted(maps.Keys(files)) {
		m.Files = append(m.Files,
			File{Name: name, Bytes: int64(len(files[name])), SHA256: digest(files[name])})
	}
	for _, path := range copies {
		f, err := describeFile(path)
		if err != nil {
			return nil, err
		}
		m.Files = append(m.Files, f)
	}
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	schema, err := ParseSchema(files[SchemaFile])
	if err != nil {
		return nil, err
	}
	m.Schema = schema.Hash()
	return m.encode()
}

// describeFile returns the manifest's entry of a file that is copied into the bundle.
func describeFile(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, f)
	return File{
		Name: filepath.Base(path), Bytes: n, SHA256: hex.EncodeToString(hash.Sum(nil)),
	}, err
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
