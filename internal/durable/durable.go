// Package durable writes files that survive a killed process and a power loss.
//
// A write is durable when the file and the folder that names it have been synced. Without the
// second, a power loss may bring back the older file, or none, although the writer has reported
// success and, say, removed what the file replaces.
package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// TempSuffix ends the name of a file that is being written. What a killed process leaves under that
// name has no meaning; the next write replaces it.
const TempSuffix = ".new"

// File is a file that is being written.
type File interface {
	io.Writer
	Truncate(size int64) error
	Sync() error
	Stat() (os.FileInfo, error)
	Chmod(mode os.FileMode) error
	Close() error
}

// FS are the changes of files and folders. Tests replace Disk by one that fails, or that loses what
// was not synced.
type FS interface {
	// Create opens a new file. It empties a file that is there.
	Create(path string) (File, error)
	// Open opens a file for overwriting it in place.
	Open(path string) (File, error)
	Rename(from, to string) error
	// Link gives a file a second name.
	Link(from, to string) error
	Remove(path string) error
	// SyncDir makes the names in a folder durable.
	SyncDir(dir string) error
	// Space returns the bytes that are free on the disk of a folder, and all of them.
	Space(dir string) (free, total int64, err error)
}

// Disk is the FS of the operating system.
var Disk FS = disk{}

type disk struct{}

func (disk) Create(path string) (File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
}

func (disk) Open(path string) (File, error) { return os.OpenFile(path, os.O_WRONLY, 0) }

func (disk) Rename(from, to string) error { return os.Rename(from, to) }

func (disk) Link(from, to string) error { return os.Link(from, to) }

func (disk) Remove(path string) error { return os.Remove(path) }

func (disk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (disk) Space(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// Replace writes a file completely or not at all: readers, and the next process after a crash, see
// the older file or the new one. When it returns nil, the new one is durable. Two calls for one
// path must not overlap.
func Replace(fsys FS, path string, write func(io.Writer) error) error {
	return replace(fsys, path, func(f File) error { return write(f) })
}

func replace(fsys FS, path string, write func(File) error) error {
	tmp := path + TempSuffix
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(tmp, path)
	}
	if err != nil {
		_ = fsys.Remove(tmp) // a full disk gets its space back
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}

// WriteFile replaces a file by one with this content, as Replace does.
func WriteFile(fsys FS, path string, data []byte) error {
	return Replace(fsys, path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteSecret is WriteFile for a file that only its owner may read.
func WriteSecret(fsys FS, path string, data []byte) error {
	return replace(fsys, path, func(f File) error {
		if err := f.Chmod(0o600); err != nil {
			return err
		}
		_, err := f.Write(data)
		return err
	})
}

// Link gives the file from a second name. If another file has the name to, the link replaces it.
func Link(fsys FS, from, to string) error {
	tmp := to + TempSuffix
	if err := ignoreMissing(fsys.Remove(tmp)); err != nil {
		return err
	}
	if err := fsys.Link(from, tmp); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, to); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(to))
}

// Remove removes a file for good. It is no error if there is none.
func Remove(fsys FS, path string) error {
	if err := ignoreMissing(fsys.Remove(path)); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}

// RemoveTemporary removes the temporary files that killed writers left in a folder. They may hold
// data that was erased from the other files since. No other process may write into the folder
// meanwhile.
func RemoveTemporary(fsys FS, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreMissing(err)
	}
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != TempSuffix {
			continue
		}
		if err := ignoreMissing(fsys.Remove(filepath.Join(dir, e.Name()))); err != nil {
			return err
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
