package external

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FolderRepository is the shelf of a data folder whose state is embedded: the file lies where the server reads it. Imports
// into one folder must not overlap.
type FolderRepository string

func (f FolderRepository) path() string { return filepath.Join(Dir(string(f)), "current.json") }

// Current implements Shelf.
func (f FolderRepository) Current(context.Context) (map[string]Version, error) {
	return readVersions(f.path())
}

// Fetch implements Shelf: there is nothing to fetch from.
func (f FolderRepository) Fetch(_ context.Context, v Version, path string) error {
	return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

// Put implements Shelf. The file at path takes its place in the folder.
func (f FolderRepository) Put(ctx context.Context, name string, v Version, path string) error {
	if to := Path(string(f), v.Digest); path != to {
		if err := os.Rename(path, to); err != nil {
			return fmt.Errorf("the file must be made in the data folder: %w", err)
		}
	}
	all, err := f.Current(ctx)
	if err != nil {
		return err
	}
	if all[name].Newer(v) {
		return nil
	}
	all[name] = v
	return writeVersions(f.path(), all)
}
