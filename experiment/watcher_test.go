package experiment_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"relish/experiment"
	"relish/ranker"
)

// eventually waits until another goroutine has done something.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	for ; time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within a minute: %s", what)
}

// bundleSet is a set of bundles that can serve.
type bundleSet struct {
	mu       sync.Mutex
	has      []string
	required []string
}

func (s *bundleSet) Require(_ context.Context, versions []string) map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.required = versions
	missing := map[string]error{}
	for _, v := range versions {
		if !slices.Contains(s.has, v) {
			missing[v] = errors.New("is not installed")
		}
	}
	return missing
}

type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// replace replaces the file with a new one, as editors do.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestWatcherFollowsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "experiments.yaml")
	first := one("arms: [{name: control}, {name: other, bundle: v1}]")
	replace(t, path, first)
	var log logs
	bundles := &bundleSet{}
	w, err := experiment.Open(t.Context(), path, bundles, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	hup := make(chan os.Signal)
	running.Go(func() { w.Run(ctx, hup, func(error) {}) })
	v1 := w.Status()
	problem := func() string { return w.Status().Layers[0].Experiments[0].Arms[1].Problem }
	if v1.Error != "" || v1.Version == "" || !strings.Contains(problem(), "is not installed") {
		t.Errorf("%+v", v1)
	}
	if !strings.Contains(log.String(), "bundle=v1") {
		t.Errorf("the missing bundle is not logged: %s", log.String())
	}

	replace(t, path, "layers: [{name: l, experiments: [{name: secret, arms: 3}]}]\n")
	eventually(t, "the invalid file is rejected", func() bool { return w.Status().Error != "" })
	s := w.Status()
	if s.Version != v1.Version || !strings.Contains(s.Error, "line 1: ") ||
		w.Set().Find("x") == nil || !s.LoadedAt.Equal(v1.LoadedAt) {
		t.Errorf("%+v", s)
	}

	replace(t, path, strings.ReplaceAll(first, "v1", "v2"))
	eventually(t, "the valid file takes effect", func() bool {
		return w.Status().Version != v1.Version
	})
	if s := w.Status(); s.Error != "" || w.Set().Find("x").Arms[1].Change.Model != "v2" {
		t.Errorf("%+v", s)
	}
	bundles.mu.Lock()
	bundles.has = []string{"v2"}
	required := bundles.required
	bundles.mu.Unlock()
	if !slices.Equal(required, []string{"v2"}) {
		t.Errorf("required %v", required)
	}
	hup <- syscall.SIGHUP
	eventually(t, "the new bundle is found on SIGHUP", func() bool { return problem() == "" })

	// A file that is written in place.
	if err := os.WriteFile(path, []byte("layers: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a file written in place takes effect", func() bool {
		return len(w.Set().Layers) == 0
	})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a removed file is an error", func() bool { return w.Status().Error != "" })
}

func TestWatcherFollowsAMountedVolume(t *testing.T) {
	dir := t.TempDir()
	for version, text := range map[string]string{
		"..1": "layers: []\n",
		"..2": one("arms: [{name: a}, {name: b}]"),
	} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		replace(t, filepath.Join(dir, version, "experiments.yaml"), text)
	}
	link := func(to string) {
		if err := os.Symlink(to, filepath.Join(dir, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	link("..1")
	path := filepath.Join(dir, "experiments.yaml")
	if err := os.Symlink("..data/experiments.yaml", path); err != nil {
		t.Fatal(err)
	}
	w, err := experiment.Open(t.Context(), path, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { w.Run(ctx, nil, func(error) {}) })
	link("..2")
	eventually(t, "the new volume is read", func() bool { return w.Set().Find("x") != nil })
}

func TestOpenNeedsAValidFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "experiments.yaml")
	log := slog.New(slog.DiscardHandler)
	if _, err := experiment.Open(t.Context(), path, nil, log); err == nil {
		t.Error("a missing file must be an error")
	}
	replace(t, path, "nope: 1")
	_, err := experiment.Open(t.Context(), path, nil, log)
	if err == nil || !strings.Contains(err.Error(), `unknown key "nope"`) {
		t.Errorf("%v", err)
	}
}

// The assignments that the ranking pipeline receives.
func TestAssignments(t *testing.T) {
	path := filepath.Join(t.TempDir(), "experiments.yaml")
	replace(t, path, `
layers:
- name: a
  experiments:
  - name: split
    force: {tester: other}
    arms: [{name: control, weight: 1}, {name: other, weight: 0, text: false}]
- name: b
  experiments:
  - name: mixed
    mode: interleave
    condition: {user.country: de}
    arms: [{name: control}, {name: diverse, rules: {diversity: {lambda: 0.5, top: 9}}}]
`)
	w, err := experiment.Open(t.Context(), path, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	german := map[string]ranker.FieldValue{"country": ranker.StringValue("de")}
	assignments, version := w.Assign(&ranker.Request{User: "u"}, german, noon)
	if len(assignments) != 2 || version != w.Status().Version || !w.ReadsUser() {
		t.Fatalf("%+v", assignments)
	}
	a := assignments[0]
	if a.Arm.Name != "control" || a.Arm != a.Control || a.Parts != ranker.PartText ||
		a.Forced || a.Interleave {
		t.Errorf("%+v", a)
	}
	b := assignments[1]
	if !b.Interleave || b.Control.Name != "control" || b.Arm.Name != "diverse" ||
		b.Parts != ranker.PartDiversity {
		t.Errorf("%+v", b)
	}
	assignments, _ = w.Assign(&ranker.Request{User: "tester"}, nil, noon)
	if len(assignments) != 1 || assignments[0].Arm.Name != "other" || !assignments[0].Forced {
		t.Errorf("%+v", assignments)
	}
}

// loadingBundles is a set of bundles that loads until its context ends.
type loadingBundles struct{ loading chan struct{} }

func (b loadingBundles) Require(ctx context.Context, versions []string) map[string]error {
	if len(versions) == 0 {
		return nil
	}
	close(b.loading)
	<-ctx.Done()
	return map[string]error{versions[0]: ctx.Err()}
}

// Run ends with its context although a bundle is being loaded, and does not report the bundle.
func TestWatcherEndsWhileABundleIsLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "experiments.yaml")
	replace(t, path, one("arms: [{name: control}, {name: other}]"))
	var log logs
	bundles := loadingBundles{make(chan struct{})}
	w, err := experiment.Open(t.Context(), path, bundles, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	before := w.Set()
	replace(t, path, one("arms: [{name: control}, {name: other, bundle: v1}]"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx, nil, func(error) {})
	}()
	<-bundles.loading
	cancel()
	<-ended
	if w.Set() != before || strings.Contains(log.String(), "cannot serve") {
		t.Errorf("an unfinished reading took effect: %s", log.String())
	}
	if _, err := experiment.Open(ctx, path, loadingBundles{make(chan struct{})},
		slog.New(slog.DiscardHandler)); !errors.Is(err, context.Canceled) {
		t.Errorf("Open returned %v", err)
	}
}
