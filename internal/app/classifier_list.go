package app

import (
	"path/filepath"
	"time"

	"relish/embeddings/classifier"
	"relish/ranker/bundle"
)

// ClassifierStatus is one version of a classifier. Relish classifier list prints it.
type ClassifierStatus struct {
	Name    string             `json:"name"`
	Version string             `json:"version"`
	Active  bool               `json:"active"`
	Created time.Time          `json:"created"`
	Method  string             `json:"method"`
	Labels  int                `json:"labels"`
	Metrics map[string]float64 `json:"metrics"`
	Error   string             `json:"error,omitempty"` // why the version cannot be used
}

// ListClassifiers returns the versions of all classifiers of a data folder: by name, newest first.
func ListClassifiers(data string) ([]ClassifierStatus, error) {
	root := classifier.Folder(data)
	names, err := classifier.Names(root)
	if err != nil {
		return nil, err
	}
	list := []ClassifierStatus{}
	for _, name := range names {
		folder := filepath.Join(root, name)
		versions, err := bundle.Versions(folder)
		if err != nil {
			return nil, err
		}
		active, err := bundle.Active(folder)
		if err != nil {
			return nil, err
		}
		for _, version := range versions {
			s := ClassifierStatus{Name: name, Version: version, Active: version == active}
			if m, err := classifier.ReadManifest(filepath.Join(folder, version)); err != nil {
				s.Error = err.Error()
			} else {
				s.Created, s.Method, s.Metrics = m.Created, m.Method, m.Metrics
				s.Labels = len(m.Examples)
			}
			list = append(list, s)
		}
	}
	return list, nil
}
