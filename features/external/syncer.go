// Package external imports feature columns that another system computed, and brings new versions
// into a running server. An external table has one row for each user or item.
//
// ConvertTable converts an imported file to Relish's own form. The import then puts it as a new
// version into a Repository: a folder, or Redis for replicas that share one.
//
// Each server runs a Syncer, which polls the repository every second. The Syncer verifies and loads
// a new version, and appends an event to the log, so that a replay knows from when on the version
// was in use. Then it swaps in the whole version: a ranking sees the old version or the new one. If
// a version cannot be loaded, the Syncer reports the reason and the old version stays in use.
//
// The newest import of a table wins. If the repository has lost a version that a server uses, the
// server puts it back.
package external

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"relish/features"
	"relish/ranker"
)

// Target is the store that uses the tables.
type Target interface {
	// Append is ranker.Store.Append.
	Append(ctx context.Context, events []ranker.Event) ([]ranker.EventOutcome, error)
	// UseTable makes table the current version of the named table; nil removes the table.
	UseTable(name string, table *features.ExternalTable)
}

// Bounds of a data folder.
const (
	maxTables = 16
	maxFiles  = 100 // files of versions that are kept for replays
)

const (
	syncInterval       = time.Second     // between two polls of the repository
	retryRejectedAfter = 5 * time.Minute // before a rejected version is tried again
)

// Syncer brings the versions of a repository into a store. It is not safe for concurrent use.
type Syncer struct {
	dir        string
	repository Repository
	target     Target
	log        *slog.Logger
	inUse      map[string]Version
	rejected   map[Version]time.Time
}

// Dir returns the folder of the table files in a data folder.
func Dir(data string) string { return filepath.Join(data, "tables") }

// Path returns the path of a version's file in a data folder.
func Path(data, digest string) string { return filepath.Join(Dir(data), digest+".arrow") }

// NewSyncer returns a Syncer, and loads the versions that the data folder's server used last into
// the store. A version that cannot be loaded is logged and left out.
func NewSyncer(
	data string,
	repository Repository,
	target Target,
	log *slog.Logger,
) (*Syncer, error) {
	s := &Syncer{
		dir:        data,
		repository: repository,
		target:     target,
		log:        log,
		rejected:   map[Version]time.Time{},
	}
	var err error
	if s.inUse, err = readVersions(inUsePath(data)); err != nil {
		return nil, err
	}
	for name, v := range s.inUse {
		c, err := LoadTable(Path(data, v.Digest), v.Digest)
		if err != nil {
			log.Error(
				"cannot load an external table; its columns are missing until it is imported again",
				"table", name, "error", err,
			)
			delete(s.inUse, name)
			continue
		}
		target.UseTable(name, c)
	}
	return s, nil
}

// Run polls the repository until ctx ends, and passes the outcome of each poll to report. It logs
// a lasting error once.
func (s *Syncer) Run(ctx context.Context, report func(error)) {
	t := time.NewTicker(syncInterval)
	defer t.Stop()
	logged := ""
	for {
		err := s.Sync(ctx)
		if ctx.Err() == nil {
			report(err)
		}
		switch {
		case err == nil:
			logged = ""
		case ctx.Err() == nil && err.Error() != logged:
			logged = err.Error()
			s.log.Warn("cannot update the external tables; the versions in use stay", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Sync loads the newer versions of the repository, and puts back the versions that it has lost. It
// reports a version that cannot be loaded, and then ignores it for five minutes.
func (s *Syncer) Sync(ctx context.Context) error {
	current, err := s.repository.Current(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(current)) {
		v := current[name]
		if !v.Newer(s.inUse[name]) || time.Since(s.rejected[v]) < retryRejectedAfter {
			continue
		}
		if err := s.use(ctx, name, v); err != nil {
			s.rejected[v] = time.Now()
			errs = append(
				errs,
				fmt.Errorf(
					"table %s, imported %s: %w", name,
					time.UnixMilli(v.Imported).UTC().Format(time.RFC3339), err,
				),
			)
		}
	}
	for name, v := range s.inUse {
		if v.Newer(current[name]) {
			errs = append(errs, s.repository.Put(ctx, name, v, Path(s.dir, v.Digest)))
		}
	}
	return errors.Join(errs...)
}

func (s *Syncer) use(ctx context.Context, name string, v Version) error {
	if _, known := s.inUse[name]; !known && len(s.inUse) >= maxTables {
		return fmt.Errorf("there are %d tables already; import under one of their names", maxTables)
	}
	path := Path(s.dir, v.Digest)
	if _, err := os.Stat(path); err != nil {
		if err := os.MkdirAll(Dir(s.dir), 0o755); err != nil {
			return err
		}
		if err := s.repository.Fetch(ctx, v, path); err != nil {
			return err
		}
	}
	c, err := LoadTable(path, v.Digest)
	if err != nil {
		return errors.Join(err, os.Remove(path)) // so that it is fetched again
	}
	out, err := s.target.Append(
		ctx,
		[]ranker.Event{
			{Kind: ranker.EventTable, ID: uuid.NewString(), Table: name, Digest: v.Digest},
		},
	)
	if err != nil {
		return err
	}
	if out[0].Err != nil {
		return out[0].Err
	}
	s.target.UseTable(name, c)
	s.inUse[name] = v
	s.log.Info(
		"external table in use", "table", name, "rows", c.Len(), "columns", c.Names(), "digest",
		v.Digest,
	)
	return errors.Join(writeVersions(inUsePath(s.dir), s.inUse), s.prune())
}

// Opener returns a function for features.State.OpenTable that opens the tables of a data folder. If
// the file of a version is missing or damaged, it logs that, and the columns are missing.
func Opener(data string, log *slog.Logger) func(name, digest string) *features.ExternalTable {
	return func(name, digest string) *features.ExternalTable {
		c, err := LoadTable(Path(data, digest), digest)
		if err != nil {
			log.Warn("cannot open a version of an external table; its columns are missing",
				"table", name, "error", err)
			return nil
		}
		return c
	}
}

// prune removes the oldest files above maxFiles.
func (s *Syncer) prune() error {
	files, err := filepath.Glob(filepath.Join(Dir(s.dir), "*.arrow"))
	if err != nil || len(files) <= maxFiles {
		return err
	}
	used := map[string]bool{}
	for _, v := range s.inUse {
		used[Path(s.dir, v.Digest)] = true
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
