package bundle_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"relish/ranker"
	"relish/ranker/bundle"
)

func TestReports(t *testing.T) {
	root := t.TempDir()
	with := write(t, root, 1, nil)
	without := write(t, root, 2,
		func(_ *bundle.Manifest, f map[string][]byte) { delete(f, bundle.ReportFile) })
	damaged := write(t, root, 3, nil)
	report := filepath.Join(root, damaged, bundle.ReportFile)
	if err := os.WriteFile(report, []byte("<title>weight 4</title>"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, _ := open(t, root, nil)
	if page, err := r.Report(with); err != nil || string(page) != "<title>weight 1</title>" {
		t.Errorf("%s, %v", page, err)
	}
	for v, want := range map[string]error{
		without: ranker.ErrUnknownModel,
		"prior": ranker.ErrUnknownModel,
		"../x":  ranker.ErrUnknownModel,
		damaged: ranker.ErrModelRefused,
	} {
		if page, err := r.Report(v); !errors.Is(err, want) || len(page) > 0 && err == nil {
			t.Errorf("%s: %v, want %v", v, err, want)
		}
	}
}

// The history keeps the last MaxHistory activations.
func TestHistoryIsBounded(t *testing.T) {
	root := t.TempDir()
	a, b := write(t, root, 1, nil), write(t, root, 2, nil)
	line := func(v string) string {
		return fmt.Sprintf(
			`{"time":"2026-01-01T00:00:00Z","version":%q,"by":"","why":"","rollback":false}`+"\n",
			v,
		)
	}
	old := strings.Repeat(line(a)+line(b), bundle.MaxHistory)
	for name, text := range map[string]string{"activations": old, "active": b} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := bundle.Activate(root, a, "", ""); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(root, "activations"))
	if n := strings.Count(string(data), "\n"); err != nil || n != bundle.MaxHistory {
		t.Errorf("%d lines, %v", n, err)
	}
}

func TestPrune(t *testing.T) {
	root := t.TempDir()
	var v []string
	for i := range 7 {
		v = append(v, write(t, root, 1, func(m *bundle.Manifest, _ map[string][]byte) {
			m.Created = time.Date(2026, 1, 1, i, 0, 0, 0, time.UTC)
		}))
	}
	for _, active := range []string{v[3], v[0], v[1]} {
		if err := bundle.Activate(root, active, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	// v[1] is active, v[0] was active before, v[2] is an exception. The oldest others go.
	removed, err := bundle.Prune(root, 5, v[2])
	if err != nil || !slices.Equal(removed, []string{v[3], v[4]}) {
		t.Errorf("removed %v, %v", removed, err)
	}
	if removed, err = bundle.Prune(root, 0); err != nil ||
		!slices.Equal(removed, []string{v[2], v[5], v[6]}) {
		t.Errorf("removed %v, %v", removed, err)
	}
	if left, err := bundle.Versions(root); err != nil || !slices.Equal(left, []string{v[1], v[0]}) {
		t.Errorf("left %v, %v", left, err)
	}
}
