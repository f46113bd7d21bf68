package bundle

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"relish/ranker"
)

// refusalRetry is how long a bundle that was refused is left alone, unless somebody asks for it.
const refusalRetry = 5 * time.Minute

// sync makes what is served be what the folder says. What is refused is logged and leaves the rest as it is. An error
// means that the folder could not be read, and nothing has changed. The caller has the turn.
func (r *Registry) sync(ctx context.Context) error {
	h, err := readHistory(r.opt.Root)
	if err != nil {
		return err
	}
	_ = r.load(ctx, h.active, false) // the reason is kept and logged
	before := r.serving
	for _, v := range []string{h.active, r.serving, h.previousOf(h.active), ranker.PriorVersion} {
		if v == ranker.PriorVersion || r.serves(v) || v != "" && v != h.active && r.load(ctx, v, false) == nil {
			r.serving = v
			break
		}
	}
	previous := ""
	if r.serving != ranker.PriorVersion { // which is the last, and needs no stand-in
		previous = h.previousOf(r.serving)
	}
	for _, v := range append([]string{previous}, r.required...) {
		_ = r.load(ctx, v, false)
	}
	r.unloadExcept(append([]string{h.active, r.serving, previous}, r.required...)...)
	r.publish(h.active, previous)
	if before != r.serving {
		r.opt.Log.Info("active model", "version", r.serving, "before", before)
	}
	return nil
}

// serves reports whether a version is in memory and can be served: its texts are encoded, or it is served already, or
// there is nothing that could go on meanwhile, as at the start.
func (r *Registry) serves(version string) bool {
	b := r.loaded[version]
	return b != nil && (r.serving == "" || version == r.serving || r.waiting(b) == "")
}

// load sees to it that a version is in memory. One that was refused lately is tried again only if somebody
// asks for it. The caller has the turn.
func (r *Registry) load(ctx context.Context, version string, asked bool) error {
	if version == "" || version == ranker.PriorVersion || r.loaded[version] != nil {
		return nil
	}
	if why := r.refused.recent(version); why != nil && !asked {
		return why
	}
	b, err := r.read(ctx, version)
	switch {
	case err == nil:
		r.loaded[version] = b
		r.loads.Add(1)
		r.refused.remove(version)
		return nil
	case ctx.Err() != nil:
		return ctx.Err() // it was not the bundle's fault
	case !errors.Is(err, ranker.ErrUnknownModel):
		err = fmt.Errorf("%w: %w", ranker.ErrModelRefused, err)
	}
	r.refusals.Add(1)
	r.refused.add(version, err)
	r.opt.Log.Error("a bundle is refused; what was served goes on", "version", version, "reason", err)
	return err
}

// read tries a bundle apart, and then loads it. Its version names its bits, so both see the same.
func (r *Registry) read(ctx context.Context, version string) (*Bundle, error) {
	if err := checkExists(r.opt.Root, version); err != nil {
		return nil, err
	}
	dir := filepath.Join(r.opt.Root, version)
	if err := r.opt.Probe(ctx, dir); err != nil {
		return nil, err
	}
	b, err := Load(dir, r.opt.Open)
	if err != nil {
		return nil, err
	}
	if err := b.CheckCompatible(r.opt.EncoderDigest, r.opt.CheckSchema); err != nil {
		return nil, err
	}
	if r.opt.Prepare != nil {
		if err := r.opt.Prepare(dir, b); err != nil {
			return nil, err
		}
	}
	if b.Manifest.Encoder.FineTuned && r.opt.Encoders != nil {
		b.Model.Vectors, err = r.opt.Encoders.Open(dir, b.Manifest)
	}
	return b, err
}

// settleDelay is how long the folder must be quiet before it is looked at: an activation touches it several times.
const settleDelay = 50 * time.Millisecond

// Run follows the folder until ctx ends. It is called once.
func (r *Registry) Run(ctx context.Context) {
	poll := time.NewTicker(r.opt.PollInterval)
	defer poll.Stop()
	quiet := time.NewTimer(0) // look once: something may have happened since Open
	defer quiet.Stop()
	var encoded <-chan struct{}
	if r.opt.Encoders != nil {
		encoded = r.opt.Encoders.Changed()
	}
	var events chan fsnotify.Event
	var errs chan error
	if w, err := r.watch(); err != nil {
		r.opt.Log.Warn("the folder of bundles gives no notifications; it is looked at now and then", "every", r.opt.PollInterval, "reason", err)
	} else {
		defer w.Close()
		events, errs = w.Events, w.Errors
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if filepath.Base(e.Name) == activeFile {
				quiet.Reset(settleDelay)
			}
			continue
		case <-encoded:
		case err := <-errs:
			r.opt.Log.Warn("notifications of the folder of bundles were lost; it is looked at", "reason", err)
		case <-poll.C:
		case <-quiet.C:
		}
		r.resync(ctx)
	}
}

func (r *Registry) watch() (*fsnotify.Watcher, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	if err := w.Add(r.opt.Root); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (r *Registry) resync(ctx context.Context) {
	release, err := r.acquireLock(ctx)
	if err != nil {
		return
	}
	defer release()
	if err := r.sync(ctx); err != nil && ctx.Err() == nil {
		r.opt.Log.Warn("the active model is as before", "reason", err)
	}
}

// maxRefusals is how many refusals are remembered.
const maxRefusals = 100

// refusals remembers which bundles were refused, and why. The zero value is ready to use.
type refusals struct {
	mu   sync.Mutex
	list []refusal // oldest first
}

type refusal struct {
	version string
	at      time.Time
	err     error
}

func (r *refusals) add(version string, err error) {
	r.remove(version)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, refusal{version, time.Now(), err})
	r.list = r.list[max(0, len(r.list)-maxRefusals):]
}

func (r *refusals) remove(version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = slices.DeleteFunc(r.list, func(x refusal) bool { return x.version == version })
}

// recent returns why a version was refused in the last while, nil if it was not.
func (r *refusals) recent(version string) error {
	if x := r.find(version); x != nil && time.Since(x.at) < refusalRetry {
		return x.err
	}
	return nil
}

// reason returns the reason, "" without one.
func (r *refusals) reason(version string) string {
	if x := r.find(version); x != nil {
		return x.err.Error()
	}
	return ""
}

func (r *refusals) find(version string) *refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.list {
		if x.version == version {
			return &x
		}
	}
	return nil
}
