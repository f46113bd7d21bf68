// Package snapshot writes and reads snapshots of the whole state as Arrow files. pandas, DuckDB and
// Spark can open them, and a store can start from one.
//
// A snapshot is a folder of Arrow IPC files and a manifest with their sizes and digests. The folder
// gets its name only when it is complete. Nothing in a file is decoded before its digest was
// checked.
package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"relish/features"
	"relish/internal/arrowfile"
	"relish/internal/durable"
)

// version is the version of the format.
const version = 2 // 1 has no counts of newcomers

// The files of a snapshot.
const (
	manifestFile = "manifest.json"
	itemsFile    = "items.arrow"
	usersFile    = "users.arrow"
	historyFile  = "history.arrow"
	countersFile = "counters.arrow"
)

// Manifest describes a snapshot.
type Manifest struct {
	Version   int               `json:"version"`
	Created   time.Time         `json:"created"`
	Arrival   int64             `json:"arrival"`  // of the newest record included, Unix ms
	Replicas  map[string]uint64 `json:"replicas"` // the last record included of each replica's log
	Actions   []string          `json:"actions"`
	Fields    []string          `json:"fields"`
	HalfLives []string          `json:"half_lives"`
	Files     []arrowfile.Info  `json:"files"`
}

// Write writes a snapshot of d into the new folder dir. It fails if dir exists. After an
// interruption nothing exists under that name.
func Write(dir string, d *features.Dump) (m *Manifest, err error) {
	if _, err := os.Stat(dir); err == nil {
		return nil, fmt.Errorf("%s exists already; choose a new folder", dir)
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
	m = &Manifest{
		Version:   version,
		Created:   time.Now().UTC(),
		Arrival:   d.Arrival,
		Replicas:  map[string]uint64{},
		Actions:   d.Config.Actions,
		Fields:    d.Config.Fields,
		HalfLives: d.Config.HalfLives,
	}
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
	manifest := filepath.Join(tmp, manifestFile)
	if err := durable.WriteFile(durable.Disk, manifest, append(data, '\n')); err != nil {
		return nil, err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return nil, err
	}
	return m, durable.Disk.SyncDir(filepath.Dir(dir))
}

// ReadManifest reads the manifest of a snapshot and verifies its files.
func ReadManifest(dir string) (*Manifest, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, fmt.Errorf("%s is not a snapshot: %w", dir, err)
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: cannot decode the manifest: %w", dir, err)
	}
	if m.Version > version {
		return nil, fmt.Errorf(
			"%s has format version %d, and this binary reads up to %d: use a newer relish", dir,
			m.Version, version,
		)
	}
	for _, name := range []string{itemsFile, usersFile, historyFile, countersFile} {
		i := slices.IndexFunc(m.Files, func(f arrowfile.Info) bool { return f.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%s: the manifest lacks the file %s", dir, name)
		}
		if err := arrowfile.Verify(dir, m.Files[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
	}
	return &m, nil
}

// Load verifies and reads a snapshot. It fails if the snapshot counts other actions, fields or
// half-lives than cfg.
func Load(dir string, cfg features.Config) (*features.Dump, error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	for _, c := range []struct {
		name      string
		got, want []string
	}{
		{"actions", m.Actions, cfg.Actions},
		{"fields", m.Fields, cfg.Fields},
		{"half_lives", m.HalfLives, cfg.HalfLives},
	} {
		if !slices.Equal(c.got, c.want) {
			return nil, fmt.Errorf("%s has state.%s %v, but the configuration has %v: "+
				"use the snapshot's values, or rebuild from the logs", dir, c.name, c.got, c.want)
		}
	}
	return loadFiles(dir, m, cfg)
}
