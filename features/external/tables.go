// Package tables keeps imported feature tables: which version of each is current, where its file lies, and
// how a running server takes a new one.
//
// An import puts a version on the shelf: the data folder's own, or Redis for replicas that share it. Each server
// looks at its shelf every second. It checks and loads what is new, writes a record to its event log (so
// that a replay knows from when on it was in use), and swaps it in whole; rankings see the old version or
// the new one. What cannot be loaded is refused with its reason, and the old version stays.
//
// The newest import of a name wins. A server puts back what it uses when the shelf has lost it.
package external

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"relish/features"
	"relish/features/snapshot"
	"relish/ranker"
)

// Version is one import of a table.
type Version struct {
	Digest   string `json:"digest"`   // SHA-256 of its file
	Imported int64  `json:"imported"` // Unix ms
}

// Newer reports whether v is a later import than old.
func (v Version) Newer(old Version) bool {
	return v.Imported > old.Imported || v.Imported == old.Imported && v.Digest > old.Digest
}

// Repository holds the newest version of each table. Its methods are called one at a time.
type Repository interface {
	// Current returns the versions by the table's name, those only whose file can be fetched.
	Current(ctx context.Context) (map[string]Version, error)
	// Fetch writes the version's file to path.
	Fetch(ctx context.Context, v Version, path string) error
	// Put stores the file at path as the table's version, unless there is a newer one.
	Put(ctx context.Context, name string, v Version, path string) error
}

// Target is what a table is taken into.
type Target interface {
	Append(ctx context.Context, events []ranker.Event) ([]ranker.EventOutcome, error)
	UseTable(name string, c *features.ExternalTable)
}

// Bounds of what is kept.
const (
	maxTables = 16
	maxFiles  = 100 // versions whose files a replay can open
)

const (
	syncInterval      = time.Second     // between looks at the shelf
	retryRefusedAfter = 5 * time.Minute // before a version that was refused is tried again
)

// Syncer brings what is on a shelf into a store. Its methods are called by one goroutine.
type Syncer struct {
	dir        string
	repository Repository
	target     Target
	log        *slog.Logger
	inUse      map[string]Version
	refused    map[Version]time.Time
}

// Dir returns where the files of a data folder's tables lie.
func Dir(data string) string { return filepath.Join(data, "tables") }

// Path returns where a version's file lies in a data folder.
func Path(data, digest string) string { return filepath.Join(Dir(data), digest+".arrow") }

// NewSyncer takes what the data folder's server used last into the store.
func NewSyncer(data string, shelf Repository, store Target, log *slog.Logger) (*Syncer, error) {
	k := &Syncer{dir: data, repository: shelf, target: store, log: log, refused: map[Version]time.Time{}}
	var err error
	if k.inUse, err = readVersions(inUsePath(data)); err != nil {
		return nil, err
	}
	for name, v := range k.inUse {
		c, err := snapshot.LoadTable(Path(data, v.Digest), v.Digest)
		if err != nil {
			log.Error("an imported table cannot be used; its columns are missing until it is imported again", "table", name, "reason", err)
			delete(k.inUse, name)
			continue
		}
		store.UseTable(name, c)
	}
	return k, nil
}

// Run looks at the shelf until ctx ends. What is wrong for a while is said once.
func (k *Syncer) Run(ctx context.Context) {
	t := time.NewTicker(syncInterval)
	defer t.Stop()
	said := ""
	for {
		err := k.Sync(ctx)
		switch {
		case err == nil:
			said = ""
		case ctx.Err() == nil && err.Error() != said:
			said = err.Error()
			k.log.Warn("imported tables are as before", "reason", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Sync takes what is newer on the shelf, and puts back what the shelf has lost. A version that was refused is
// reported, and then left alone for a while.
func (k *Syncer) Sync(ctx context.Context) error {
	current, err := k.repository.Current(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(current)) {
		v := current[name]
		if !v.Newer(k.inUse[name]) || time.Since(k.refused[v]) < retryRefusedAfter {
			continue
		}
		if err := k.use(ctx, name, v); err != nil {
			k.refused[v] = time.Now()
			errs = append(errs, fmt.Errorf("table %s, imported %s: %w", name, time.UnixMilli(v.Imported).UTC().Format(time.RFC3339), err))
		}
	}
	for name, v := range k.inUse {
		if v.Newer(current[name]) {
			errs = append(errs, k.repository.Put(ctx, name, v, Path(k.dir, v.Digest)))
		}
	}
	return errors.Join(errs...)
}

func (k *Syncer) use(ctx context.Context, name string, v Version) error {
	if _, known := k.inUse[name]; !known && len(k.inUse) >= maxTables {
		return fmt.Errorf("there are %d tables already", maxTables)
	}
	path := Path(k.dir, v.Digest)
	if _, err := os.Stat(path); err != nil {
		if err := os.MkdirAll(Dir(k.dir), 0o755); err != nil {
			return err
		}
		if err := k.repository.Fetch(ctx, v, path); err != nil {
			return err
		}
	}
	c, err := snapshot.LoadTable(path, v.Digest)
	if err != nil {
		return errors.Join(err, os.Remove(path)) // so that it is fetched anew
	}
	out, err := k.target.Append(ctx, []ranker.Event{{Kind: ranker.EventTable, ID: uuid.NewString(), Table: name, Digest: v.Digest}})
	if err != nil {
		return err
	}
	if out[0].Err != nil {
		return out[0].Err
	}
	k.target.UseTable(name, c)
	k.inUse[name] = v
	k.log.Info("imported table in use", "table", name, "rows", c.Len(), "columns", c.Names(), "digest", v.Digest)
	return errors.Join(writeVersions(inUsePath(k.dir), k.inUse), k.prune())
}

// Opener returns what a replay opens the data folder's tables with, see features.State.OpenTable. The columns
// of a version whose file is gone or damaged are missing.
func Opener(data string, log *slog.Logger) func(name, digest string) *features.ExternalTable {
	return func(name, digest string) *features.ExternalTable {
		c, err := snapshot.LoadTable(Path(data, digest), digest)
		if err != nil {
			log.Warn("a version of an imported table cannot be opened; its columns are missing", "table", name, "reason", err)
			return nil
		}
		return c
	}
}

// prune removes the files of the oldest versions, beyond maxFiles.
func (k *Syncer) prune() error {
	files, err := filepath.Glob(filepath.Join(Dir(k.dir), "*.arrow"))
	if err != nil || len(files) <= maxFiles {
		return err
	}
	used := map[string]bool{}
	for _, v := range k.inUse {
		used[Path(k.dir, v.Digest)] = true
	}
	age := map[string]time.Time{}
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			age[f] = st.ModTime()
		}
	}
	slices.SortFunc(files, func(a, b string) int { return age[a].Compare(age[b]) })
	for _, f := range files[:len(files)-maxFiles] {
		if !used[f] {
			err = errors.Join(err, os.Remove(f))
		}
	}
	return err
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
	return renameio.WriteFile(path, append(data, '\n'), 0o644)
}
