package external

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"relish/internal/durable"
)

// Version is one import of an external table.
type Version struct {
	Digest   string `json:"digest"`   // SHA-256 of the file, in hex
	Imported int64  `json:"imported"` // Unix ms
}

// Newer reports whether v is a later import than old.
func (v Version) Newer(old Version) bool {
	return v.Imported > old.Imported || v.Imported == old.Imported && v.Digest > old.Digest
}

// Repository holds the newest version of each table. Its methods are called one at a time.
type Repository interface {
	// Current returns the versions by table name. It leaves out versions whose file is missing.
	Current(ctx context.Context) (map[string]Version, error)
	// Fetch writes the file of the version to path.
	Fetch(ctx context.Context, v Version, path string) error
	// Put stores the file at path as a version of the table, unless there is a newer one.
	Put(ctx context.Context, name string, v Version, path string) error
}

// FolderRepository is the repository in a data folder, for the embedded store. Its files lie where
// the server reads them. Imports into one folder must not overlap.
type FolderRepository string

func (f FolderRepository) path() string { return filepath.Join(Dir(string(f)), "current.json") }

// Current implements Repository.
func (f FolderRepository) Current(context.Context) (map[string]Version, error) {
	return readVersions(f.path())
}

// Fetch implements Repository. It fails, because a file that is not in the folder is nowhere.
func (f FolderRepository) Fetch(_ context.Context, _ Version, path string) error {
	return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

// Put implements Repository. It moves the file at path to its place in the folder.
func (f FolderRepository) Put(ctx context.Context, name string, v Version, path string) error {
	if to := Path(string(f), v.Digest); path != to {
		if err := os.Rename(path, to); err != nil {
			return fmt.Errorf("move the file within the data folder: %w", err)
		}
		if err := durable.Disk.SyncDir(filepath.Dir(to)); err != nil {
			return err
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

// InUse returns the versions that the server of a data folder uses.
func InUse(data string) (map[string]Version, error) { return readVersions(inUsePath(data)) }

func inUsePath(data string) string { return filepath.Join(Dir(data), "taken.json") }

func readVersions(path string) (map[string]Version, error) {
	out := map[string]Version{}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}

func writeVersions(path string, m map[string]Version) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(durable.Disk, path, append(data, '\n'))
}
