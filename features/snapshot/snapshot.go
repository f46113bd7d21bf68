// Package arrowio is the interchange with everything that reads Arrow: a snapshot of the whole state that
// pandas, DuckDB or Spark can open and that a store can be started from.
//
// A snapshot is a folder of Arrow IPC files and a manifest with their sizes and digests. It appears under
// its name only when it is whole, and nothing of it is decoded before its digest has been checked.
package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"relish/features"
)

// version is the snapshot's format.
const version = 1

// The files of a snapshot.
const (
	manifestFile = "manifest.json"
	itemsFile    = "items.arrow"
	usersFile    = "users.arrow"
	historyFile  = "history.arrow"
	countersFile = "counters.arrow"
)

// Manifest says what a snapshot holds.
type Manifest struct {
	Version   int               `json:"version"`
	Created   time.Time         `json:"created"`
	Arrival   int64             `json:"arrival"`  // of the newest record included, Unix ms
	Replicas  map[string]uint64 `json:"replicas"` // last record included of each replica's log
	Actions   []string          `json:"actions"`
	Fields    []string          `json:"fields"`
	HalfLives []string          `json:"half_lives"`
	Files     []FileInfo        `json:"files"`
}

// Write writes a snapshot of d into the folder dir, which must not exist yet. An interrupted one leaves
// nothing under that name.
func Write(dir string, d *features.Dump) (m *Manifest, err error) {
	if _, err := os.Stat(dir); err == nil {
		return nil, fmt.Errorf("%s is there already; name a new folder", dir)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".part")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	m = &Manifest{Version: version, Created: time.Now().UTC(), Arrival: d.Arrival, Replicas: map[string]uint64{},
		Actions: d.Config.Actions, Fields: d.Config.Fields, HalfLives: d.Config.HalfLives}
	for _, p := range d.Parts {
		m.Replicas[p.Replica] = p.Seq
	}
	if m.Files, err = writeFiles(tmp, d); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := renameio.WriteFile(filepath.Join(tmp, manifestFile), append(data, '\n'), 0o644); err != nil {
		return nil, err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return nil, err
	}
	return m, os.Rename(tmp, dir)
}

// ReadManifest reads and checks a snapshot's manifest and the digests of its files.
func ReadManifest(dir string) (*Manifest, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, fmt.Errorf("%s is no snapshot: %w", dir, err)
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: the manifest cannot be read: %w", dir, err)
	}
	if m.Version > version {
		return nil, fmt.Errorf("%s has format version %d, this binary reads up to %d: use a newer relish", dir, m.Version, version)
	}
	for _, name := range []string{itemsFile, usersFile, historyFile, countersFile} {
		i := slices.IndexFunc(m.Files, func(f FileInfo) bool { return f.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%s: the manifest names no %s", dir, name)
		}
		if err := verify(dir, m.Files[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
	}
	return &m, nil
}

// Load reads a snapshot that was counted as cfg counts.
func Load(dir string, cfg features.Config) (*features.Dump, error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	for _, c := range []struct {
		name      string
		got, want []string
	}{{"actions", m.Actions, cfg.Actions}, {"fields", m.Fields, cfg.Fields}, {"half_lives", m.HalfLives, cfg.HalfLives}} {
		if !slices.Equal(c.got, c.want) {
			return nil, fmt.Errorf("%s was counted with state.%s %v, this configuration has %v: use the snapshot's, or rebuild from the logs", dir, c.name, c.got, c.want)
		}
	}
	return loadFiles(dir, m, cfg)
}
