package bundle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"relish/ranker"
)

// MaxRequired bounds what Require loads, beside the active bundle and the previous one: each costs its size in memory.
const MaxRequired = 6

// Options of a Registry. Root, Prior, Open, Try and Log are required.
type Options struct {
	Root  string        // the folder of bundles; made if it is not there
	Prior *ranker.Model // the last stand-in, and what is active when no bundle is; its version is ranker.PriorVersion
	Open  SignalOpener
	// Probe returns why the bundle in dir must not be served. It does so by TryApart: a hostile file may end the process that
	// reads it.
	Probe func(ctx context.Context, dir string) error
	// EncoderDigest and Check are what Bundle.Fits asks for.
	EncoderDigest string
	CheckSchema   func(*ranker.Schema) error
	// Prepare, if not nil, may give parts of a bundle's model to other hands before it is served, as to a GPU; an error
	// refuses the bundle.
	Prepare func(dir string, b *Bundle) error
	// Encoders opens the text encoders that bundles bring along; nil: none is used, as in a service without text.
	Encoders Encoders
	// PollInterval is the time between looks at the active file where no notification comes, as over a network; 0 = 10 s.
	PollInterval time.Duration
	Log          *slog.Logger
}

// Encoders gives the vectors of bundles' own text encoders. It is safe for concurrent use.
type Encoders interface {
	// Open returns the vectors of the encoder of the bundle in dir, and sees to it that every item's text gets one. They are
	// let go when nothing holds them any more.
	Open(dir string, m *Manifest) (ranker.Vectors, error)
	// Waiting says what is still to be encoded, "" when nothing is.
	Waiting(ranker.Vectors) string
	// Changed is told when nothing is to be encoded any more for one of them.
	Changed() <-chan struct{}
}

// Registry is the models that a server ranks with. It follows what is active in its folder: what becomes active is tried in
// a process of its own, loaded, and swapped in; requests under way finish on the model they began with. What is refused
// leaves everything as it is. It implements ranker.Models and is safe for concurrent use.
type Registry struct {
	opt      Options
	current  atomic.Pointer[view]
	refused  refusals
	loads    atomic.Uint64
	refusals atomic.Uint64

	lock chan struct{} // holds the one token of who may change what is below
	// loaded are the bundles in memory, by version.
	loaded   map[string]*Bundle
	required []string
	serving  string // the active model's version, "" before the first sync
}

var _ ranker.Models = (*Registry)(nil)

// view is what requests see. It is immutable.
type view struct {
	wanted    string // what the folder says is active
	active    *ranker.Model
	previous  *ranker.Model            // nil without one
	models    map[string]*ranker.Model // by version
	fallbacks map[string][]*ranker.Model
	waiting   map[string]func() string // what loaded ones wait for that are not used yet
}

// Open returns a registry that serves what is active in the folder, or, when that is refused, what was active
// before, or the prior. An error means that the folder itself cannot be used.
func Open(ctx context.Context, opt Options) (*Registry, error) {
	if opt.Root == "" || opt.Prior == nil || opt.Open == nil || opt.Probe == nil || opt.Log == nil {
		return nil, errors.New("a registry needs Root, Prior, Open, Try and Log")
	}
	if opt.PollInterval == 0 {
		opt.PollInterval = 10 * time.Second
	}
	if err := os.MkdirAll(opt.Root, 0o755); err != nil {
		return nil, fmt.Errorf("the folder of bundles: %w", err)
	}
	r := &Registry{opt: opt, lock: make(chan struct{}, 1), loaded: map[string]*Bundle{}}
	r.publish(ranker.PriorVersion, "")
	if err := r.sync(ctx); err != nil {
		opt.Log.Error("the prior is served", "reason", err)
	}
	return r, ctx.Err()
}

// Model implements ranker.Models: the active model, the previous one, the prior and the required ones are there.
func (r *Registry) Model(name string) (*ranker.Model, error) {
	v := r.current.Load()
	if name == "" {
		return v.active, nil
	}
	if m := v.models[name]; m != nil {
		return m, nil
	}
	return nil, ranker.ErrUnknownModel
}

// Fallbacks implements ranker.Models: the active model for one that is not, then the previous one, then the prior.
func (r *Registry) Fallbacks(version string) []*ranker.Model {
	v := r.current.Load()
	if chain, ok := v.fallbacks[version]; ok {
		return chain
	}
	return v.fallbacks[""] // it was swapped out since the request began
}

// publish makes what is loaded visible to requests. The caller has the turn, or is the only one.
func (r *Registry) publish(wanted, previous string) {
	v := &view{wanted: wanted, active: r.opt.Prior, models: map[string]*ranker.Model{ranker.PriorVersion: r.opt.Prior},
		fallbacks: map[string][]*ranker.Model{}, waiting: map[string]func() string{}}
	for version, b := range r.loaded {
		if version != r.serving && version != previous && r.waiting(b) != "" {
			v.waiting[version] = func() string { return r.waiting(b) }
			continue
		}
		v.models[version] = b.Model
	}
	if b := r.loaded[r.serving]; b != nil {
		v.active = b.Model
	}
	if b := r.loaded[previous]; b != nil {
		v.previous = b.Model
	}
	ladder := []*ranker.Model{v.active}
	if v.previous != nil {
		ladder = append(ladder, v.previous)
	}
	if v.active != r.opt.Prior {
		ladder = append(ladder, r.opt.Prior)
	}
	v.fallbacks[""] = ladder
	for version, m := range v.models {
		if m != r.opt.Prior {
			v.fallbacks[version] = slices.DeleteFunc(slices.Clone(ladder), func(x *ranker.Model) bool { return x == m })
		}
	}
	v.fallbacks[ranker.PriorVersion] = nil // it is the last
	r.current.Store(v)
}

// acquireLock waits for the turn.
func (r *Registry) acquireLock(ctx context.Context) (release func(), err error) {
	select {
	case r.lock <- struct{}{}:
		return func() { <-r.lock }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Activate loads a version and makes it the active one, for all that share the folder, and here at once, unless it has
// a text encoder of its own by which texts are still to be encoded: then what was served goes on until they are. by and why
// are written down. Errors wrap ranker.ErrUnknownModel or ranker.ErrModelRefused; any other means that the folder could not be written.
func (r *Registry) Activate(ctx context.Context, version, by, why string) error {
	return r.change(ctx, func() (Activation, string, error) {
		return Activation{Version: version, By: by, Reason: why}, "", nil
	})
}

// Rollback goes back to what was active before, and returns what that is. The errors are Activate's, and
// ranker.ErrNoPrevious. Each further one goes one step further back.
func (r *Registry) Rollback(ctx context.Context, by, why string) (version string, err error) {
	err = r.change(ctx, func() (Activation, string, error) {
		h, err := readHistory(r.opt.Root)
		if err != nil {
			return Activation{}, "", err
		}
		if version = h.previousOf(h.active); version == "" {
			return Activation{}, "", ranker.ErrNoPreviousModel
		}
		return Activation{Version: version, By: by, Reason: why, Rollback: true}, h.active, nil
	})
	return version, err
}

// change loads what is to be active, writes that it is, and shows it.
func (r *Registry) change(ctx context.Context, plan func() (a Activation, from string, err error)) error {
	release, err := r.acquireLock(ctx)
	if err != nil {
		return err
	}
	defer release()
	a, from, err := plan()
	if err != nil {
		return err
	}
	if err := r.load(ctx, a.Version, true); err != nil {
		return err
	}
	a.Time = time.Now().UTC()
	if err := activate(r.opt.Root, a, from); err != nil {
		return err
	}
	return r.sync(ctx)
}

// Require keeps the given versions loaded, in place of those of the call before, and returns by version why one cannot
// be ranked with. At most MaxRequired are loaded.
func (r *Registry) Require(ctx context.Context, versions []string) (failed map[string]error) {
	failed = map[string]error{}
	release, err := r.acquireLock(ctx)
	if err != nil {
		for _, v := range versions {
			failed[v] = err
		}
		return failed
	}
	defer release()
	versions = slices.Compact(slices.Sorted(slices.Values(versions)))
	for _, v := range versions[min(len(versions), MaxRequired):] {
		failed[v] = fmt.Errorf("more than %d bundles are asked for at once", MaxRequired)
	}
	r.required = versions[:min(len(versions), MaxRequired)]
	for _, v := range r.required {
		if err := r.load(ctx, v, true); err != nil {
			failed[v] = err
		}
	}
	if err := r.sync(ctx); err != nil {
		r.opt.Log.Warn("the active model is as before", "reason", err)
	}
	return failed
}

// waiting says what the texts of a bundle's own encoder wait for, "" for nothing.
func (r *Registry) waiting(b *Bundle) string {
	if b.Model.Vectors == nil {
		return ""
	}
	return r.opt.Encoders.Waiting(b.Model.Vectors)
}

// Stats are a registry's own numbers.
type Stats struct {
	Active   string // the version that is served
	Waiting  string // what the one that the folder says is active waits for before it is served, "" when it does not
	Refused  string // why it is not served, "" when it is or waits
	Loaded   int    // bundles in memory
	Loads    uint64
	Refusals uint64
}

// Stats returns the numbers as of now.
func (r *Registry) Stats() Stats {
	v := r.current.Load()
	s := Stats{Active: v.active.Version, Loaded: len(v.models) - 1, Loads: r.loads.Load(), Refusals: r.refusals.Load()}
	switch {
	case v.wanted == v.active.Version:
	case v.waiting[v.wanted] != nil:
		s.Waiting = fmt.Sprintf("bundle %s is being prepared: %s", v.wanted, v.waiting[v.wanted]())
	default:
		s.Refused = fmt.Sprintf("bundle %s is refused: %s", v.wanted, r.refused.reason(v.wanted))
	}
	return s
}

// unloadExcept lets go of the bundles that are none of the given versions.
func (r *Registry) unloadExcept(versions ...string) {
	maps.DeleteFunc(r.loaded, func(v string, _ *Bundle) bool { return !slices.Contains(versions, v) })
}
