package experiment

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"relish/ranker"
)

// Bundles keeps the bundles that arms use ready to rank.
type Bundles interface {
	// Require replaces the set of needed versions. It may load missing ones until ctx ends. It
	// returns, for each version that cannot serve, the reason.
	Require(ctx context.Context, versions []string) map[string]error
}

// settleTime is how long the file must be unchanged before it is read, since editors and copies
// write in steps.
const settleTime = 200 * time.Millisecond

// Watcher holds the experiments file in effect and reads it again when it changes. It also holds
// the arms that were stopped. Its methods are safe for concurrent use; Run is its only goroutine.
type Watcher struct {
	path    string
	bundles Bundles
	log     *slog.Logger

	mu     sync.Mutex // serialises readings and stops
	active atomic.Pointer[activeSet]

	stoppedPath string
	stopped     atomic.Pointer[[]StoppedArm]
}

// activeSet is the result of the last reading: the set in effect, and why a newer file is not.
type activeSet struct {
	set         *Set
	loaded      time.Time
	refused     string           // problems of a newer file, "" if set is the newest
	unavailable map[string]error // by bundle version: why it cannot serve
}

var _ ranker.Experiments = (*Watcher)(nil)

// Open reads the file, which must be valid, and loads the bundles that its arms name. bundles may
// be nil if no arm names a bundle.
func Open(
	ctx context.Context, path string, bundles Bundles, log *slog.Logger,
) (*Watcher, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("experiments: %w", err)
	}
	w := &Watcher{path: path, bundles: bundles, log: log}
	if err := w.Reload(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

// Reload reads the file again. If it is invalid, or if ctx ends while bundles are loaded, Reload
// returns the error, and the set that was in effect stays.
func (w *Watcher) Reload(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.active.Load()
	set, err := Load(w.path)
	if err != nil {
		if old != nil {
			kept := *old
			kept.refused = err.Error()
			w.active.Store(&kept)
			if kept.refused != old.refused {
				w.log.Error("the experiments file is invalid; the previous version stays in effect",
					"version", old.set.Version, "problems", kept.refused)
			}
		}
		return err
	}
	next := &activeSet{set: set, loaded: time.Now(), unavailable: w.require(ctx, set)}
	if err := ctx.Err(); err != nil {
		return err // the bundles are not known to be unavailable
	}
	if old != nil && old.set.Version == set.Version {
		next.loaded = old.loaded
	}
	w.active.Store(next)
	if old == nil || old.set.Version != set.Version ||
		!sameUnavailable(old.unavailable, next.unavailable) {
		w.log.Info("experiments in effect", "version", set.Version, "experiments", len(set.All()))
		for version, err := range next.unavailable {
			w.log.Error("an arm's bundle cannot serve; control serves its users",
				"bundle", version, "error", err)
		}
	}
	return nil
}

// require tells the bundles which versions the set needs.
func (w *Watcher) require(ctx context.Context, set *Set) map[string]error {
	if w.bundles == nil {
		return nil
	}
	return w.bundles.Require(ctx, set.Bundles(time.Now()))
}

// Run reads the file whenever it changes, and when again receives a signal, until ctx ends. It
// watches the folder, because editors replace the file with a new one. If the folder cannot be
// watched, Run logs an error and only reacts to signals. It passes the outcome of each reading to
// report.
func (w *Watcher) Run(ctx context.Context, again <-chan os.Signal, report func(error)) {
	reload := func() {
		err := w.Reload(ctx) // it logs its errors
		if ctx.Err() == nil {
			report(err)
		}
	}
	var events chan fsnotify.Event
	var errs chan error
	watch, err := fsnotify.NewWatcher()
	if err == nil {
		defer watch.Close()
		err = watch.Add(filepath.Dir(w.path))
		events, errs = watch.Events, watch.Errors
	}
	if err != nil {
		w.log.Error("the folder of the experiments file cannot be watched; "+
			"send SIGHUP after a change", "error", err)
	}
	reload() // the file may have changed since Open
	timer := time.NewTimer(settleTime)
	timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if w.affectsFile(e.Name) {
				timer.Reset(settleTime)
			}
		case err := <-errs: // such as lost events
			w.log.Warn("changes of the experiments file may have been missed; reading it again",
				"error", err)
			timer.Reset(settleTime)
		case <-timer.C:
			reload()
		case <-again:
			reload()
		}
	}
}

// affectsFile reports whether a change of this name in the folder may change the file. A mounted
// volume (Kubernetes) changes through a link called ..data that all its files are reached by.
func (w *Watcher) affectsFile(name string) bool {
	base := filepath.Base(name)
	return base == filepath.Base(w.path) || strings.HasPrefix(base, "..")
}

// Set returns the set in effect.
func (w *Watcher) Set() *Set { return w.active.Load().set }

// Assign implements ranker.Experiments.
func (w *Watcher) Assign(
	req *ranker.Request, user map[string]ranker.FieldValue, now int64,
) ([]ranker.Assignment, string) {
	s := w.Set()
	assignments := s.Assignments(req, user, now)
	if stopped := w.StoppedArms(); len(stopped) > 0 {
		s.replaceStopped(assignments, stopped)
	}
	return assignments, s.Version
}

// ReadsUser implements ranker.Experiments.
func (w *Watcher) ReadsUser() bool { return w.Set().ReadsUser() }

// Status describes the experiments in effect.
func (w *Watcher) Status() SetStatus {
	active := w.active.Load()
	s := active.set.Status(time.Now(), active.unavailable)
	s.LoadedAt, s.Error = active.loaded, active.refused
	for _, x := range active.set.All() {
		for _, stopped := range x.StoppedArms(w.StoppedArms()) {
			s.markStopped(stopped)
		}
	}
	return s
}

// GrowthBook returns the running experiments as a GrowthBook SDK payload. An experiment with a
// stopped arm is left out, so frontends stop using it.
func (w *Watcher) GrowthBook() Payload {
	set := w.Set()
	p := set.GrowthBook(time.Now())
	for _, e := range set.All() {
		if len(e.StoppedArms(w.StoppedArms())) > 0 {
			delete(p.Features, e.Name)
		}
	}
	return p
}
