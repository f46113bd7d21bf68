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

// Bundles keeps the bundles that arms name ready to rank.
type Bundles interface {
	// Require says which versions are needed from now on, in place of what was said before, and returns
	// why those that cannot be served cannot. It may load what is not loaded yet.
	Require(versions []string) map[string]error
}

// settleTime is how long the file must be left alone before it is read: editors and copies write in steps.
const settleTime = 200 * time.Millisecond

// Watcher holds the file in effect. Its methods are safe for concurrent use; Run is its one goroutine.
type Watcher struct {
	path    string
	bundles Bundles
	log     *slog.Logger

	mu     sync.Mutex // one reading at a time
	active atomic.Pointer[activeSet]

	stoppedPath string
	stopped     atomic.Pointer[[]StoppedArm]
}

// activeSet is what a reading left: the set in effect and why a newer file is not.
type activeSet struct {
	set         *Set
	loaded      time.Time
	refused     string
	unavailable map[string]error
}

var _ ranker.Experiments = (*Watcher)(nil)

// Open reads the file, which must be good. bundles may be nil where no arm names one.
func Open(path string, bundles Bundles, log *slog.Logger) (*Watcher, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("experiments: %w", err)
	}
	k := &Watcher{path: path, bundles: bundles, log: log}
	return k, k.Reload()
}

// Reload reads the file again. A bad one is refused, and what was in effect stays so.
func (k *Watcher) Reload() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.active.Load()
	set, err := Load(k.path)
	if err != nil {
		if old != nil {
			kept := *old
			kept.refused = err.Error()
			k.active.Store(&kept)
			if kept.refused != old.refused {
				k.log.Error("the experiments' file is refused; what was in effect stays", "version", old.set.Version, "reasons", kept.refused)
			}
		}
		return err
	}
	next := &activeSet{set: set, loaded: time.Now(), unavailable: k.require(set)}
	if old != nil && old.set.Version == set.Version {
		next.loaded = old.loaded
	}
	k.active.Store(next)
	if old == nil || old.set.Version != set.Version || !sameUnavailable(old.unavailable, next.unavailable) {
		k.log.Info("experiments in effect", "version", set.Version, "experiments", len(set.All()))
		for version, err := range next.unavailable {
			k.log.Error("an arm's bundle cannot be served; control stands in for it", "bundle", version, "reason", err)
		}
	}
	return nil
}

func (k *Watcher) require(set *Set) map[string]error {
	if k.bundles == nil {
		return nil
	}
	return k.bundles.Require(set.Bundles(time.Now()))
}

// Run reads the file again whenever it changes or again says so, until ctx ends. The folder is watched,
// not the file: an editor puts a new file in the old one's place. Where it cannot be watched, which is
// logged, again is what is left.
func (k *Watcher) Run(ctx context.Context, again <-chan os.Signal) {
	var events chan fsnotify.Event
	var errs chan error
	w, err := fsnotify.NewWatcher()
	if err == nil {
		defer w.Close()
		err = w.Add(filepath.Dir(k.path))
		events, errs = w.Events, w.Errors
	}
	if err != nil {
		k.log.Error("the folder of the experiments' file cannot be watched; send SIGHUP after a change", "error", err)
	}
	// The file may have changed between Open and the watch. Errors of Reload are logged there.
	_ = k.Reload()
	timer := time.NewTimer(settleTime)
	timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if k.affectsFile(e.Name) {
				timer.Reset(settleTime)
			}
		case err := <-errs: // events may have been lost
			k.log.Warn("watching the experiments' file", "error", err)
			timer.Reset(settleTime)
		case <-timer.C:
			_ = k.Reload()
		case <-again:
			_ = k.Reload()
		}
	}
}

// affectsFile reports whether a change of that name in the folder may be one of the file. A mounted volume
// (Kubernetes) changes by a link called ..data, through which all its files are reached.
func (k *Watcher) affectsFile(name string) bool {
	base := filepath.Base(name)
	return base == filepath.Base(k.path) || strings.HasPrefix(base, "..")
}

// Set returns the set in effect.
func (k *Watcher) Set() *Set { return k.active.Load().set }

// Assign implements ranker.Experiments.
func (k *Watcher) Assign(req *ranker.Request, user map[string]ranker.FieldValue, now int64) ([]ranker.Assignment, string) {
	s := k.Set()
	trials := s.Assignments(req, user, now)
	if stops := k.StoppedArms(); len(stops) > 0 {
		s.replaceStopped(trials, stops)
	}
	return trials, s.Version
}

// ReadsUser implements ranker.Experiments.
func (k *Watcher) ReadsUser() bool { return k.Set().ReadsUser() }

// Status describes what is in effect.
func (k *Watcher) Status() Status {
	e := k.active.Load()
	s := e.set.Status(time.Now(), e.unavailable)
	s.LoadedAt, s.Error = e.loaded, e.refused
	for _, x := range e.set.All() {
		for _, stop := range x.StoppedArms(k.StoppedArms()) {
			s.markStopped(stop)
		}
	}
	return s
}

// GrowthBook returns the running experiments as a GrowthBook SDK payload. One with a stopped arm is left out: its
// frontends go on without it.
func (k *Watcher) GrowthBook() Payload {
	set := k.Set()
	p := set.GrowthBook(time.Now())
	for _, e := range set.All() {
		if len(e.StoppedArms(k.StoppedArms())) > 0 {
			delete(p.Features, e.Name)
		}
	}
	return p
}
