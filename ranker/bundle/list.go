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

const (
	// maxListed is how many bundles Registry.List returns, newest first.
	maxListed = 100

	// maxReportBytes bounds the size of a model card.
	maxReportBytes = 32 << 20
)

// Versions returns the versions of the bundles in root, newest first.
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

// Prune removes the oldest bundles of root until keep are left, and returns the removed versions.
//
// It never removes the active bundle, the one before it, or the versions in except, such as those
// of experiments. These count among the kept ones. Servers keep the bundles that they have loaded.
func Prune(root string, keep int, except ...string) (removed []string, err error) {
	unlock, err := lockRoot(root)
	if err != nil {
		return nil, err
	}
	defer unlock()
	versions, err := Versions(root)
	if err != nil {
		return nil, err
	}
	h, err := readHistory(root)
	if err != nil {
		return nil, err
	}
	except = append([]string{h.active, h.previousOf(h.active)}, except...)
	left := len(versions)
	for _, v := range slices.Backward(versions) {
		if left <= keep {
			break
		}
		if slices.Contains(except, v) {
			continue
		}
		// The rename hides the bundle first: nobody must see half of it.
		hidden := filepath.Join(root, temporaryPrefix+v)
		if err := os.Rename(filepath.Join(root, v), hidden); err != nil {
			return removed, err
		}
		removed, left = append(removed, v), left-1
		if err := os.RemoveAll(hidden); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// List returns the prior and the newest 100 bundles, newest first, with their states. Of a bundle
// that is not loaded, only the manifest is checked.
func (r *Registry) List() ([]ranker.ModelStatus, error) {
	versions, err := Versions(r.opt.Root)
	if err != nil {
		return nil, err
	}
	v := r.current.Load()
	prior := ranker.ModelStatus{
		Version: ranker.PriorVersion, State: v.state(ranker.PriorVersion),
	}
	if waiting := v.waiting[ranker.PriorVersion]; waiting != nil {
		prior.State, prior.Reason = ranker.ModelWaiting, waiting()
	}
	list := []ranker.ModelStatus{prior}
	for _, version := range versions[:min(len(versions), maxListed)] {
		s := ranker.ModelStatus{Version: version, State: v.state(version)}
		m, err := ReadManifest(filepath.Join(r.opt.Root, version))
		if err == nil {
			s.Created, s.Parent, s.Forced, s.Metrics = m.Created, m.Parent, m.Forced, m.Metrics
		}
		switch reason := r.refused.reason(version); {
		case v.waiting[version] != nil:
			s.State, s.Reason = ranker.ModelWaiting, v.waiting[version]()
		case s.State != ranker.ModelAvailable:
		case err != nil:
			s.State, s.Reason = ranker.ModelRefused, err.Error()
		case reason != "":
			s.State, s.Reason = ranker.ModelRefused, reason
		}
		list = append(list, s)
	}
	return list, nil
}

// state returns the state of a version, one of ranker.ModelActive and so on.
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

// Report returns the model card of a bundle, its report.html. Errors wrap ranker.ErrUnknownModel,
// also if the bundle has no model card, or ranker.ErrModelRefused.
func (r *Registry) Report(version string) ([]byte, error) {
	if err := checkExists(r.opt.Root, version); err != nil {
		return nil, err
	}
	if version == ranker.PriorVersion {
		return nil, fmt.Errorf("%w: the prior was not trained and has no report",
			ranker.ErrUnknownModel)
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
	if f.Bytes > maxReportBytes {
		return nil, fmt.Errorf("%s has %d bytes; the maximum is %d",
			ReportFile, f.Bytes, maxReportBytes)
	}
	var page bytes.Buffer
	err = readFile(root, f, func(_ *File, r io.Reader) error {
		_, err := page.ReadFrom(r)
		return err
	})
	return page.Bytes(), err
}
