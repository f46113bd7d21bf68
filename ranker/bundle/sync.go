package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"relish/ranker"
)

// errRegistryClosed is returned by changes of a registry that was closed.
var errRegistryClosed = errors.New("bundles: the registry is closed")

// sync makes the registry serve what the folder names. A refused bundle is logged and changes
// nothing else. An error means that the folder could not be read and that nothing has changed. The
// caller holds the lock.
func (r *Registry) sync(ctx context.Context) error {
	if r.closed {
		return errRegistryClosed
	}
	h, err := readHistory(r.opt.Root)
	if err != nil {
		return err
	}
	before := r.activeVersion
	r.activeVersion = r.choose(ctx, h)
	previous := ""
	if r.activeVersion != ranker.PriorVersion { // the prior is the last and needs no fallback
		previous = h.previousOf(r.activeVersion)
	}
	for _, v := range append([]string{previous}, r.required...) {
		_ = r.load(ctx, v, false)
	}
	retired := r.unloadExcept(
		append([]string{h.active, r.activeVersion, previous}, r.required...)...)
	r.publish(h.active, previous)
	release(retired)
	if before != r.activeVersion {
		r.opt.Log.Info("active model", "version", r.activeVersion, "before", before)
	}
	r.logWaiting(h.active)
	return nil
}

// logWaiting logs once that the version that should be active waits. The caller holds the lock.
func (r *Registry) logWaiting(wanted string) {
	waiting := r.current.Load().waiting[wanted]
	if waiting == nil {
		r.loggedWaiting = ""
		return
	}
	if r.loggedWaiting != wanted {
		r.loggedWaiting = wanted
		r.opt.Log.Info("a model waits until its texts are encoded", "version", wanted,
			"waiting", waiting(), "served", r.activeVersion)
	}
}

// choose returns the version to serve: the one that the folder names, the served one, the one
// before, or the prior. It takes the first of them that can be loaded and need not wait, and if
// there is none, the first that can be loaded.
func (r *Registry) choose(ctx context.Context, h *history) string {
	first := ""
	for _, v := range []string{
		h.active, r.activeVersion, h.previousOf(h.active), ranker.PriorVersion,
	} {
		if v == "" || v != ranker.PriorVersion && r.load(ctx, v, false) != nil {
			continue
		}
		if !r.mustWait(v) {
			return v
		}
		if first == "" {
			first = v
		}
	}
	return first
}

// mustWait reports whether a loaded version is not served yet, because texts must be encoded for
// it. The served version never waits, nor does one with the same encoder, which has the same texts.
func (r *Registry) mustWait(version string) bool {
	if version == r.activeVersion {
		return false
	}
	b := r.loaded[version]
	if r.activeVersion != "" && b.encoderDigest() == r.loaded[r.activeVersion].encoderDigest() {
		return false
	}
	return r.waiting(b) != ""
}

// waiting returns what a bundle waits for before it can be served well, "" for nothing. nil is the
// prior.
func (r *Registry) waiting(b *Bundle) string {
	switch {
	case r.opt.Encoders == nil || b != nil && b.Manifest.Encoder.Digest == "":
		return "" // it reads no texts
	case b != nil && b.encoder != nil:
		return b.encoder.Waiting()
	}
	return r.opt.Encoders.BaseWaiting()
}

// encoderDigest identifies the fine-tuned encoder of a bundle. It is "" for a bundle without one
// and for nil, the prior: they use the service's own encoder.
func (b *Bundle) encoderDigest() string {
	if b == nil || b.encoder == nil {
		return ""
	}
	return b.Manifest.Encoder.Digest
}

// load makes sure that a version is in memory. A version that was refused recently is tried again
// only if somebody asks for it. The caller holds the lock.
func (r *Registry) load(ctx context.Context, version string, asked bool) error {
	if r.closed {
		return errRegistryClosed
	}
	if version == "" || version == ranker.PriorVersion || r.loaded[version] != nil {
		return nil
	}
	if err := r.refused.recent(version); err != nil && !asked {
		return err
	}
	b, err := r.openBundle(ctx, version)
	switch {
	case err == nil:
		r.own(b)
		r.loaded[version] = b
		r.loadCount.Add(1)
		r.refused.remove(version)
		return nil
	case ctx.Err() != nil:
		return ctx.Err() // not the bundle's fault
	case errors.Is(err, ranker.ErrUnknownModel) && asked:
		return err // the caller named a bundle that does not exist: nothing was refused
	case !errors.Is(err, ranker.ErrUnknownModel):
		err = fmt.Errorf("%w: %w", ranker.ErrModelRefused, err)
	}
	r.refusalCount.Add(1)
	r.refused.add(version, err)
	r.opt.Log.Error("bundle refused; the served model stays", "version", version, "error", err)
	return err
}

// openBundle checks a bundle's signature, tries the bundle in the sandbox, and then loads it with
// its native parts. The manifest has the digests of all files, so what is loaded is what was signed
// if the manifest is the same.
func (r *Registry) openBundle(ctx context.Context, version string) (_ *Bundle, err error) {
	if err := checkExists(r.opt.Root, version); err != nil {
		return nil, err
	}
	dir := filepath.Join(r.opt.Root, version)
	var signed [sha256.Size]byte
	if r.opt.Keys != nil {
		if signed, err = checkSignature(dir, r.opt.Keys); err != nil {
			return nil, err
		}
	}
	if err := r.opt.Probe(ctx, dir); err != nil {
		return nil, err
	}
	b, err := Load(dir, r.opt.LoadSignal)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	if r.opt.Keys != nil {
		if err := b.checkSigned(signed); err != nil {
			return nil, err
		}
	}
	if err := b.CheckCompatible(r.opt.EncoderDigest, r.opt.CheckSchema); err != nil {
		return nil, err
	}
	if r.opt.Prepare != nil {
		if err := r.opt.Prepare(ctx, dir, b); err != nil {
			return nil, err
		}
	}
	if b.Manifest.Encoder.FineTuned && r.opt.Encoders != nil {
		if b.encoder, err = r.opt.Encoders.Acquire(ctx, dir, b.Manifest); err != nil {
			return nil, err
		}
		b.OnClose(b.encoder.Release)
		b.Model.Vectors = b.encoder
	}
	return b, nil
}

// own makes the registry the owner of the bundle's model. The bundle is closed after the
// model's last reference is released. Closing may wait for native sessions, so it has a goroutine
// of its own.
func (r *Registry) own(b *Bundle) {
	r.unclosed.Add(1)
	b.Model.Lifetime = ranker.NewLifetime(func() {
		go func() { // Close waits for it
			b.Close()
			r.unclosed.Add(-1)
			select {
			case r.bundleClosed <- struct{}{}:
			default:
			}
		}()
	})
}

// unloadExcept removes all but the given versions from the loaded bundles, and returns the removed
// ones. The caller releases them once the view does not have them any more.
func (r *Registry) unloadExcept(versions ...string) (retired []*Bundle) {
	for v, b := range r.loaded {
		if !slices.Contains(versions, v) {
			retired = append(retired, b)
			delete(r.loaded, v)
		}
	}
	return retired
}

// release ends the registry's own use of the models.
func release(retired []*Bundle) {
	for _, b := range retired {
		b.Model.Release()
	}
}

// settleDelay is how long the folder must be quiet before the registry reads it: an activation
// changes it several times.
const settleDelay = 50 * time.Millisecond

// Run follows the folder until ctx ends. It is called once.
func (r *Registry) Run(ctx context.Context) {
	poll := time.NewTicker(r.opt.PollInterval)
	defer poll.Stop()
	settled := time.NewTimer(0) // sync once: something may have happened since Open
	defer settled.Stop()
	var encoded <-chan struct{}
	if r.opt.Encoders != nil {
		encoded = r.opt.Encoders.Changed()
	}
	var events chan fsnotify.Event
	var errs chan error
	if w, err := r.watch(); err != nil {
		r.opt.Log.Warn("the folder of bundles sends no notifications; it is polled",
			"every", r.opt.PollInterval, "error", err)
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
				settled.Reset(settleDelay)
			}
			continue
		case <-encoded:
		case err := <-errs:
			r.opt.Log.Warn("notifications of the folder of bundles were lost; it is read again",
				"error", err)
		case <-poll.C:
		case <-settled.C:
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

// resync is sync with the lock; it logs the error.
func (r *Registry) resync(ctx context.Context) {
	unlock, err := r.acquireLock(ctx)
	if err != nil {
		return
	}
	defer unlock()
	if err := r.sync(ctx); err != nil && ctx.Err() == nil {
		r.opt.Log.Warn("cannot read which bundle is active; the model in service stays",
			"error", err)
	}
}
