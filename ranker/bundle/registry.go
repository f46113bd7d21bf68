package bundle

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"relish/ranker"
)

// MaxRequired bounds the bundles that Require loads beside the active and the previous one. Each
// takes its size in memory.
const MaxRequired = 6

// defaultPollInterval is Options.PollInterval if that is 0.
const defaultPollInterval = 10 * time.Second

// Options of a Registry. Root, Prior, LoadSignal, Probe and Log are required.
type Options struct {
	Root string // folder of bundles; made if it does not exist
	// Prior is the last fallback, and the active model if no bundle is active. Its version is
	// ranker.PriorVersion. The registry does not close it.
	Prior      *ranker.Model
	LoadSignal SignalLoader
	// Keys are those of which one must have signed a bundle; nil: a bundle needs no signature.
	Keys []ed25519.PublicKey
	// Probe returns why the bundle in dir must not be served. It uses ProbeInSandbox, since a
	// hostile file may end the process that reads it.
	Probe func(ctx context.Context, dir string) error
	// EncoderDigest and CheckSchema are the arguments of Bundle.CheckCompatible.
	EncoderDigest string
	CheckSchema   func(*ranker.Schema) error
	// Prepare may replace parts of a bundle's model before it is served, for example by a native
	// session on a GPU, which it closes in Bundle.OnClose. An error refuses the bundle. nil:
	// the model is served as loaded.
	Prepare func(ctx context.Context, dir string, b *Bundle) error
	// Encoders opens the fine-tuned text encoders of bundles. nil: the service works without text.
	Encoders Encoders
	// PollInterval is the time between looks at the active file where the file system sends no
	// notifications, as over a network. 0 = 10 s.
	PollInterval time.Duration
	Log          *slog.Logger
}

// Encoders gives access to the vectors of fine-tuned text encoders. It is safe for concurrent use.
type Encoders interface {
	// Acquire returns the vectors of the encoder of the bundle in dir: those that exist, and those
	// that the bundle brings. It has the texts of all other items encoded in the background. The
	// caller releases them.
	Acquire(ctx context.Context, dir string, m *Manifest) (EncoderVectors, error)
	// BaseWaiting is EncoderVectors.Waiting of the service's own encoder, whose vectors the prior
	// and the bundles without a fine-tuned encoder read.
	BaseWaiting() string
	// Changed receives a value when an encoder waits for no more texts.
	Changed() <-chan struct{}
}

// EncoderVectors are the vectors of one fine-tuned text encoder, as one bundle uses them.
type EncoderVectors interface {
	ranker.Vectors
	// Waiting returns what is to be encoded before 99 % of the catalogue's texts have vectors, ""
	// if nothing is. Once it has returned "", it always does.
	Waiting() string
	// Release ends the use. It is called once, and no other method after it.
	Release()
}

// Registry holds the models that a server ranks with. It follows the active file of its folder: a
// bundle that becomes active is tried in a child process, loaded, and swapped in. A bundle that is
// refused changes nothing.
//
// Requests acquire models and release them. A model that was swapped out is closed after its last
// reference was released, in a goroutine that Close waits for.
//
// It implements ranker.Models and is safe for concurrent use.
type Registry struct {
	opt           Options
	current       atomic.Pointer[view]
	refused       refusals
	loadCount     atomic.Uint64
	refusalCount  atomic.Uint64
	unclosed      atomic.Int64  // bundles that were loaded and are not closed yet
	bundleClosed  chan struct{} // receives a value after a bundle was closed
	lock          chan struct{} // holds one token; its taker may change the fields below
	loaded        map[string]*Bundle
	required      []string
	activeVersion string // of the model that is served, "" before the first sync
	loggedWaiting string // the version of the last log line about one that waits
	closed        bool
}

var _ ranker.Models = (*Registry)(nil)

// view is what requests see. It is immutable. Every model in it has at least one reference, its
// owner's, for as long as the view is current.
type view struct {
	wanted    string // what the folder names as active
	active    *ranker.Model
	previous  *ranker.Model            // nil without one
	models    map[string]*ranker.Model // by version
	fallbacks map[string][]string      // by version: versions to try if it fails
	// waiting holds the versions that are not served before more texts are encoded, and which.
	waiting map[string]func() string
}

// Open returns a registry that serves the active bundle of the folder. If that bundle is refused,
// or less than 99 % of the texts have vectors of its encoder, it serves the one that was active
// before, or the prior. It returns an error if the folder cannot
// be used. The caller closes the registry.
func Open(ctx context.Context, opt Options) (*Registry, error) {
	if opt.Root == "" || opt.Prior == nil || opt.LoadSignal == nil || opt.Probe == nil ||
		opt.Log == nil {
		return nil, errors.New("bundle.Open: Root, Prior, LoadSignal, Probe and Log must be set")
	}
	if opt.PollInterval == 0 {
		opt.PollInterval = defaultPollInterval
	}
	if err := os.MkdirAll(opt.Root, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the folder of bundles: %w", err)
	}
	r := &Registry{
		opt:          opt,
		bundleClosed: make(chan struct{}, 1),
		lock:         make(chan struct{}, 1),
		loaded:       map[string]*Bundle{},
	}
	r.publish(ranker.PriorVersion, "")
	if err := r.sync(ctx); err != nil {
		opt.Log.Error("cannot read which bundle is active; the prior ranks", "error", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(err, r.Close(context.WithoutCancel(ctx)))
	}
	return r, nil
}

// Close ends the registry and waits until all models are closed, or until ctx ends. Requests and
// Run must have ended. It returns an error if models are still in use when ctx ends.
func (r *Registry) Close(ctx context.Context) error {
	unlock, err := r.acquireLock(ctx)
	if err != nil {
		return fmt.Errorf("bundles: closing: %w", err)
	}
	r.closed = true
	retired := r.unloadExcept()
	r.activeVersion, r.required = "", nil
	r.publish(ranker.PriorVersion, "")
	release(retired)
	unlock()
	for r.unclosed.Load() > 0 {
		select {
		case <-r.bundleClosed:
		case <-ctx.Done():
			return fmt.Errorf("bundles: %d models are still in use: %w",
				r.unclosed.Load(), ctx.Err())
		}
	}
	return nil
}

// Acquire implements ranker.Models. The active model, the previous one, the prior and the required
// ones can be acquired.
func (r *Registry) Acquire(version string) (*ranker.Model, error) {
	for {
		v := r.current.Load()
		m := v.active
		if version != "" {
			m = v.models[version]
		}
		if m == nil {
			return nil, ranker.ErrUnknownModel
		}
		if m.Acquire() {
			return m, nil
		}
		// The model was retired after the view was read. The next view does not have it.
	}
}

// Fallbacks implements ranker.Models: the active model for another one, then the previous one, then
// the prior.
func (r *Registry) Fallbacks(version string) []string {
	v := r.current.Load()
	if versions, ok := v.fallbacks[version]; ok {
		return versions
	}
	return v.fallbacks[""] // the version was retired while its request ran
}

// publish makes the loaded bundles visible to requests. The caller holds the lock, or is the only
// one that knows the registry.
func (r *Registry) publish(wanted, previous string) {
	v := &view{
		wanted:    wanted,
		active:    r.opt.Prior,
		models:    map[string]*ranker.Model{ranker.PriorVersion: r.opt.Prior},
		fallbacks: map[string][]string{},
		waiting:   map[string]func() string{},
	}
	for version, b := range r.loaded {
		if r.mustWait(version) {
			v.waiting[version] = func() string { return r.waiting(b) }
			continue
		}
		v.models[version] = b.Model
	}
	if b := r.loaded[r.activeVersion]; b != nil {
		v.active = b.Model
		if wanted == ranker.PriorVersion {
			v.waiting[wanted] = func() string { return r.waiting(nil) }
		}
	}
	if b := r.loaded[previous]; b != nil && v.waiting[previous] == nil {
		v.previous = b.Model
	}
	order := []string{v.active.Version}
	if v.previous != nil {
		order = append(order, v.previous.Version)
	}
	if v.active != r.opt.Prior {
		order = append(order, ranker.PriorVersion)
	}
	v.fallbacks[""] = order
	for version := range v.models {
		others := slices.Clone(order)
		v.fallbacks[version] = slices.DeleteFunc(others,
			func(o string) bool { return o == version })
	}
	v.fallbacks[ranker.PriorVersion] = nil // the prior is the last
	r.current.Store(v)
}

// acquireLock waits for the lock until ctx ends. It takes a free lock even if ctx has ended.
func (r *Registry) acquireLock(ctx context.Context) (unlock func(), err error) {
	unlock = func() { <-r.lock }
	select {
	case r.lock <- struct{}{}:
		return unlock, nil
	default:
	}
	select {
	case r.lock <- struct{}{}:
		return unlock, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Stats are figures of a registry.
type Stats struct {
	Active   string // version that is served
	Waiting  string // what the version that should be active waits for, "" if it does not wait
	Refused  string // why the version that should be active is refused, "" if it is not
	Loaded   int    // bundles that can be ranked with
	Open     int    // bundles in memory, including retired ones that requests still use
	Loads    uint64 // since Open
	Refusals uint64 // since Open
}

// Stats returns the figures as of now.
func (r *Registry) Stats() Stats {
	v := r.current.Load()
	s := Stats{
		Active:   v.active.Version,
		Loaded:   len(v.models) - 1,
		Open:     int(r.unclosed.Load()),
		Loads:    r.loadCount.Load(),
		Refusals: r.refusalCount.Load(),
	}
	switch {
	case v.wanted == v.active.Version:
	case v.waiting[v.wanted] != nil:
		s.Waiting = fmt.Sprintf("%s is being prepared: %s",
			v.wanted, v.waiting[v.wanted]())
	default:
		s.Refused = fmt.Sprintf("bundle %s is refused: %s", v.wanted, r.refused.reason(v.wanted))
	}
	return s
}
