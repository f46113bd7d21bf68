package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"relish/ranker"
)

// maxListed is how many bundles are listed, newest first.
const maxListed = 100

// maxReport bounds a report's size.
const maxReport = 32 << 20

// Versions returns the bundles in root, newest first.
func Versions(root string) ([]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range slices.Backward(entries) {
		if IsVersion(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// List returns what there is to rank with: the prior, and the newest 100 bundles, newest first. Of a bundle that is not loaded
// no more than the manifest is checked.
func (r *Registry) List() ([]ranker.ModelStatus, error) {
	versions, err := Versions(r.opt.Root)
	if err != nil {
		return nil, err
	}
	v := r.now.Load()
	list := []ranker.ModelStatus{{Version: ranker.PriorVersion, State: v.state(ranker.PriorVersion)}}
	for _, version := range versions[:min(len(versions), maxListed)] {
		s := ranker.ModelStatus{Version: version, State: v.state(version)}
		root, m, err := openFolder(filepath.Join(r.opt.Root, version))
		if err == nil {
			s.Created, s.Parent, s.Forced, s.Metrics = m.Created, m.Parent, m.Forced, m.Metrics
			err = root.Close()
		}
		switch why := r.refused.why(version); {
		case s.State != ranker.ModelAvailable:
		case err != nil:
			s.State, s.Reason = ranker.ModelRefused, err.Error()
		case why != "":
			s.State, s.Reason = ranker.ModelRefused, why
		}
		list = append(list, s)
	}
	return list, nil
}

func (v *view) state(version string) string {
	switch {
	case v.active.Version == version:
		return ranker.ModelActive
	case v.previous != nil && v.previous.Version == version:
		return ranker.ModelPrevious
	case v.models[version] != nil:
		return ranker.ModelLoaded
	}
	return ranker.ModelAvailable
}

// Report returns a bundle's report.html. Errors wrap ranker.ErrUnknownModel, also where the bundle has no report,
// or ranker.ErrModelRefused.
func (r *Registry) Report(version string) ([]byte, error) {
	if err := exists(r.opt.Root, version); err != nil {
		return nil, err
	}
	if version == ranker.PriorVersion {
		return nil, fmt.Errorf("%w: the prior was not trained and has no report", ranker.ErrUnknownModel)
	}
	page, err := readReport(filepath.Join(r.opt.Root, version))
	if err != nil && !errors.Is(err, ranker.ErrUnknownModel) {
		err = fmt.Errorf("%w: %w", ranker.ErrModelRefused, err)
	}
	return page, err
}

func readReport(dir string) ([]byte, error) {
	root, m, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f := m.file(ReportFile)
	if f == nil {
		return nil, fmt.Errorf("%w: the bundle has no report", ranker.ErrUnknownModel)
	}
	if f.Bytes > maxReport {
		return nil, fmt.Errorf("%s has more than %d bytes", ReportFile, maxReport)
	}
	var page bytes.Buffer
	err = readFile(root, f, func(_ *File, r io.Reader) error {
		_, err := page.ReadFrom(r)
		return err
	})
	return page.Bytes(), err
}
