package alerts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"relish/internal/durable"
)

// fileVersion is the version of the format of the file of the episodes.
const fileVersion = 1

// episodesFile is the file of the episodes: a JSON object.
type episodesFile struct {
	Version int                     `json:"version"`
	Alerts  map[string]ruleEpisodes `json:"alerts"`
}

// ruleEpisodes are the episodes of one rule.
type ruleEpisodes struct {
	When     string    `json:"when"`
	Episodes []Episode `json:"episodes"`
}

// readFile returns the episodes of a file by rule, none if there is no file.
func readFile(path string) (map[string]ruleEpisodes, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var f episodesFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("the file is damaged: %w", err)
	}
	if f.Version > fileVersion {
		return nil, fmt.Errorf("it has format version %d, and this binary reads up to %d",
			f.Version, fileVersion)
	}
	return f.Alerts, nil
}

// save writes the file if something has changed.
func (m *Monitor) save() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.saved {
		return nil
	}
	f := episodesFile{Version: fileVersion, Alerts: map[string]ruleEpisodes{}}
	for _, s := range m.states {
		f.Alerts[s.Name] = ruleEpisodes{When: s.When, Episodes: s.Episodes}
	}
	data, err := json.MarshalIndent(f, "", " ")
	if err == nil {
		err = durable.WriteFile(m.opt.FS, m.opt.Path, data)
	}
	if err != nil {
		return fmt.Errorf("writing the episodes of alerts: %w", err)
	}
	m.saved = true
	return nil
}
