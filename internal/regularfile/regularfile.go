// Package regularfile opens files of a folder that somebody else has written. It takes regular
// files only: a link could lead out of the folder, a pipe would block, and a device has no end.
package regularfile

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// Open opens a file of the folder root for reading. The caller closes it.
func Open(root *os.Root, name string) (*os.File, error) {
	st, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, irregular(name)
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if st, err = f.Stat(); err == nil && !st.Mode().IsRegular() { // it was replaced meanwhile
		err = irregular(name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func irregular(name string) error {
	return fmt.Errorf("%s is not a regular file: replace the link, pipe or device by the file "+
		"itself", name)
}

// Read returns the contents of the file with the given name in dir, which has at most limit bytes.
// The name may have folders, and none of them may be a link.
func Read(dir, name string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for folder := filepath.Dir(name); folder != "."; folder = filepath.Dir(folder) {
		st, err := root.Lstat(folder)
		if err != nil {
			return nil, err
		}
		if !st.IsDir() {
			return nil, fmt.Errorf("%s is not a folder", folder)
		}
	}
	f, err := Open(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes; at most %d are read", name, st.Size(), limit)
	}
	data := make([]byte, st.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}
