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

// eventually waits for what happens on another goroutine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 20 seconds: %s", what)
}

// shelf has some bundles.
type shelf struct {
	mu       sync.Mutex
	has      []string
	required []string
}

func (s *shelf) Require(versions []string) map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.required = versions
	missing := map[string]error{}
	for _, v := range versions {
		if !slices.Contains(s.has, v) {
			missing[v] = errors.New("is not on the shelf")
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

// replace puts a new file in the old one's place, as editors do.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestKeeperFollowsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "experiments.yaml")
	const first = "layers: [{name: l, experiments: [{name: x, arms: [{name: control}, {name: other, bundle: v1}]}]}]\n"
	replace(t, path, first)
	var log logs
	bundles := &shelf{}
	k, err := experiment.Open(path, bundles, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	hup := make(chan os.Signal)
	running.Go(func() { k.Run(ctx, hup) })
	v1 := k.Status()
	if v1.Error != "" || v1.Version == "" || !strings.Contains(v1.Layers[0].Experiments[0].Arms[1].Problem, "not on the shelf") {
		t.Errorf("%+v", v1)
	}
	if !strings.Contains(log.String(), "bundle=v1") {
		t.Errorf("the missing bundle is not logged: %s", log.String())
	}

	replace(t, path, "layers: [{name: l, experiments: [{name: secret, arms: 3}]}]\n")
	eventually(t, "the bad file is refused", func() bool { return k.Status().Error != "" })
	if s := k.Status(); s.Version != v1.Version || !strings.Contains(s.Error, "line 1: ") || k.Set().Find("x") == nil || !s.LoadedAt.Equal(v1.LoadedAt) {
		t.Errorf("%+v", s)
	}

	replace(t, path, strings.ReplaceAll(first, "v1", "v2"))
	eventually(t, "the good file is taken", func() bool { return k.Status().Version != v1.Version })
	if s := k.Status(); s.Error != "" || k.Set().Find("x").Arms[1].Change.Model != "v2" {
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
	eventually(t, "the bundle that came is found on SIGHUP", func() bool { return k.Status().Layers[0].Experiments[0].Arms[1].Problem == "" })

	// Written in place, and by a link as mounted volumes do it.
	if err := os.WriteFile(path, []byte("layers: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a file written in place is taken", func() bool { return len(k.Set().Layers) == 0 })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a file that is gone is an error", func() bool { return k.Status().Error != "" })
}

func TestKeeperFollowsAMountedVolume(t *testing.T) {
	dir := t.TempDir()
	for version, text := range map[string]string{"..1": "layers: []\n", "..2": one("arms: [{name: a}, {name: b}]")} {
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
	k, err := experiment.Open(path, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { k.Run(ctx, nil) })
	link("..2")
	eventually(t, "the new volume is read", func() bool { return k.Set().Find("x") != nil })
}

func TestKeeperNeedsAGoodFileToStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "experiments.yaml")
	if _, err := experiment.Open(path, nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no file: opened")
	}
	replace(t, path, "nope: 1")
	if _, err := experiment.Open(path, nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), `unknown key "nope"`) {
		t.Errorf("%v", err)
	}
}

// What the pipeline gets of a request's experiments.
func TestTrials(t *testing.T) {
	path := filepath.Join(t.TempDir(), "experiments.yaml")
	replace(t, path, `
layers:
- name: a
  experiments:
  - {name: split, force: {tester: other}, arms: [{name: control, weight: 1}, {name: other, weight: 0, text: false}]}
- name: b
  experiments:
  - {name: mixed, mode: interleave, condition: {user.country: de}, arms: [{name: control}, {name: diverse, rules: {diversity: {lambda: 0.5, top: 9}}}]}
`)
	k, err := experiment.Open(path, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	german := map[string]ranker.FieldValue{"country": ranker.StringValue("de")}
	trials, version := k.Assign(&ranker.Request{User: "u"}, german, noon)
	if len(trials) != 2 || version != k.Status().Version || !k.ReadsUser() {
		t.Fatalf("%+v", trials)
	}
	if a := trials[0]; a.Arm.Name != "control" || a.Arm != a.Control || a.Parts != ranker.PartText || a.Forced || a.Interleave {
		t.Errorf("%+v", a)
	}
	if b := trials[1]; !b.Interleave || b.Control.Name != "control" || b.Arm.Name != "diverse" || b.Parts != ranker.PartDiversity {
		t.Errorf("%+v", b)
	}
	if trials, _ := k.Assign(&ranker.Request{User: "tester"}, nil, noon); len(trials) != 1 || trials[0].Arm.Name != "other" || !trials[0].Forced {
		t.Errorf("%+v", trials)
	}
}
