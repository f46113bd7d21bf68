package bundle_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/scorer"
	"relish/ranker/signals"
)

func TestActivateAndRollBack(t *testing.T) {
	root := t.TempDir()
	a, b, c := write(t, root, 1, nil), write(t, root, 2, nil), write(t, root, 3, nil)
	r, _ := open(t, root, nil)
	wantActive(t, r, "prior")
	activate := func(v string) {
		t.Helper()
		if err := r.Activate(t.Context(), v, "tester", "a test"); err != nil {
			t.Fatal(err)
		}
	}
	back := func(want string) {
		t.Helper()
		if v, err := r.Rollback(t.Context(), "tester", ""); err != nil || v != want {
			t.Fatalf("rolled back to %q (%v), want %s", v, err, want)
		}
	}
	activate(a)
	wantActive(t, r, a, "prior")
	activate(b)
	wantActive(t, r, b, a, "prior")
	activate(b) // it is active already
	wantActive(t, r, b, a, "prior")
	activate(c)
	wantActive(t, r, c, b, "prior")
	state, _ := states(t, r)
	for v, want := range map[string]string{
		"prior": "loaded", a: "available", b: "previous", c: "active",
	} {
		if state[v] != want {
			t.Errorf("%s is %s, want %s", v, state[v], want)
		}
	}
	if _, err := r.Acquire(a); !errors.Is(err, ranker.ErrUnknownModel) {
		t.Errorf("a bundle that is not loaded was acquired: %v", err)
	}
	if v, _, err := rank(r, b); err != nil || v != b {
		t.Errorf("the previous bundle ranked as %s, %v", v, err)
	}
	back(b)
	wantActive(t, r, b, a, "prior") // a bundle that was rolled back is no fallback
	activate("prior")
	wantActive(t, r, "prior")
	back(b)
	back(a)
	back("prior")
	wantActive(t, r, "prior")
	if _, err := r.Rollback(t.Context(), "tester", ""); !errors.Is(err, ranker.ErrNoPreviousModel) {
		t.Errorf("rolled back beyond the prior: %v", err)
	}
	// Every activation is recorded.
	data, err := os.ReadFile(filepath.Join(root, "activations"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	var first bundle.Activation
	mustJSON(t, []byte(lines[0]), &first)
	if len(lines) != 8 || first.Version != a || first.By != "tester" || first.Reason != "a test" ||
		time.Since(first.Time) > time.Hour {
		t.Errorf("the history has %d lines: %s", len(lines), data)
	}
	if st := r.Stats(); st.Active != "prior" || st.Refusals != 0 || st.Refused != "" ||
		st.Loaded != 0 {
		t.Errorf("stats %+v", st)
	}
}

// A refused bundle leaves the old one active, and the reason is shown.
func TestRefusedBundleChangesNothing(t *testing.T) {
	root := t.TempDir()
	good, bad := write(t, root, 1, nil), write(t, root, 2, nil)
	r, log := open(t, root, nil)
	follow(t, r)
	if err := r.Activate(t.Context(), good, "", ""); err != nil {
		t.Fatal(err)
	}
	priors := filepath.Join(root, bad, "priors.json")
	if err := os.WriteFile(priors, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := r.Activate(t.Context(), bad, "", "")
	if !errors.Is(err, ranker.ErrModelRefused) || !strings.Contains(err.Error(), "priors.json") {
		t.Errorf("activated: %v", err)
	}
	check := func() {
		t.Helper()
		wantActive(t, r, good, "prior")
		state, reason := states(t, r)
		if state[bad] != "refused" || !strings.Contains(reason[bad], "priors.json") ||
			state[good] != "active" {
			t.Errorf("states %v, reasons %v", state, reason)
		}
		if !strings.Contains(log.String(), "priors.json") {
			t.Error("the reason is not logged")
		}
	}
	check()
	if v, err := bundle.Active(root); err != nil || v != good {
		t.Errorf("the folder names %s, %v", v, err)
	}
	// Another process activates it nevertheless.
	if err := bundle.Activate(root, bad, "another", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refusal shows", func() bool { return r.Stats().Refused != "" })
	check()
	if st := r.Stats(); st.Active != good || !strings.Contains(st.Refused, bad) ||
		st.Refusals == 0 {
		t.Errorf("stats %+v", st)
	}
	// Once it is repaired, it is served when somebody asks for it.
	_, files := parts(2)
	if err := os.WriteFile(priors, files["priors.json"], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.Activate(t.Context(), bad, "", ""); err != nil {
		t.Fatal(err)
	}
	wantActive(t, r, bad, good, "prior")
	if r.Stats().Refused != "" {
		t.Errorf("stats %+v", r.Stats())
	}
}

func TestActivateUnknown(t *testing.T) {
	root := t.TempDir()
	write(t, root, 1, nil)
	r, _ := open(t, root, nil)
	for _, v := range []string{
		"x", "..", "../" + filepath.Base(root), "20260101T000000000Z-000000000000", "active",
	} {
		if err := r.Activate(t.Context(), v, "", ""); !errors.Is(err, ranker.ErrUnknownModel) {
			t.Errorf("%q: %v", v, err)
		}
		if err := bundle.Activate(root, v, "", ""); !errors.Is(err, ranker.ErrUnknownModel) {
			t.Errorf("%q: %v", v, err)
		}
	}
	wantActive(t, r, "prior")
	if n := r.Stats().Refusals; n != 0 {
		t.Errorf("%d refusals of bundles that do not exist", n)
	}
}

// After a restart the active bundle is served. If it is damaged, the one before is served, else the
// prior.
func TestRestart(t *testing.T) {
	root := t.TempDir()
	a, b := write(t, root, 1, nil), write(t, root, 2, nil)
	for _, v := range []string{a, b} {
		if err := bundle.Activate(root, v, "train", "better"); err != nil {
			t.Fatal(err)
		}
	}
	r, _ := open(t, root, nil)
	wantActive(t, r, b, a, "prior")
	damage := func(v string) {
		if err := os.Remove(filepath.Join(root, v, bundle.ProbeFile)); err != nil {
			t.Fatal(err)
		}
	}
	damage(b)
	r, _ = open(t, root, nil)
	wantActive(t, r, a, "prior")
	if !strings.Contains(r.Stats().Refused, bundle.ProbeFile) {
		t.Errorf("stats %+v", r.Stats())
	}
	damage(a)
	r, _ = open(t, root, nil)
	wantActive(t, r, "prior")

	// A damaged history only costs the rollback; a damaged active file is reported.
	history := filepath.Join(root, "activations")
	if err := os.WriteFile(history, []byte("{\n\x00"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := write(t, root, 3, nil)
	if err := bundle.Activate(root, c, "", ""); err != nil {
		t.Fatal(err)
	}
	r, _ = open(t, root, nil)
	wantActive(t, r, c, "prior")
	if err := os.WriteFile(filepath.Join(root, "active"), []byte("../../etc"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, log := open(t, root, nil)
	wantActive(t, r, "prior")
	if !strings.Contains(log.String(), "not a version") {
		t.Errorf("the log is %s", log)
	}
	if err := r.Activate(t.Context(), c, "", ""); err != nil {
		t.Error(err)
	}
	wantActive(t, r, c, "prior")
}

// A server serves what others activate. It learns of it by notification, or by polling.
func TestFollowsActivations(t *testing.T) {
	root := t.TempDir()
	a, b := write(t, root, 1, nil), write(t, root, 2, nil)
	notified, _ := open(t, root, nil)
	polling, _ := open(t, root, func(o *bundle.Options) { o.PollInterval = 10 * time.Millisecond })
	follow(t, notified)
	follow(t, polling)
	activate := func(v string, r *bundle.Registry) {
		t.Helper()
		if err := bundle.Activate(root, v, "another", ""); err != nil {
			t.Fatal(err)
		}
		eventually(t, v+" is served", func() bool { return r.Stats().Active == v })
	}
	activate(a, notified)
	activate(b, notified)
	// A new folder under the same name sends no notifications.
	moved := root + "-moved"
	if err := errors.Join(os.Rename(root, moved), os.CopyFS(root, os.DirFS(moved))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(moved) })
	activate(a, polling)
}

// A server that stops while it tries a bundle stops at once, and does not count it as refused.
func TestStopsWhileProbing(t *testing.T) {
	root := t.TempDir()
	v := write(t, root, 1, nil)
	started := make(chan struct{})
	r, _ := open(t, root, func(o *bundle.Options) {
		o.Probe = func(ctx context.Context, _ string) error {
			close(started)
			<-ctx.Done()
			return ctx.Err()
		}
	})
	if err := bundle.Activate(root, v, "", ""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	<-started
	if err := r.Activate(canceled(t), v, "", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("a second activation did not wait: %v", err)
	}
	wantActive(t, r, "prior") // requests do not wait
	cancel()
	<-done
	if st := r.Stats(); st.Refusals != 0 || st.Active != "prior" {
		t.Errorf("stats %+v", st)
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// A hundred activations under load fail no request. Each request is ranked by one version, with the
// scores of that version. In the end every retired bundle is closed.
func TestReloadUnderLoad(t *testing.T) {
	root := t.TempDir()
	want := map[string]map[string]float64{}
	var versions []string
	for i := range 4 { // more than stay loaded, so that each activation loads one
		v := write(t, root, float64(i+1)/3, nil)
		b, err := bundle.Load(filepath.Join(root, v), new(signals.Loader).Load)
		if err != nil {
			t.Fatal(err)
		}
		_, scores, err := rank(scorer.SingleModel(b.Model), "")
		if err != nil {
			t.Fatal(err)
		}
		versions, want[v] = append(versions, v), scores
	}
	r, _ := open(t, root, nil)
	follow(t, r)
	if err := r.Activate(t.Context(), versions[3], "", ""); err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int64
	stop := underLoad(2, func() bool {
		v, scores, err := rank(r, "")
		if err != nil || fmt.Sprint(scores) != fmt.Sprint(want[v]) {
			t.Errorf("version %q: %v, %v", v, scores, err)
			return false
		}
		requests.Add(1)
		return true
	})
	for i := range 100 {
		before := requests.Load()
		if err := r.Activate(t.Context(), versions[i%4], "", ""); err != nil {
			t.Error(err)
		}
		eventually(t, "requests go on",
			func() bool { return requests.Load() > before || t.Failed() })
	}
	stop()
	eventually(t, "retired bundles are closed", func() bool { return r.Stats().Open == 2 })
	if st := r.Stats(); st.Loads != 101 || st.Loaded != 2 || st.Refusals != 0 {
		t.Errorf("stats %+v", st)
	}
}

// After concurrent activations all servers serve the same one of them.
func TestConcurrentActivations(t *testing.T) {
	root := t.TempDir()
	var versions []string
	for i := range 3 {
		versions = append(versions, write(t, root, float64(i), nil))
	}
	one, _ := open(t, root, nil)
	two, _ := open(t, root, nil)
	follow(t, one)
	follow(t, two)
	var all sync.WaitGroup
	for i := range 24 {
		all.Go(func() {
			r := []*bundle.Registry{one, two}[i%2]
			if err := r.Activate(t.Context(), versions[i%3], "", ""); err != nil {
				t.Error(err)
			}
			if i%6 == 0 {
				_, _ = r.Rollback(t.Context(), "", "") // fails if another activation was faster
			}
		})
	}
	all.Wait()
	active, err := bundle.Active(root)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "both serve "+active,
		func() bool { return one.Stats().Active == active && two.Stats().Active == active })
}

func TestRequire(t *testing.T) {
	root := t.TempDir()
	var v []string
	for i := range bundle.MaxRequired + 2 {
		v = append(v, write(t, root, float64(i), nil))
	}
	r, _ := open(t, root, nil)
	if err := r.Activate(t.Context(), v[0], "", ""); err != nil {
		t.Fatal(err)
	}
	if failed := r.Require(t.Context(), []string{v[1], "prior", v[1], v[0]}); len(failed) > 0 {
		t.Error(failed)
	}
	if got, _, err := rank(r, v[1]); err != nil || got != v[1] {
		t.Errorf("%s %v", got, err)
	}
	chain := r.Fallbacks(v[1])
	if fmt.Sprint(chain) != fmt.Sprint([]string{v[0], "prior"}) {
		t.Errorf("fallbacks %v", chain)
	}
	if state, _ := states(t, r); state[v[1]] != "loaded" {
		t.Errorf("%v", state)
	}
	// The next call replaces the versions of the last one. Failures are returned by version.
	os.Remove(filepath.Join(root, v[2], "priors.json"))
	failed := r.Require(t.Context(), []string{v[2], "20260101T000000000Z-000000000000"})
	if !errors.Is(failed[v[2]], ranker.ErrModelRefused) ||
		!errors.Is(failed["20260101T000000000Z-000000000000"], ranker.ErrUnknownModel) ||
		len(failed) != 2 {
		t.Error(failed)
	}
	if _, err := r.Acquire(v[1]); !errors.Is(err, ranker.ErrUnknownModel) {
		t.Errorf("a version that is no longer required was acquired: %v", err)
	}
	failed = r.Require(t.Context(), v[1:])
	if len(failed) != 2 || failed[v[2]] == nil || failed[v[len(v)-1]] == nil {
		t.Errorf("%d: %v", len(failed), failed)
	}
	wantActive(t, r, v[0], "prior")
	if st := r.Stats(); st.Loaded > bundle.MaxRequired+1 {
		t.Errorf("stats %+v", st)
	}
	if failed := r.Require(canceled(t), v[:1]); len(failed) > 0 &&
		!errors.Is(failed[v[0]], context.Canceled) {
		t.Errorf("cancelled: %v", failed)
	}
}

// A server that lacks a counter or the encoder of a bundle refuses the bundle and names what is
// missing.
func TestIncompatibleBundleIsRefused(t *testing.T) {
	root := t.TempDir()
	v := write(t, root, 1, nil)
	for want, change := range map[string]func(*bundle.Options){
		"--encoder": func(o *bundle.Options) { o.EncoderDigest = "e2" },
		"state.actions": func(o *bundle.Options) {
			o.CheckSchema = func(*ranker.Schema) error {
				return errors.New(`needs "buy" of state.actions`)
			}
		},
	} {
		r, _ := open(t, root, change)
		if err := r.Activate(t.Context(), v, "", ""); !errors.Is(err, ranker.ErrModelRefused) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		wantActive(t, r, "prior")
	}
}

// A bundle that crashes the process that reads it does not harm the server.
func TestHostileBundleIsTriedInSandbox(t *testing.T) {
	t.Setenv("BUNDLE_TEST_CHILD", "probe")
	root := t.TempDir()
	good := write(t, root, 1, nil)
	bomb := write(t, root, 1, func(m *bundle.Manifest, _ map[string][]byte) {
		m.Signals = append(m.Signals, bundle.SignalFile{Kind: "crash later"})
	})
	r, _ := open(t, root, func(o *bundle.Options) {
		o.LoadSignal = hostile
		o.Probe = func(ctx context.Context, dir string) error {
			return bundle.ProbeInSandbox(ctx, dir, time.Minute)
		}
	})
	if err := r.Activate(t.Context(), good, "", ""); err != nil {
		t.Fatal(err)
	}
	if err := r.Activate(t.Context(), bomb, "", ""); !errors.Is(err, ranker.ErrModelRefused) ||
		!strings.Contains(err.Error(), "crashed") {
		t.Errorf("activated: %v", err)
	}
	wantActive(t, r, good, "prior")
}

// A registry that nobody uses can be closed although the context has ended.
func TestCloseTakesAFreeLock(t *testing.T) {
	for range 20 {
		r, _ := open(t, t.TempDir(), nil)
		if err := r.Close(canceled(t)); err != nil {
			t.Fatal(err)
		}
	}
}
