package classifier

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxServed bounds the classifiers that one process serves. Further names, in alphabetical order,
// are refused.
const maxServed = 16

const (
	// pollInterval is the time between two looks at which versions are active.
	pollInterval = 2 * time.Second
	// refusalRetry is how long a refused version is not tried again.
	refusalRetry = 5 * time.Minute
)

// ErrUnknown says that no classifier of a name is served. The wrapping message says why.
var ErrUnknown = errors.New("unknown classifier")

// Options of a Registry. Root, Probe and Log are required.
type Options struct {
	Root string // folder of all classifiers; it need not exist
	// Base is the service's own text encoder, with its digest and the length of its vectors. nil:
	// the service works without text, and only classifiers with their own encoder are served.
	Base       Encoder
	BaseDigest string
	BaseDim    int
	// OpenEncoder opens the fine-tuned encoder of the version in dir. The registry calls done when
	// no text is being labelled with it any more. nil: versions with their own encoder are refused.
	OpenEncoder func(
		ctx context.Context, dir string, m *Manifest,
	) (e Encoder, done func(), err error)
	// Probe returns why the version in dir must not be served, see ProbeChild.
	Probe func(ctx context.Context, dir string) error
	Log   *slog.Logger
}

// Registry serves the active version of each classifier and follows which ones are active. A new
// version is tried in a child process, loaded and swapped in. The earlier one serves until then,
// and goes on if the new one is refused. It is safe for concurrent use.
type Registry struct {
	opt Options

	syncing sync.Mutex // held while versions are loaded; locked before mu
	mu      sync.RWMutex
	served  map[string]*served // by name
	refused map[string]refusal // by name

	texts atomic.Uint64 // that were labelled
}

// served is one version in use.
type served struct {
	model   *Model
	encoder Encoder
	done    func()
	inUse   sync.RWMutex // held for reading while texts are labelled
}

// refusal says why a version is not served.
type refusal struct {
	version string
	err     error
	at      time.Time
}

// NewRegistry returns a registry that serves nothing before Sync or Run. The caller closes it.
func NewRegistry(opt Options) *Registry {
	return &Registry{opt: opt, served: map[string]*served{}, refused: map[string]refusal{}}
}

// Run follows which versions are active until ctx ends, and passes each outcome to report.
func (r *Registry) Run(ctx context.Context, report func(error)) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		if err := r.Sync(ctx); ctx.Err() == nil {
			report(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Sync makes the registry serve what the folder names. The error joins why versions are refused;
// each of them is logged once and changes nothing else.
func (r *Registry) Sync(ctx context.Context) error {
	r.syncing.Lock()
	defer r.syncing.Unlock()
	names, err := Names(r.opt.Root)
	if err != nil {
		return err
	}
	var errs []error
	if len(names) > maxServed {
		errs = append(errs, fmt.Errorf("%d classifiers are in %s, and at most %d are served: "+
			"remove the folders of the others", len(names), r.opt.Root, maxServed))
		names = names[:maxServed]
	}
	for _, name := range names {
		if err := r.syncName(ctx, name); err != nil {
			errs = append(errs, err)
		}
	}
	for _, name := range r.known() {
		if !slices.Contains(names, name) {
			r.swap(name, nil)
		}
	}
	return errors.Join(errs...)
}

// known returns the names of which a version is served or refused.
func (r *Registry) known() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.AppendSeq(slices.Collect(maps.Keys(r.served)), maps.Keys(r.refused))
}

// Names returns the names of the classifiers below root, sorted.
func Names(root string) (names []string, err error) {
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() && CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (r *Registry) syncName(ctx context.Context, name string) error {
	version, err := activeVersion(filepath.Join(r.opt.Root, name))
	if err != nil {
		return fmt.Errorf("classifier %s: %w", name, err)
	}
	r.mu.RLock()
	current, refused := r.served[name], r.refused[name]
	r.mu.RUnlock()
	switch {
	case version == "":
		r.swap(name, nil)
		return nil
	case current != nil && current.model.Version == version:
		return nil
	case refused.version == version && time.Since(refused.at) < refusalRetry:
		return refused.err
	}
	next, err := r.open(ctx, filepath.Join(r.opt.Root, name, version))
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err = fmt.Errorf("classifier %s: version %s is refused: %w", name, version, err)
		r.mu.Lock()
		r.refused[name] = refusal{version, err, time.Now()}
		r.mu.Unlock()
		r.opt.Log.Error("a version of a classifier is refused; the served one stays",
			"classifier", name, "version", version, "error", err)
		return err
	}
	r.swap(name, next)
	r.opt.Log.Info("active classifier", "classifier", name, "version", version)
	return nil
}

// open tries a version in the sandbox and then loads it. The version contains the digest of the
// manifest, which has the digests of all files, so both read the same bytes.
func (r *Registry) open(ctx context.Context, dir string) (*served, error) {
	if err := r.opt.Probe(ctx, dir); err != nil {
		return nil, err
	}
	m, err := Load(dir)
	if err != nil {
		return nil, err
	}
	s := &served{model: m, encoder: r.opt.Base, done: func() {}}
	switch e := m.Manifest.Encoder; {
	case e.FineTuned && r.opt.OpenEncoder == nil, !e.FineTuned && r.opt.Base == nil:
		return nil, errors.New("the service runs without a text encoder")
	case e.FineTuned:
		s.encoder, s.done, err = r.opt.OpenEncoder(ctx, dir, m.Manifest)
		return s, err
	case e.Digest != r.opt.BaseDigest:
		return nil, fmt.Errorf("it was trained with the encoder %s (digest %.12s), this process "+
			"uses digest %.12s: choose that encoder with --encoder, or train again",
			e.ID, e.Digest, r.opt.BaseDigest)
	case m.Head.Dim != r.opt.BaseDim:
		// The sandbox has no text encoder to find this out.
		return nil, fmt.Errorf("its head reads vectors of length %d, the encoder's have %d: "+
			"train it again", m.Head.Dim, r.opt.BaseDim)
	}
	return s, nil
}

// swap serves next in place of the version of that name, nil for none. It frees the earlier one
// when no text is being labelled with it any more.
func (r *Registry) swap(name string, next *served) {
	r.mu.Lock()
	before := r.served[name]
	delete(r.refused, name)
	if next == nil {
		delete(r.served, name)
	} else {
		r.served[name] = next
	}
	r.mu.Unlock()
	if before != nil {
		before.inUse.Lock()
		defer before.inUse.Unlock()
		before.done()
		before.done = nil
	}
}

// snapshot returns the versions in use by name.
func (r *Registry) snapshot() map[string]*served {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return maps.Clone(r.served)
}

// Versions returns the version that serves, by name.
func (r *Registry) Versions() map[string]string {
	out := map[string]string{}
	for name, s := range r.snapshot() {
		out[name] = s.model.Version
	}
	return out
}

// Stats are figures of a registry.
type Stats struct {
	Served  int    // classifiers
	Refused int    // classifiers whose active version is refused
	Texts   uint64 // that were labelled since NewRegistry
}

// Stats returns the figures as of now.
func (r *Registry) Stats() Stats {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return Stats{len(r.served), len(r.refused), r.texts.Load()}
}

// Close frees all classifiers. Nobody may call Sync or Run then.
func (r *Registry) Close() {
	for name := range r.snapshot() {
		r.swap(name, nil)
	}
}
